"""Data sources: bundled files, files the user names, Hugging Face hub data sets.

A source turns rows into :class:`Example` values. Columns are named in format strings, so
``prompt: "{instruction}\\n{input}"`` reads Alpaca and ``prompt: "{goal}"`` reads AdvBench; no
source knows a data set by name.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Protocol, runtime_checkable

from ssah_exp.data.files import ENCODING, Row, check_file, read_rows, reading
from ssah_exp.data.selection import (
    RowSelection,
    asks,
    column,
    filled,
    render,
    telling_rows_apart,
)
from ssah_exp.digest import digest_of
from ssah_exp.errors import DataError


@dataclass(frozen=True)
class Example:
    """One request, with the answer it should get where the data set gives one.

    Attributes:
        prompt: The request.
        response: The answer.
        category: What kind of request it is.
        system: The system message that belongs to this request; it replaces the run's own.
        cut: The answer breaks off: no end of turn follows it.
    """

    prompt: str
    response: str | None = None
    category: str | None = None
    system: str | None = None
    cut: bool = False


@runtime_checkable
class ExampleSource(Protocol):
    """Something that yields examples."""

    def load(self, seed: int) -> list[Example]:
        """All selected examples; ``seed`` decides random choices, if there are any."""


@runtime_checkable
class TextSource(Protocol):
    """Something that yields running text."""

    def load_text(self) -> str:
        """The whole text."""


def fingerprint_examples(examples: Sequence[Example]) -> str:
    """sha256 over all there is to each example, and their order."""
    return digest_of([_content(item) for item in examples])


def _content(example: Example) -> list[str | bool | None]:
    content: list[str | bool | None] = [example.prompt, example.response, example.category]
    # Only where it is set: examples without system messages keep the hashes they always had.
    if example.system is not None or example.cut:
        content.append(example.system)
    return [*content, True] if example.cut else content


def comparable(prompt: str) -> str:
    """A prompt's words without case, punctuation and white space: how prompts are compared.

    Accents count the same whether they are part of a letter or a mark of their own after it. A
    prompt without letters and digits has no words: it is compared as it is.
    """
    found = re.findall(r"\w+", unicodedata.normalize("NFC", prompt.casefold()))
    return " ".join(found) or prompt


@dataclass(frozen=True)
class Selection(RowSelection):
    """Which rows, and which columns make prompt and response.

    Attributes:
        prompt: Format string over columns.
        response: Format string over columns, or None if the set has no answers.
        category: Format string over columns, or None.
        extract: Regular expression with one group that finds the request inside the prompt
            column, for files that store it with chat tags around it.
    """

    prompt: str
    response: str | None = None
    category: str | None = None
    extract: str | None = None

    def apply(self, rows: Sequence[Row], origin: str, seed: int) -> list[Example]:
        """Select and format rows; those with a blank request are left out.

        Raises:
            DataError: A column is missing, nothing matches, there are too few rows, or ``extract``
                finds nothing in a request.
        """
        kept = self.select(rows, origin, seed, lambda row: self._asks(row, origin))
        with telling_rows_apart(rows):
            return [self._example(row, origin) for row in kept]

    def _asks(self, row: Row, origin: str) -> bool:
        """Whether a row has a request; one in which ``extract`` finds none is refused if chosen."""
        if not asks(self.prompt, row, origin):
            return False
        if self.extract is None:
            return True
        found = _found(self.extract, render(self.prompt, row, origin), origin)
        return found is None or bool(found.strip())

    def _example(self, row: Row, origin: str) -> Example:
        prompt = render(self.prompt, row, origin)
        if self.extract is not None:
            prompt = _extract(self.extract, prompt, origin)
        response = None if self.response is None else render(self.response, row, origin)
        category = None if self.category is None else render(self.category, row, origin)
        return Example(prompt, response, category)


def _extract(pattern: str, prompt: str, origin: str) -> str:
    found = _found(pattern, prompt, origin)
    if found is None:
        raise DataError(f"{origin}: {pattern!r} matches nothing in {prompt[:80]!r}.")
    return found.strip()


def _found(pattern: str, prompt: str, origin: str) -> str | None:
    """What the pattern's group matches; None if it takes no part in a match, or nothing matches."""
    try:
        found = re.search(pattern, prompt, flags=re.DOTALL)
        return None if found is None else found.group(1)
    except (re.error, IndexError) as error:
        raise DataError(f"{origin}: extract={pattern!r} cannot be used: {error}.") from error


@dataclass(frozen=True, kw_only=True)
class FileSource(Selection):
    """Rows of a csv, tsv, json, jsonl or txt file (a txt line is the column ``line``)."""

    path: str

    def load(self, seed: int) -> list[Example]:
        """Read the file and select.

        Raises:
            DataError: The file is missing, malformed or empty, or the selection fails.
        """
        path = Path(self.path).expanduser()
        return self.apply(read_rows(path), str(path), seed)


@dataclass(frozen=True, kw_only=True)
class BundledSource(Selection):
    """Rows of a file that this package ships."""

    name: str

    def load(self, seed: int) -> list[Example]:
        """Read the bundled file and select."""
        with resources.as_file(resources.files("ssah_exp.data") / "bundled" / self.name) as path:
            return self.apply(read_rows(path), f"bundled {self.name}", seed)


@dataclass(frozen=True, kw_only=True)
class HubSource(Selection):
    """Rows of one split of a hub data set at a pinned revision (or of a local data set folder)."""

    repo_id: str
    revision: str | None = None
    subset: str | None = None
    split: str = "train"

    def load(self, seed: int) -> list[Example]:
        """Download (or read the local copy) and select.

        Raises:
            DataError: The data set or split cannot be loaded, or the selection fails.
        """
        rows = _hub_rows(self.repo_id, self.subset, self.split, self.revision)
        return self.apply(rows, self.repo_id, seed)


@dataclass(frozen=True)
class RefusedRequests:
    """Harmful requests, each paired with a refusal of its own category or a general one.

    Attributes:
        requests: Where the requests come from.
        refusals: Where the refusals come from; their ``prompt`` is the refusal's text.
        per_request: Different refusals per request, at least one.
    """

    requests: ExampleSource
    refusals: ExampleSource
    per_request: int = 1

    def load(self, seed: int) -> list[Example]:
        """Pair by seed.

        Raises:
            DataError: There are too few refusals for a category, or ``per_request`` is below 1.
        """
        if self.per_request < 1:
            raise DataError(f"per_request={self.per_request} is below 1.")
        general: list[str] = []
        by_category: dict[str | None, list[str]] = {}
        for refusal in self.refusals.load(seed):
            if refusal.category in (None, "any"):
                general.append(refusal.prompt)
            else:
                by_category.setdefault(refusal.category, []).append(refusal.prompt)
        draw = random.Random(seed)
        pairs: list[Example] = []
        for request in self.requests.load(seed):
            texts = general + by_category.get(request.category, [])
            if len(texts) < self.per_request:
                raise DataError(
                    f"Category '{request.category}' has {len(texts)} refusals; "
                    f"per_request={self.per_request} needs as many. Add refusals of that category "
                    "or of 'any', which serve all, or lower per_request."
                )
            chosen = draw.sample(texts, self.per_request)
            pairs += [replace(request, response=text) for text in chosen]
        return pairs


@dataclass(frozen=True)
class FileText:
    """Running text from a file."""

    path: str

    def load_text(self) -> str:
        """Read it.

        Raises:
            DataError: The file is missing, a folder, empty or no UTF-8 text.
        """
        path = Path(self.path).expanduser()
        check_file(path)
        with reading(path):
            text = path.read_text(encoding=ENCODING)
        if not text.strip():
            raise DataError(f"{path} is empty.")
        return text


@dataclass(frozen=True)
class BundledText:
    """Running text that this package ships."""

    name: str

    def load_text(self) -> str:
        """Read it."""
        with resources.as_file(resources.files("ssah_exp.data") / "bundled" / self.name) as path:
            return FileText(str(path)).load_text()


@dataclass(frozen=True)
class HubText:
    """Running text from a hub data set: a column's rows joined."""

    repo_id: str
    revision: str | None = None
    subset: str | None = None
    split: str = "test"
    column: str = "text"
    separator: str = "\n\n"

    def load_text(self) -> str:
        """Download (or read the local copy) and join.

        Raises:
            DataError: The data set, split or column cannot be loaded.
        """
        rows = _hub_rows(self.repo_id, self.subset, self.split, self.revision)
        texts = (filled(column(row, self.column, self.repo_id)) for row in rows)
        return self.separator.join(map(str, texts))


def _hub_rows(repo_id: str, subset: str | None, split: str, revision: str | None) -> list[Row]:
    from datasets import load_dataset

    try:
        rows = load_dataset(repo_id, subset, split=split, revision=revision)
    except Exception as error:  # the library raises many unrelated types
        raise DataError(f"Data set {repo_id} (split {split}) cannot be loaded: {error}") from error
    return [dict(row) for row in rows]
