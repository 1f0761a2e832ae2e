"""Files of a sweep that are damaged: what can be told is told, and nothing ends in a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ssah_exp.cli import main
from tests.sweeps.frozen import sweep_of

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("key", "value"),
    [("options", None), ("options", []), ("launcher", None), ("code", "x"), ("cwd", None)],
)
def test_a_plan_that_lacks_what_is_needed_is_one_message(
    tmp_path: Path, capsys: Capture, key: str, value: Any
) -> None:
    sweep = sweep_of(tmp_path, 1)
    path = sweep.folder / "sweep.json"
    plan = {**sweep.plan(), key: value}
    if value is None:
        del plan[key]
    path.write_text(json.dumps(plan))
    for command in ("retry-failed", "status", "cancel"):
        assert main([command, "--root", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert said == f"ssah-exp: Cannot read {path}: without a usable '{key}' it is damaged\n"
