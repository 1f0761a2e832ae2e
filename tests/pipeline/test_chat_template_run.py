"""A base model's tokenizer has no chat template: the config's does as well as one of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from ssah_exp.cli import main
from ssah_exp.config.schema import RunConfig
from ssah_exp.errors import DataError
from ssah_exp.pipeline.opened import Finished
from tests.pipeline.test_reopening import overrides
from tests.pipeline.tiny_run import run, tiny_config
from tests.tiny import TEMPLATE, tiny_tokenizer


@pytest.fixture(scope="module")
def base(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model and its data, with a tokenizer that knows no chat."""
    folder = tmp_path_factory.mktemp("base")
    shutil.copytree(place / "model", folder / "model")
    shutil.copytree(place / "data", folder / "data")
    (folder / "model/chat_template.jinja").unlink()
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder / "model")
    assert AutoTokenizer.from_pretrained(folder / "model").chat_template is None
    return folder


def config_of_base(base: Path, template: str | None) -> RunConfig:
    config = tiny_config(base)
    config.model.chat_template = template
    return config


@pytest.fixture(scope="module")
def spoken(base: Path) -> Finished:
    return run(config_of_base(base, TEMPLATE))


def test_without_one_no_chat_can_be_trained_on(base: Path) -> None:
    with pytest.raises(DataError, match="needs a chat template"):
        run(config_of_base(base, None))


def test_the_config_s_template_is_as_good_as_the_tokenizer_s(
    finished: Finished, spoken: Finished
) -> None:
    ours, known = spoken.record, finished.record
    assert ours.run_id != known.run_id
    assert ours.template_hash == known.template_hash
    assert {arm.name: arm.metrics for arm in ours.arms} == {
        arm.name: arm.metrics for arm in known.arms
    }


def test_commands_that_reopen_the_run_and_what_they_export_have_it(
    spoken: Finished, base: Path, tmp_path: Path
) -> None:
    given = [part for part in overrides(base) if part != "--set" and "data." not in part]
    options = [part for item in given for part in ("--set", item)]
    for arm in ("unaligned", "SCU/zero"):  # the former's own folder has none
        out = tmp_path / arm.replace("/", "-")
        assert main(["export", str(spoken.folder), arm, str(out), *options]) == 0
        assert AutoTokenizer.from_pretrained(out).chat_template == TEMPLATE


@pytest.mark.parametrize(
    "given", ["chat_template=alpaca", "model.chat_template='{{ messages }}'"], ids=["group", "key"]
)
def test_a_finished_run_takes_no_other(
    finished: Finished,
    spoken: Finished,
    base: Path,
    given: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for told, place in ((finished, "place"), (spoken, "base")):
        options = [*overrides(base), "--set", given]
        assert main(["export", str(told.folder), "unaligned", str(tmp_path / place), *options]) == 2
        said = capsys.readouterr().err
        assert "chat_template" in said
        assert "run it anew" in said
        assert not (tmp_path / place).exists()
