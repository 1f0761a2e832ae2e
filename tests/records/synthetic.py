"""Run records made by hand, as the pipeline would write them, without a model."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

from ssah_exp.config.identity import science
from ssah_exp.evaluation.intervals import Estimate, Resampling, perplexity, rate
from ssah_exp.records.record import ArmRecord, RunRecord, StageRecord
from tests.config.composing import config_of

JUDGE = "wei2024"
METRICS = (
    "perplexity",
    f"asr/raw/{JUDGE}",
    f"asr/raw_system/{JUDGE}",
    f"asr/mean/{JUDGE}",
    f"benign_refusal/chat/{JUDGE}",
    f"borderline_refusal/chat/{JUDGE}",
)
CLASSES = {
    name: {"units": 10, "heads": 1, "neurons": 9, "unit_share": 0.25, "parameter_share": 0.25}
    for name in ("SCU", "UCU", "CU", "RU")
}


TRAINING_JUDGE = "zou2023"


def metrics(asr: float, loss: float = 2.0) -> dict[str, Estimate]:
    """Estimates as an arm of 100 prompts and three text windows has them."""
    rates = {name: rate(100 * asr, 100, 0.95) for name in METRICS[1:]}
    return {
        "perplexity": perplexity([loss, loss + 0.1, loss + 0.2], Resampling(0.95, 100)),
        **rates,
    }


def arm(name: str, asr: float, **changes: Any) -> ArmRecord:
    """One arm; its class, fill, control and draw are read from its name."""
    unit_class, fill, control, draw = [*name.split("/"), None, None, None][:4]
    dense = unit_class in ("aligned", "unaligned")
    made = ArmRecord(
        name=name,
        model="unaligned" if name == "unaligned" else "aligned",
        unit_class=None if dense else unit_class,
        fill=fill,
        control=control,
        draw=None if draw is None else int(draw),
        units=0 if dense else 10,
        unit_share=0.0 if dense else 0.0125,
        parameter_share=0.0 if dense else 0.01,
        magnitude=None if dense else 0.5,
        metrics=metrics(asr),
        completions=f"completions/{name.replace('/', '-')}.jsonl",
    )
    return replace(made, **changes)


def arms(shift: float = 0.0) -> list[ArmRecord]:
    """Dense models, one class and its controls; ``shift`` moves every rate."""
    values = {
        "unaligned": 0.9,
        "aligned": 0.1,
        "SCU/pooled": 0.6,
        "SCU/pooled/random/0": 0.1,
        "SCU/pooled/random/1": 0.2,
        "SCU/pooled/random/2": 0.3,
    }
    return [arm(name, value + shift) for name, value in values.items()]


@cache
def _science() -> dict[str, Any]:
    return science(config_of())


def record(seed: int = 0, **changes: Any) -> RunRecord:
    """A finished run of the shipped default; ``changes`` replace fields."""
    made = RunRecord(
        run_id=f"{seed:012x}",
        artefact="table1_pruning",
        status="done",
        seed=seed,
        config={**deepcopy(_science()), "seed": seed},
        inputs={"model": "m", "text": "t"},
        models={
            name: {"identifier": "tiny", "revision": "r", "fingerprint": "f"}
            for name in ("base", "aligned")
        },
        data={"harmful_eval": 100, "benign_eval": 100, "borderline_eval": 100},
        template_hash="h",
        judges={JUDGE: {"kind": "keyword", "min_words": 20}},
        training={"examples": 4, "steps": 2, "first_loss": 2.0, "final_loss": 1.0},
        calibration={"safety": {"tokens": 9, "examples": 3}},
        classes=CLASSES,
        statistics_agreement={"jaccard_scu": 0.5},
        arms=arms(),
        stages=[StageRecord("statistics", "0" * 24, False, 1.5)],
        provenance={"code": {"version": "0"}, "packages": {}, "hardware": {}},
        started="2026-01-01T00:00:00+00:00",
        finished=f"2026-01-01T00:00:{seed:02d}+00:00",
    )
    return replace(made, **changes)


def trained_arm(name: str, asr: float, loss: float | None = None, **changes: Any) -> ArmRecord:
    """One arm of a training table; label, control and draw are read from its name."""
    label, control, draw = [*name.split("/"), None, None][:3]
    dense, named = label in ("aligned", "unaligned"), label not in ("aligned", "unaligned", "full")
    values = {key.replace(JUDGE, TRAINING_JUDGE): item for key, item in metrics(asr).items()}
    if loss is not None:
        values["train_loss"] = Estimate(loss, None, None, 64, "examples", "fixed sample")
    if not dense:
        values["epochs"] = Estimate(1.5, None, None, 30, "batches", "counted")
        values["trained_share"] = Estimate(0.4, None, None, 4000, "weights", "counted")
    return arm(
        name,
        asr,
        model=label if dense else "trained",
        unit_class=None,
        fill=None,
        control=control,
        draw=None if draw is None else int(draw),
        units=10 if named else 0,
        unit_share=0.02 if named else 0.0,
        parameter_share=0.01 if named else 0.0,
        arm=None if dense else label,
        metrics=values,
        training=None if dense else {"examples": 300, "steps": 30, "epochs": 1.5},
        **changes,
    )


def trained_arms(shift: float = 0.0) -> list[ArmRecord]:
    """The two models before training, one frozen arm and its controls."""
    values = {
        "unaligned": (0.8, None),
        "aligned": (0.1, 2.0),
        "full": (0.7, 1.2),
        "setting_i": (0.3, 1.3),
        "setting_i/random/0": (0.5, 1.1),
        "setting_i/random/1": (0.6, 1.2),
        "setting_i/random/2": (0.7, 1.3),
    }
    return [
        trained_arm(name, asr + shift, None if loss is None else loss + shift)
        for name, (asr, loss) in values.items()
    ]


@cache
def _training_science(artefact: str) -> dict[str, Any]:
    return science(config_of(f"experiment={artefact}"))


def training_record(seed: int = 0, artefact: str = "table2_freezing", **changes: Any) -> RunRecord:
    """A finished run of a shipped training table; ``changes`` replace fields."""
    config = {**deepcopy(_training_science(artefact)), "seed": seed}
    given = {"arms": trained_arms(), **changes}
    return record(seed, artefact=artefact, config=config, **given)
