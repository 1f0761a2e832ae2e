"""The probe from end to end on a tiny model: complete, cached, told in tables and figures."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
from safetensors.numpy import load_file

from ssah_exp import ranks
from ssah_exp.cli import main
from ssah_exp.config.artefacts import PROBE
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.validate import validate
from ssah_exp.errors import DataError, StoreError
from ssah_exp.evaluation.generate import until_stop
from ssah_exp.evaluation.judges import Judge, Judgement
from ssah_exp.evaluation.metrics import assessed
from ssah_exp.evaluation.probe.measure import ProbeDistances
from ssah_exp.pipeline import probe
from ssah_exp.pipeline.opened import Finished, open_run
from ssah_exp.pipeline.probe import probe_inputs, run_probe
from ssah_exp.pipeline.rejudging import rejudge
from ssah_exp.records.store import RecordStore
from ssah_exp.reporting.artefacts import render_artefact
from tests.evaluation.failing_judge import FailingJudge
from tests.pipeline.tiny_run import JUDGES, SIZES, computed, silent, tiny_config
from tests.pipeline.trained import entry_of
from tests.tiny import LAYERS, tiny_speech

STAGES = ["probe", "separability"]


def probe_config(place: Path) -> RunConfig:
    config = tiny_config(place, "probe")
    config.artefact = PROBE
    config.probe.benign, config.probe.malicious = ["w3 w4 w5", "w6"], ["w7 w8"]
    config.probe.steps, config.probe.distances = [1, 2], ["cosine", "l2"]
    config.probe.folds, config.probe.shuffles = 2, 2
    config.alignment.learning_rate = 1e-4  # it must not learn to end its answers at once
    validate(config)
    return config


@pytest.fixture(scope="module")
def probed(place: Path) -> Finished:
    return run_probe(probe_config(place), silent())


def test_both_models_have_every_curve(probed: Finished) -> None:
    record = probed.record
    assert [arm.name for arm in record.arms] == ["unaligned", "aligned"]
    for arm in record.arms:
        forms = {name.rsplit("/", 2)[0] for name in arm.curves if not name.startswith("auc/")}
        assert forms == {"cosine/raw", "cosine/content_free", "l2/raw"}
        assert len(arm.curves) == 3 * 2 * 8 + 3
        for name, curve in arm.curves.items():
            assert len(curve.value) == LAYERS + 1, name
            assert None not in curve.value[1:], name
            assert curve.n > 0
        counts = {len(arm.curves[f"auc/{what}"].value) for what in ("harmless", "borderline")}
        assert counts == {LAYERS + 1}
        for judge in JUDGES:
            assert arm.metrics[f"refused/{judge}"].n == SIZES["harmful_eval"], "each is asked"
    first, second = (arm.curves["cosine/raw/k2/benign"].value for arm in record.arms)
    assert first != second, "alignment changed the model"


def test_the_record_says_what_went_in(probed: Finished, place: Path) -> None:
    record = probed.record
    assert record.config["probe"]["steps"] == [1, 2]
    assert not {"units", "ablation", "training"} & record.config.keys()
    assert record.classes == {}
    (stored,) = RecordStore(place / "probe").read(PROBE)
    assert stored.arms == record.arms, "curves come back from disk as they were"
    names = [stage.name for stage in record.stages]
    assert names == ["align", *(f"{kind} {m}" for m in ("unaligned", "aligned") for kind in STAGES)]


@pytest.mark.filterwarnings("ignore:Judge 'down' left")
def test_a_judge_that_fails_leaves_an_incomplete_record_that_the_next_run_completes(
    probed: Finished, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = FailingJudge()
    monkeypatch.setattr("ssah_exp.pipeline.opened.judge_of", lambda *_: judge)
    failed = {"unaligned": SIZES["harmful_eval"], "aligned": SIZES["harmful_eval"]}
    record = run_probe(probe_config(place), silent()).record
    assert record.status == "incomplete"
    assert record.unanswered() == dict.fromkeys(JUDGES, failed)
    assert record.arms[0].metrics["refused/first"].n == 0
    judge.down = False
    record = run_probe(probe_config(place), silent()).record
    assert (record.status, record.unanswered()) == ("done", {})
    assert record.arms[0].metrics["refused/first"].value == 1.0
    monkeypatch.undo()
    assert run_probe(probe_config(place), silent()).record.arms == probed.record.arms


def test_judges_read_how_bare_requests_go_on(
    probed: Finished, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not how an opening that was put there does."""
    read: list[Sequence[str]] = []

    def watched(judge: Judge, requests: Sequence[str], texts: Sequence[str]) -> list[Judgement]:
        read.append(texts)
        return assessed(judge, requests, texts)

    monkeypatch.setattr(probe, "assessed", watched)
    run_probe(probe_config(place), silent())
    speech = tiny_speech()
    asked = [name for name in ("unaligned", "aligned") for _ in JUDGES]
    for name, texts in zip(asked, read, strict=True):
        bare = ProbeDistances.load(entry_of(probed, f"probe {name}")).tokens[:, 0].tolist()
        answers = [until_stop(row, speech) for row in bare]
        decoded = speech.tokenizer.batch_decode(answers, skip_special_tokens=True)
        assert list(texts) == [text.strip() for text in decoded]


def test_rank_0_alone_asks_the_judges(
    place: Path, probed: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint would be asked, and paid, once a rank."""
    monkeypatch.setattr(ranks, "first", lambda: False)
    monkeypatch.setattr(probe, "assessed", lambda *_: pytest.fail("asked"))
    assert run_probe(probe_config(place), silent()).record.arms[0].outcomes is None
    monkeypatch.setattr(ranks, "first", lambda: True)
    with pytest.raises(pytest.fail.Exception, match="asked"):
        run_probe(probe_config(place), silent())


def test_openings_are_of_the_kind_that_the_config_calls_them(place: Path) -> None:
    """Ids 0 to 7 are special: the word w3 is token 11."""
    _, stages = open_run(probe_config(place), silent()).prepare()
    openings = [item for item in probe_inputs(stages).openings if not item.null]
    requests = SIZES["harmful_eval"]
    assert [(item.kind, item.ids) for item in openings] == [
        ("benign", ((11, 12, 13),) * requests),
        ("benign", ((14,),) * requests),
        ("malicious", ((15, 16),) * requests),
    ]


@pytest.mark.parametrize("name", ["unaligned", "aligned"])
def test_the_linear_probe_looks_for_harmful_requests(probed: Finished, name: str) -> None:
    """Shuffled labels are as many as true ones: its scores rise with harm."""
    content = load_file(entry_of(probed, f"separability {name}") / "separability.safetensors")
    assert set(content["labels"].sum(axis=1)) == {SIZES["harmful_eval"]}


def test_no_text_of_a_model_lies_in_the_run_folder(probed: Finished) -> None:
    assert [path.name for path in probed.folder.iterdir()] == ["record.json"]
    with pytest.raises(StoreError, match="a run of probe keeps no completions"):
        rejudge(probed.record, probed.folder, {})


def test_batches_change_nothing_and_nothing_is_computed_twice(
    probed: Finished, place: Path
) -> None:
    config = probe_config(place)
    config.evaluation.batch_size = 2
    config.units.budgets.scu = 0.2  # not read
    again = run_probe(config, silent())
    assert again.record.run_id == probed.record.run_id
    assert computed(again) == []
    assert not again.fresh


def test_another_opening_costs_no_linear_probe(probed: Finished, place: Path) -> None:
    config = probe_config(place)
    config.probe.benign, config.probe.distances = ["w9"], ["angular"]
    other = run_probe(config, silent())
    assert other.record.run_id != probed.record.run_id
    assert computed(other) == ["probe unaligned", "probe aligned"]
    (other.folder / "record.json").unlink()  # the figures below are of one run


def test_too_few_requests_are_one_clear_error(place: Path) -> None:
    config = probe_config(place)
    config.probe.folds = 6
    with pytest.raises(DataError, match=r"probe\.folds=6 needs as many harmful .* 5 in data"):
        run_probe(config, silent())


def test_states_beyond_the_model_s_positions_are_not_measured(place: Path) -> None:
    config = probe_config(place)
    config.probe.steps = [1, 5000]
    with pytest.raises(DataError, match=r"goes on for 5000 \(probe\.steps\): it was made for"):
        run_probe(config, silent())


def test_tables_in_every_format(probed: Finished) -> None:
    records = [probed.record]
    markdown = render_artefact(records, "markdown")
    assert markdown.count("| cosine, content-free |") == 4
    assert markdown.count("| l2, raw ") == 4
    assert "no numbers printed" in markdown
    assert "\\begin{tabular}" in render_artefact(records, "latex")
    rows = json.loads(render_artefact(records, "json"))
    frame = pd.read_csv(io.StringIO(render_artefact(records, "csv")))
    assert len(rows) == len(frame)
    assert set(frame["arm"]) == {"unaligned", "aligned"}
    curve = probed.record.arms[1].curves["cosine/raw/k2/difference"]
    drawn = frame[(frame["arm"] == "aligned") & (frame["curve"] == "cosine/raw/k2/difference")]
    assert drawn["value"].tolist() == pytest.approx(curve.value)


def test_the_figure_command_draws_all_of_it(probed: Finished, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "fig.svg"
    assert main(["figure", PROBE, "--root", str(place / "probe"), "--out", str(out)]) == 0
    stems = {"fig", "fig-gap", "fig-l2", "fig-l2-gap", "fig-auc"}
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{stem}.{end}" for stem in stems for end in ("svg", "csv")
    }
    numbers = pd.read_csv(tmp_path / "fig-gap.csv")
    assert set(numbers["curve"].str.rsplit("/").str[-1]) == {"gap", "null_gap"}
    assert set(numbers["block"]) == set(range(1, LAYERS + 1))


def test_it_stands_in_the_report_and_is_not_compared_by_prompts(
    probed: Finished, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    root = ["--root", str(place / "probe")]
    assert main(["report", "--out", str(page), *root]) == 0
    assert "content-free" in page.read_text(encoding="utf-8")
    assert main(["compare", PROBE, *root]) == 2
    assert "ssah-exp tables probe has its paired tests" in capsys.readouterr().err


def test_a_style_is_refused(
    probed: Finished, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--root", str(place / "probe"), "--out", str(tmp_path / "a.svg")]
    for option in ("--style", "--judge"):
        assert main(["figure", PROBE, *arguments, option, "raw"]) == 2
        assert f"{option} has no effect on the probe" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
