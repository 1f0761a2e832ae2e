"""Generation that is killed goes on where it stopped, and ends with the same completions."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ssah_exp.errors import StoreError
from ssah_exp.evaluation.generate import complete, generate
from ssah_exp.evaluation.kept import FILE, KeptCompletions
from ssah_exp.models.load import LoadedModel
from tests import tiny
from tests.evaluation.generating import DECODING, PROMPTS

BATCHES = 4  # 3 + 3 + 3 + 2


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return tiny.never_stopping(tiny.tiny_loaded("llama_gqa", seed=3))


@pytest.fixture(scope="module")
def whole(loaded: LoadedModel) -> list[str]:
    texts = generate(loaded, PROMPTS, DECODING)
    assert len(set(texts)) == len(PROMPTS)
    return texts


def counting(loaded: LoadedModel) -> tuple[Callable[[Sequence[tuple[int, ...]]], list], list[int]]:
    """An engine by the model, and the sizes of the batches it was asked for."""
    asked: list[int] = []

    def engine(batch: Sequence[tuple[int, ...]]) -> list[list[int]]:
        from ssah_exp.evaluation.generate import _complete

        asked.append(len(batch))
        return _complete(loaded, batch, DECODING).tolist()

    return engine, asked


def going_on(loaded: LoadedModel, folder: Path) -> tuple[list[str], list[int]]:
    """Completions, and the sizes of the batches that were still to do."""
    engine, asked = counting(loaded)
    done: list[int] = []
    kept = KeptCompletions(folder, len(PROMPTS))
    texts = complete(engine, loaded.speech, PROMPTS, DECODING, done.append, kept)
    assert sum(done) == len(PROMPTS), "the bar counts what is known, too"
    return texts, asked


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


def test_a_killed_process_loses_no_finished_batch(
    loaded: LoadedModel, whole: list[str], tmp_path: Path
) -> None:
    line = [sys.executable, "-m", "tests.evaluation.generating", str(tmp_path), "2"]
    assert subprocess.run(line, check=False).returncode == -signal.SIGKILL
    assert len(rows(tmp_path)) == 6
    assert all(whole[row["prompt"]] == row["completion"] for row in rows(tmp_path))
    texts, asked = going_on(loaded, tmp_path)
    assert texts == whole
    assert asked == [3, 2]


@pytest.fixture
def finished(loaded: LoadedModel, whole: list[str], tmp_path: Path) -> Path:
    """A folder with every completion kept."""
    texts, asked = going_on(loaded, tmp_path)
    assert texts == whole
    assert len(asked) == BATCHES
    return tmp_path


def test_what_is_kept_is_not_asked_again(
    finished: Path, loaded: LoadedModel, whole: list[str]
) -> None:
    assert [row["prompt"] for row in rows(finished)] != list(range(len(PROMPTS))), "longest first"
    assert going_on(loaded, finished) == (whole, [])


@pytest.mark.parametrize("cut", [1, 9, 30])
def test_a_line_cut_short_is_skipped_and_its_batch_asked_as_a_whole(
    finished: Path, loaded: LoadedModel, whole: list[str], cut: int
) -> None:
    path = finished / FILE
    path.write_bytes(path.read_bytes()[:-cut])
    known = len(KeptCompletions(finished, len(PROMPTS)).texts)
    assert known == (len(PROMPTS) if cut == 1 else len(PROMPTS) - 1)
    texts, asked = going_on(loaded, finished)
    assert texts == whole
    assert asked == ([] if cut == 1 else [2])
    assert KeptCompletions(finished, len(PROMPTS)).texts == dict(enumerate(whole)), (
        "the file is whole again"
    )


@pytest.mark.parametrize(
    "line",
    ["", "[]", "7", '{"prompt": 0}', '{"prompt": 99, "completion": "w1"}', "\x00\xff",
     '{"prompt": -1, "completion": "w1"}', '{"prompt": true, "completion": "w1"}',
     '{"prompt": 0, "completion": null}'],
)  # fmt: skip
def test_damaged_lines_are_no_completions(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE).write_text(line + "\n")
    assert KeptCompletions(tmp_path, len(PROMPTS)).texts == {}


def test_any_text_survives(tmp_path: Path) -> None:
    texts = {0: 'quote " and \\', 1: "two\nlines\u2028more", 2: "naïve 🙂", 3: ""}
    KeptCompletions(tmp_path, 4).add(texts)
    assert KeptCompletions(tmp_path, 4).texts == texts


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="a file lies where a folder is needed"):
        KeptCompletions(tmp_path / "file", 1).add({0: "w1"})


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_batch_size_changes_no_completion(family: str) -> None:
    loaded = tiny.never_stopping(tiny.tiny_loaded(family, seed=3), 20, 30)
    from dataclasses import replace

    from ssah_exp.evaluation.questions import Prompt

    prompts = [Prompt(tuple(tiny.random_words(1 + 5 * at % 17, at)), "raw") for at in range(33)]
    one, many = (generate(loaded, prompts, replace(DECODING, batch_size=size)) for size in (1, 32))
    assert one == many
    lengths = {len(text.split()) for text in one}
    assert len(lengths) > 1, "some end early"
