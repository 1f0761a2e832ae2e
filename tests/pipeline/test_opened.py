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


def test_requests_that_repeat_and_rows_that_ask_nothing_are_counted(tmp_path: Path) -> None:
    """Intervals take five requests for independent; nothing is dropped for it."""
    save_model(tmp_path / "model")
    save_data(tmp_path / "data")
    config, said = tiny_config(tmp_path), io.StringIO()
    path = tmp_path / "data" / "harmful_eval.csv"
    before = open_run(config, Reporter(Console(file=said), bars=False)).inputs["harmful_eval"]
    assert "data." not in said.getvalue()
    path.write_text(path.read_text(encoding="utf-8") + "\n,\n , \n", encoding="utf-8")
    opened = open_run(config, Reporter(Console(file=said), bars=False))
    assert f"data.harmful_eval: 2 blank rows of {path} left out\n" in said.getvalue()
    assert opened.inputs["harmful_eval"] == before
    first = opened.data.harmful_eval[0].prompt
    path.write_text(f'q,a\n{first},w1\n"{first.upper()}!",w2\nw63,w1\n', encoding="utf-8")
    opened = open_run(config, Reporter(Console(file=said), bars=False))
    assert "data.harmful_eval: 1 of 3 in words that another has, too;" in said.getvalue()
    assert len(opened.data.harmful_eval) == 3
