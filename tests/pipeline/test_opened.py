"""What is known of a run, and said, before anything is computed."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from ssah_exp.pipeline.opened import open_run
from ssah_exp.pipeline.progress import Reporter
from tests.pipeline.tiny_run import save_data, save_model, tiny_config


def test_sets_of_which_some_rows_are_asked_are_named(tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    save_data(tmp_path / "data")
    config = tiny_config(tmp_path)
    said = io.StringIO()
    open_run(config, Reporter(Console(file=said), bars=False))
    assert "asking" not in said.getvalue()
    config.data.harmful_eval["every"], config.data.borderline_eval["every"] = 2, 3
    open_run(config, Reporter(Console(file=said), bars=False))
    assert (
        "asking 3 of data.harmful_eval (every=2), 1 of data.borderline_eval (every=3)"
        in said.getvalue()
    )
