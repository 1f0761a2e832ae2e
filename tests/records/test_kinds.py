"""Kinds deep inside records of other people: one line that names the file, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from ssah_exp.cli import main
from ssah_exp.errors import StoreError
from ssah_exp.records.kinds import KindError, check_of
from ssah_exp.records.record import RunRecord
from ssah_exp.records.store import RecordStore
from tests.records.synthetic import record

ARTEFACT = "table1_pruning"


class _Part(TypedDict, total=False):
    text: str
    numbers: list[float]


@dataclass
class _Whole:
    name: str
    share: float | None
    part: Annotated[dict[str, Any], _Part] | None = None
    more: dict[str, list[int]] | None = None


@pytest.mark.parametrize(
    "plain",
    [
        {"name": "", "share": 1},
        {"name": "", "share": None, "part": None, "more": {}},
        {"name": "", "share": 0.5, "part": {"text": "", "numbers": [1, 2.5]}, "more": {"a": [1]}},
        {"other": object()},  # which keys there are is for constructors to say
    ],
)
def test_what_fits_passes(plain: dict[str, Any]) -> None:
    check_of(_Whole)(plain)


@pytest.mark.parametrize(
    ("plain", "said"),
    [
        ([], "is no mapping: it is a list"),
        ({"name": None, "share": 1}, "name is no text: it is null"),
        ({"name": "", "share": True}, "share is no number or null: it is true or false"),
        ({"name": "", "share": "0.1"}, "share is no number or null: it is a text"),
        ({"part": []}, "part is no mapping: it is a list"),
        ({"part": {"text": 1}}, "part.text is no text: it is a number"),
        ({"part": {"numbers": [1, None]}}, "part.numbers.1 is no number: it is null"),
        ({"part": {"numbers": "12"}}, "part.numbers is no list: it is a text"),
        ({"more": {"a": [1], "b": [1.5]}}, "more.b.0 is no whole number: it is a number"),
    ],
)
def test_what_does_not_is_named_by_its_place(plain: Any, said: str) -> None:
    for name in ("one", "two"):  # what fits is remembered, which must not let others through
        check_of(_Whole)({"name": name, "share": 1, "part": {"text": name, "numbers": [1]}})
    with pytest.raises(KindError, match=said):
        check_of(_Whole)(plain)


Change = Callable[[dict[str, Any]], None]


def _set(*places: Any, to: Any) -> Change:
    def change(content: dict[str, Any]) -> None:
        for place in places[:-1]:
            content = content[place]
        content[places[-1]] = to

    return change


WRONG = [
    (_set("arms", 1, to="aligned"), "arms.1 is no mapping: it is a text"),
    (_set("arms", 0, "metrics", to=[]), "arms.0.metrics is no mapping: it is a list"),
    (
        _set("arms", 0, "metrics", "perplexity", "value", to="abc"),
        "arms.0.metrics.perplexity.value is no number or null: it is a text",
    ),
    (_set("arms", 0, "metrics", "perplexity", to=7), "arms.0.metrics.perplexity is no mapping"),
    (_set("arms", 0, "name", to=None), "arms.0.name is no text: it is null"),
    (_set("arms", 0, "units", to="many"), "arms.0.units is no whole number"),
    (_set("arms", 0, "outcomes", to=[]), "arms.0.outcomes is no mapping: it is a list"),
    (_set("arms", 0, "outcomes", to={"verdicts": {"a": 1}}), "arms.0.outcomes.verdicts.a is"),
    (_set("arms", 0, "outcomes", to={"losses": 2.5}), "arms.0.outcomes.losses is no list"),
    (_set("arms", 0, "training", to={"losses": ["a"]}), "arms.0.training.losses.0 is no number"),
    (_set("seed", to="0"), "seed is no whole number: it is a text"),
    (_set("models", "base", to=None), "models.base is no mapping"),
    (_set("config", "model", "name", to=None), "config.model.name is no text: it is null"),
    (_set("config", "evaluation", to=[]), "config.evaluation is no mapping"),
    (_set("config", "units", "budgets", "scu", to="x"), "config.units.budgets.scu is no number"),
    (_set("config", "ablation", "classes", to="SCU"), "config.ablation.classes is no list"),
    (_set("provenance", to={"packages": ["torch"]}), "provenance.packages is no mapping"),
    (_set("stages", to={}), "stages is no list: it is a mapping"),
    (_set("training", to={"certificate": {"changed_weights": "5"}}), "training.certificate.chang"),
    (_set("provenance", to={"code": {"commit": 5}}), "provenance.code.commit is no text or null"),
    (_set("provenance", to={"hardware": {"gpus": "A"}}), "provenance.hardware.gpus is no list"),
    (_set("judges", "wei2024", to={"scale": 5}), "judges.wei2024.scale is no list"),
    (_set("judges", "wei2024", to={"rubric": []}), "judges.wei2024.rubric is no mapping"),
]


def _wrong(change: Change) -> str:
    content = json.loads(record(1).to_json())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_wrong_kind_anywhere_in_a_record_is_refused(change: Change, said: str) -> None:
    with pytest.raises(StoreError, match=f"Not a run record: {said}"):
        RunRecord.from_json(_wrong(change))


def test_what_a_part_may_leave_open_is_no_wrong_kind() -> None:
    """Adapters have no certificate, and what was installed by pip has no commit."""
    made = record(
        1,
        training={"losses": None, "overlap": None, "certificate": None, "epochs": 1, "more": []},
        provenance={
            "code": {"commit": None, "dirty": None},
            "packages": {"vllm": None},
            "hardware": {"gpus": []},
        },
    )
    assert RunRecord.from_json(made.to_json()) == made


@pytest.mark.parametrize(("change", "said"), [WRONG[0], WRONG[2], WRONG[12]])
@pytest.mark.parametrize(
    "words",
    [
        ("tables", ARTEFACT),
        ("compare", ARTEFACT),
        ("report", "--out", "report.html"),
        ("figure", ARTEFACT, "--out", "figure.png"),
        ("mirror", "csv"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_goes_on_without_such_a_record(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    change: Change,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    store = RecordStore(tmp_path)
    store.write(record(0))
    path = store.write(record(1))
    path.write_text(_wrong(change), encoding="utf-8")
    with pytest.warns(UserWarning, match=f"Skipping a record: {path} cannot be read.*{said}"):
        assert main([*words, "--root", str(tmp_path)]) == 0
