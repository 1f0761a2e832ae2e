"""Files of invented questions in the makes of the real ones, and tasks on them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from tests.tiny import random_words, tiny_tokenizer

SIZE = 7


def words(count: int, seed: int) -> str:
    """Words of the tiny tokenizer."""
    return str(tiny_tokenizer().decode(random_words(count, seed)))


def save_files(root: Path) -> Path:
    """Every file that the shipped definitions name, with questions of the tiny vocabulary."""
    for name, rows in _jsonl().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    table = [
        {
            "sentence1": words(4, at),
            "sentence2": words(2, 50 + at),
            "label": str(at % 2),
            "idx": str(at),
        }
        for at in range(SIZE)
    ]
    save_table(root / "utility/rte_dev.tsv", table, "\t")
    for split, subject in ((s, n) for s in ("dev", "test") for n in ("anatomy", "virology")):
        rows = [
            {
                "question": words(3, at),
                **{f"choice{n}": words(1, 10 * at + n) for n in range(4)},
                "answer": str(at % 4),
            }
            for at in range(SIZE)
        ]
        save_table(root / f"mmlu/{split}/{subject}_{split}.csv", rows, ",")
    return root


def _jsonl() -> dict[str, list[dict[str, Any]]]:
    def choices(at: int, count: int) -> list[str]:
        # Of unequal length, so that normalising by it matters.
        return [words(1 + n, 100 * at + n) for n in range(count)]

    span = range(SIZE)
    arc = [
        {"query": f"Question: {words(4, at)}", "choices": choices(at, 4), "gold": at % 4}
        for at in span
    ]
    return {
        "utility/arc_easy.jsonl": arc,
        "utility/arc_challenge.jsonl": arc[::-1],
        "utility/openbook_qa.jsonl": [
            {"query": words(5, at), "choices": choices(at, 4), "gold": at % 4} for at in span
        ],
        "utility/piqa.jsonl": [
            {"query": f"Question: {words(3, at)}\n", "choices": choices(at, 2), "gold": at % 2}
            for at in span
        ],
        "utility/boolq.jsonl": [
            {
                "query": f"Passage: {words(6, at)}\nQuestion: {words(2, 40 + at)}?",
                "choices": ["no", "yes"],
                "gold": at % 2,
            }
            for at in span
        ],
        "utility/winogrande.jsonl": [
            {
                "context_options": [f"{words(3, at)} {words(1, 60 + n + at)}" for n in (0, 9)],
                "continuation": words(2, 30 + at),
                "gold": at % 2,
            }
            for at in span
        ],
        "utility/hellaswag_val_1000.jsonl": [
            {
                "ind": at,
                "activity_label": words(1, at),
                "ctx_a": words(3, at),
                "ctx_b": words(1, 20 + at),
                "endings": choices(at, 4),
                "label": at % 4,
            }
            for at in span
        ],
        "gsm8k/test.jsonl": [
            {"question": words(4, at), "answer": f"{words(3, 70 + at)}\n#### {at}"} for at in span
        ],
    }


def save_table(path: Path, rows: list[dict[str, str]], delimiter: str) -> None:
    """Rows of the same columns, with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
