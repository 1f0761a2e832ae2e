"""Which files hold a task's documents, and their content."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ssah_exp.data.files import read_rows
from ssah_exp.digest import digest_of
from ssah_exp.errors import DataError
from ssah_exp.evaluation.utility import recover as recovering
from ssah_exp.evaluation.utility.recover import Document, Row

TASKS_FOLDER = Path(__file__).parent / "tasks"
SUBJECT = "{subject}"  # in a definition: one task for each subject


@dataclass(frozen=True)
class FileDefinition:
    """A task whose documents lie in files: one YAML of ``tasks/``.

    Attributes:
        harness: The harness's own definition, relative to its folder of tasks.
        files: Split -> file, relative to ``utility.root``.
        recover: Name of a function in :mod:`ssah_exp.evaluation.utility.recover`.
        changes: Values for fields of the harness's definition that cannot hold with these files.
    """

    harness: str
    files: Mapping[str, str]
    recover: str
    changes: Mapping[str, Any]

    def documents(self, root: Path) -> dict[str, list[Document]]:
        """Split -> documents as the harness's own task expects them.

        Raises:
            DataError: A file is missing or malformed, or its rows have another format.
        """
        function: Callable[[Row], Document] = getattr(recovering, self.recover)
        found: dict[str, list[Document]] = {}
        for split, name in self.files.items():
            path = root / name
            try:
                found[split] = [function(row) for row in read_rows(path)]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise DataError(f"{path} holds other rows than expected: {error!r}.") from error
        return found


def definitions(task: str, root: Path) -> dict[str, FileDefinition]:
    """The definitions of a task by name: one, or one for each subject that has a file.

    Raises:
        DataError: No subject has a file.
    """
    definition = read_definition(task)
    pattern = next(iter(definition.files.values()))
    if SUBJECT not in pattern:
        return {task: definition}
    before, after = Path(pattern).name.split(SUBJECT)
    found = (root / pattern).parent.glob(f"{before}*{after}")
    subjects = sorted(path.name.removeprefix(before).removesuffix(after) for path in found)
    if not subjects:
        raise DataError(f"No files {root / pattern.replace(SUBJECT, '*')}; is utility.root right?")
    return {f"{task}_{subject}": _of_subject(definition, subject) for subject in subjects}


def _of_subject(definition: FileDefinition, subject: str) -> FileDefinition:
    files = {split: name.replace(SUBJECT, subject) for split, name in definition.files.items()}
    harness = definition.harness.replace(SUBJECT, subject)
    return FileDefinition(harness, files, definition.recover, definition.changes)


@cache
def read_definition(task: str) -> FileDefinition:
    """The shipped definition of a task."""
    return parse_definition(yaml.load(_text(task), Loader=_Loader))  # noqa: S506  # a safe loader


def parse_definition(content: Mapping[str, Any]) -> FileDefinition:
    """A definition from its YAML; ``task``, ``class`` and ``metadata`` are for the harness."""
    changes = {key: val for key, val in content.items() if key not in _OURS}
    return FileDefinition(content["harness"], dict(content["files"]), content["recover"], changes)


_OURS = ("task", "class", "harness", "files", "recover", "metadata")


def _text(task: str) -> str:
    return (TASKS_FOLDER / f"{task}.yaml").read_text(encoding="utf-8")


class _Loader(yaml.SafeLoader):
    """Reads what has the harness's ``!function`` tag as a string."""


_Loader.add_constructor("!function", lambda loader, node: str(node.value))


def fingerprint_files(task: str, root: Path) -> str:
    """sha256 over the documents of a task.

    Raises:
        DataError: A file is missing or malformed.
    """
    found = {name: item.documents(root) for name, item in definitions(task, root).items()}
    return digest_of(found)
