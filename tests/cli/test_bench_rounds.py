"""The benchmarks of identification, generation and start-up, and the check of ratios."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssah_exp.bench.check import WATCHED, compare, watched
from ssah_exp.bench.identify import state_bytes
from ssah_exp.bench.models import LLAMA_SIZES, random_llama
from ssah_exp.bench.published_style import collect_as_published
from ssah_exp.bench.rounds import ratios, timed_rounds
from ssah_exp.cli import main
from ssah_exp.commands import bench as command
from ssah_exp.errors import StoreError
from tests.tiny import tiny_model
from tests.units import oracle

Capture = pytest.CaptureFixture[str]
SMALL = ("--model", "tiny", "--device", "cpu", "--batch", "2", "--length", "8", "--repeats", "2")


def test_identify_times_three_ways_over_the_same_batches(capsys: Capture) -> None:
    assert main(["bench", "identify", *SMALL, "--format", "json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(report["seconds"]) == ["bare", "statistics", "published"]
    for arm, seconds in report["seconds"].items():
        assert len(seconds["values"]) == 2
        speed = report["tokens_per_second"][arm]["values"]
        assert speed == pytest.approx([2 * 2 * 8 / value for value in seconds["values"]])
    below, above = (report["seconds"][arm]["values"] for arm in ("bare", "statistics"))
    expected = [a / b for a, b in zip(above, below, strict=True)]
    assert report["ratios"]["statistics/bare"]["values"] == pytest.approx(expected)
    assert set(watched(report)) == set(WATCHED["identify"])


def test_text_names_every_arm_and_ratio(capsys: Capture) -> None:
    assert main(["bench", "identify", *SMALL]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("bare", "published/statistics", "state of one"))


def test_the_state_of_llama_2_7b_stays_below_16_mb() -> None:
    model = random_llama(LLAMA_SIZES["llama2-7b"], torch.device("meta"), torch.bfloat16, 0, 8)
    assert state_bytes(model) < 16e6


@torch.inference_mode()
def test_the_published_style_gives_flaps_statistic() -> None:
    model = tiny_model("llama_gqa")
    draw = torch.Generator().manual_seed(0)
    samples = list(torch.randint(5, 60, (3, 9), generator=draw))
    counted = torch.arange(9) >= 4
    found = collect_as_published(model, samples, counted)
    for layer, block in enumerate(model.model.layers):
        seen: list[np.ndarray] = []
        handle = block.mlp.down_proj.register_forward_pre_hook(
            lambda module, inputs, seen=seen: seen.append(inputs[0][0, counted].double().numpy())
        )
        for sample in samples:
            model(sample.unsqueeze(0))
        handle.remove()
        np.testing.assert_allclose(found[layer]["mlp"], oracle.flap(seen), rtol=1e-3, atol=1e-6)


def test_rounds_take_turns_and_ratios_are_within_a_round() -> None:
    called: list[str] = []
    arms = {name: (lambda name=name: called.append(name)) for name in ("a", "b")}
    seconds = timed_rounds(arms, 2, "cpu", lambda line: None)
    assert called == ["a", "b", "a", "b", "b", "a"]  # the first of each is not timed
    assert all(len(values) == 2 for values in seconds.values())
    found = ratios({"a": [2.0, 9.0], "b": [1.0, 3.0]}, {"a/b": ("a", "b")})["a/b"]
    assert found is not None
    assert found["values"] == [2.0, 3.0]


def test_out_of_range_is_refused_all_at_once(capsys: Capture) -> None:
    wrong = ["--batches", "0", "--response-share", "0", "--length", "1"]
    assert main(["bench", "identify", "--device", "cpu", *wrong]) == 2
    said = capsys.readouterr().err
    assert all(option in said for option in ("--batches", "--response-share", "--length"))


def test_rounds_of_startup_are_at_least_one(capsys: Capture) -> None:
    assert main(["bench", "startup", "--repeats", "0"]) == 2
    assert "--repeats=0 is below 1." in capsys.readouterr().err


@pytest.mark.parametrize(
    "ignored",
    [
        ("growth", "--root", "x"),
        ("startup", "--root", "x"),
        ("check", "ratios.json", "--format", "json"),
    ],
)
def test_an_option_that_would_do_nothing_is_none(ignored: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", *ignored])


def ratios_of(rounds: int = 3, **medians: float) -> dict[str, dict[str, float]]:
    names = {"bare": "statistics/bare", "published": "published/statistics"}
    values = {"bare": 1.05, "published": 3.0, **medians}
    return {names[key]: {"median": value, "rounds": rounds} for key, value in values.items()}


@pytest.mark.parametrize(
    ("now", "lost"),
    [
        ({}, []),
        ({"bare": 1.14}, []),
        ({"bare": 1.17}, ["identify statistics/bare"]),
        ({"published": 2.6}, ["identify published/statistics"]),
        ({"published": 9.0, "bare": 1.0}, []),
    ],
)
def test_a_loss_of_over_a_tenth_fails(now: dict[str, float], lost: list[str]) -> None:
    found = compare("identify", ratios_of(), ratios_of(**now))
    assert [item.name for item in found if item.failed] == lost


@pytest.mark.parametrize(("rounds", "fails"), [(1, False), (2, False), (3, True), (7, True)])
def test_few_committed_rounds_only_warn(rounds: int, fails: bool) -> None:
    found = compare("identify", ratios_of(rounds), ratios_of(rounds=1, bare=1.17))
    assert [item.name for item in found if item.lost] == ["identify statistics/bare"]
    assert any(item.failed for item in found) is fails


def test_what_is_counted_fails_after_one_round() -> None:
    before = {name: {"median": 1.0, "rounds": 1} for name in WATCHED["train"]}
    now = {name: {"median": 1.2, "rounds": 1} for name in WATCHED["train"]}
    found = compare("train", before, now)
    assert [item.name for item in found if item.failed] == ["train compact/full static memory"]


def test_a_ratio_that_was_never_committed_is_an_error() -> None:
    with pytest.raises(StoreError, match="No committed ratio 'published/statistics'"):
        compare("identify", {"statistics/bare": {"median": 1.0, "rounds": 3}}, ratios_of())


def test_check_writes_then_compares(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = {"now": 1.0}

    def measured(bench: str, *arguments: object) -> dict[str, Any]:
        report: dict[str, Any] = {"bench": bench, "ratios": {}, "machine": {}, "versions": {}}
        for place, _ in WATCHED[bench].values():
            inner, (*outer, last) = report, place.split(".")
            for part in outer:
                inner = inner.setdefault(part, {})
            now = value["now"]
            inner[last] = {"median": now, "low": now, "high": now, "values": [now] * 3}
        return report

    file = str(tmp_path / "ratios.json")
    monkeypatch.setattr(command, "_measure", lambda *_: pytest.fail("measured for nothing"))
    assert main(["bench", "check", file]) == 2
    assert "cannot be read" in capsys.readouterr().err
    Path(file).write_text("[]")
    assert main(["bench", "check", file]) == 2
    assert "cannot be read" in capsys.readouterr().err
    monkeypatch.setattr(command, "_measure", measured)
    assert main(["bench", "check", file, "--write"]) == 0
    written = json.loads(Path(file).read_text())["ratios"]["identify"]["statistics/bare"]
    assert written == {"median": 1.0, "low": 1.0, "high": 1.0, "rounds": 3}
    assert main(["bench", "check", file]) == 0
    assert "LOST" not in capsys.readouterr().out
    value["now"] = 1.2  # for better in some ratios, for worse in others
    assert main(["bench", "check", file]) == 1, "as a part that failed, not as a wrong file"
    said = capsys.readouterr()
    assert "LOST identify statistics/bare" in said.out
    assert "identify statistics/bare" in said.err
    assert "loop/batched" not in said.err
    content = json.loads(Path(file).read_text())
    for row in (row for bench in content["ratios"].values() for row in bench.values()):
        row["rounds"] = 1
    Path(file).write_text(json.dumps(content))
    assert main(["bench", "check", file]) == 1, "memory is counted"
    said = capsys.readouterr()
    assert said.out.count("LOST") == 1
    assert "warn identify statistics/bare" in said.out
    assert "(committed from 1 round: cannot fail)" in said.out
    assert "more than 10 %: train compact/full static memory." in said.err
