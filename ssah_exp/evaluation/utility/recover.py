"""From rows of files back to the documents that the harness's own tasks are written for.

The files of the ``utility`` folder carry finished prompts (MosaicML's jsonl: ``query``,
``choices``, ``gold``). What their authors put around the text is taken off here, so that the
harness's own templates can add theirs. All are functions of one row; a row of another format raises
:class:`DataError`, or KeyError, IndexError, TypeError or ValueError, which ``documents`` catches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from ssah_exp.errors import DataError

Row = Mapping[str, Any]
Document = dict[str, Any]

_LETTERS = "ABCDEFGHIJ"


def same(row: Row) -> Document:
    """GSM8K: the row is the document."""
    return dict(row)


def hellaswag(row: Row) -> Document:
    """HellaSwag's own fields; labels are strings on the hub."""
    return {**row, "label": str(row["label"])}


def rte(row: Row) -> Document:
    """GLUE's RTE in the harness's numbers: 0 = entailment."""
    label = int(row["label"])
    return {"sentence1": row["sentence1"], "sentence2": row["sentence2"], "label": label}


def arc(row: Row) -> Document:
    """ARC: queries in the file begin with ``Question: ``; its choices have no letters.

    Questions of three choices were filled up to four with a copy of one of them, which is dropped.
    """
    choices = list(dict.fromkeys(row["choices"]))
    gold = choices.index(row["choices"][int(row["gold"])])
    return {"question": _without(row["query"], "Question: "), **_lettered(choices, gold)}


def openbookqa(row: Row) -> Document:
    """OpenBookQA: the query is the question stem."""
    return {"question_stem": row["query"], **_lettered(row["choices"], int(row["gold"]))}


def piqa(row: Row) -> Document:
    """PIQA: the file has ``Question: `` before a goal and a newline after it."""
    goal = _without(row["query"], "Question: ").removesuffix("\n")
    first, second = row["choices"]
    return {"goal": goal, "sol1": first, "sol2": second, "label": int(row["gold"])}


def boolq(row: Row) -> Document:
    """BoolQ: ``Passage: ...``, then ``Question: ...?``; the harness adds the question mark."""
    if list(row["choices"]) != ["no", "yes"]:
        raise DataError(f"Not a BoolQ row: choices are {row['choices']!r}, not no and yes.")
    # The last one: a passage may hold the same words.
    passage, found, question = row["query"].rpartition("\nQuestion: ")
    if not found:
        raise DataError(f"Not a BoolQ row, there is no question in it: {row['query'][:80]!r}")
    return {
        "passage": _without(passage, "Passage: "),
        "question": question.removesuffix("?"),
        "label": int(row["gold"]),
    }


def winogrande(row: Row) -> Document:
    """WinoGrande: puts the ``_`` back where the two contexts begin to differ.

    It cannot be told which letters of a context belong to the option and which to the sentence. It
    does not matter: the harness joins them again.
    """
    contexts = row["context_options"]
    if len(contexts) != 2 or any("_" in text for text in (*contexts, row["continuation"])):
        raise DataError(f"Not a WinoGrande row: {row!r}")
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(*contexts, strict=False))
    begin = "".join(letter for letter, _ in alike)
    begin = begin[: begin.rfind(" ") + 1]
    first, second = (context[len(begin) :] for context in contexts)
    return {
        "sentence": f"{begin}_ {row['continuation']}",
        "option1": first,
        "option2": second,
        "answer": str(int(row["gold"]) + 1),
    }


def mmlu(row: Row) -> Document:
    """MMLU: four choice columns."""
    choices = [row[f"choice{number}"] for number in range(4)]
    return {"question": row["question"], "choices": choices, "answer": int(row["answer"])}


def _lettered(choices: Sequence[str], gold: int) -> Document:
    letters = list(_LETTERS[: len(choices)])
    return {"choices": {"text": list(choices), "label": letters}, "answerKey": letters[gold]}


def _without(text: str, beginning: str) -> str:
    if not text.startswith(beginning):
        raise DataError(f"A query does not begin with {beginning!r}: {text[:80]!r}")
    return text.removeprefix(beginning)
