"""Files of answers, a finished run that has some, and what `ssah-exp judges` refuses of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.records.store import RecordStore
from tests.records.synthetic import record


def completions(folder: Path, *texts: str) -> str:
    path = folder / "arm.jsonl"
    rows = [
        {"set": "harmful", "style": "raw", "prompt": f"p{at}", "category": None, "completion": text}
        for at, text in enumerate(texts)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(path)


def finished_run(root: Path) -> Path:
    """The folder of a run whose arms answered two requests in either style."""
    finished = record()
    folder = RecordStore(root).write(finished).parent
    (folder / "completions").mkdir()
    text = Path(completions(root, "I cannot", "Sure")).read_text(encoding="utf-8")
    for arm in finished.arms:
        both = text + "\n" + text.replace('"raw"', '"raw_system"')
        (folder / arm.completions).write_text(both, encoding="utf-8")
    return folder


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["judges", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err
