"""Overrides that nothing reads are refused; the same ones pass where something reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ssah_exp.cli import main
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.unread import refuse_unread
from ssah_exp.errors import ConfigError
from tests.config.composing import config_of
from tests.thinning import thinned

PRUNING, FREEZING, BUDGET, PROBE = (
    f"experiment={name}"
    for name in ("table1_small", "table2_freezing", "table4_alignment_budget", "probe")
)
ATTACKS = "experiment=attacks_small"
ARM = "training.arms.ru20"
# The other arms have their own epochs as shipped.
EPOCHS = ["+training.arms.full.epochs=2"]
RATES = [f"+training.arms.{name}.learning_rate=1e-4" for name in ("full", "ru20", "ucu20")]
FILES = "data=paper_files"
HARMFUL = "data.finetune.0.harmful.path=harmful.csv"

# Overrides, what leaves them unread, what reads them, and what a user is told.
CASES = [
    (["++training.track.every=50"], [PRUNING], [FREEZING], "table1_pruning trains no arms"),
    (["training=freezing", "~training.arms.full"], [PRUNING], [FREEZING], "experiments that train"),
    (
        ["training=freezing", "selector@training.arms.setting_i.select=ru"],
        [PRUNING],
        [FREEZING],
        "table1_pruning trains no arms",
    ),
    (["+training.arms.mine.epochs=2"], [PRUNING], [FREEZING], "table1_pruning trains no arms"),
    (["finetune=bundled"], [PRUNING], [FREEZING], "table1_pruning trains no arms"),
    (["finetune=bundled"], [BUDGET], [FREEZING], "training.data=alignment"),
    (["ablation.controls.draws=20"], [FREEZING], [PRUNING], "table2_freezing prunes nothing"),
    (["probe.folds=4"], [PRUNING], [PROBE], "experiment=probe does"),
    (["units.samples=64"], [PROBE], [PRUNING], "scores no units"),
    (["evaluation.max_new_tokens=8"], [PROBE], [PRUNING], "looks at hidden states"),
    (["evaluation.perplexity.window=64"], [PROBE], [PRUNING], "looks at hidden states"),
    (["alignment.epochs=3"], [BUDGET], [FREEZING], "training.start=unaligned aligns nothing"),
    (["alignment.epochs=3"], [PRUNING, "alignment=none"], [PRUNING], "alignment.enabled is false"),
    (["+training.dpo_beta=0.2"], [BUDGET], [BUDGET, "training.objective=dpo"], "is not dpo"),
    (["training.check_every=3"], [BUDGET], [FREEZING], "no arm has a match_loss"),
    (["training.epochs=3"], [BUDGET, *EPOCHS], [BUDGET], "every arm has epochs of its own"),
    (
        ["training.learning_rate=1e-5"],
        [BUDGET, *RATES],
        [BUDGET],
        "every arm has learning_rate of its own",
    ),
    (["training.control_draws=3"], [BUDGET, f"{ARM}.controls=[]"], [BUDGET], "no arm has controls"),
    (
        ["training.match_pool=9"],
        [BUDGET, f"{ARM}.controls=[random]"],
        [BUDGET],
        "no arm has controls other",
    ),
    (["ablation.controls.draws=9"], [PRUNING, "ablation.controls.of=[]"], [PRUNING], "no controls"),
    (
        ["ablation.controls.match_pool=9"],
        [PRUNING, "ablation.controls.kinds=[random]"],
        [PRUNING],
        "kinds has only random",
    ),
    (
        ["ablation.fills_of=[SCU]"],
        [PRUNING, "ablation.fills=[pooled]"],
        [PRUNING, "ablation.fills=[pooled,zero]"],
        "ablation.fills has one",
    ),
    (
        ["data.alignment.0.sample=9"],
        [PRUNING, FILES, "alignment=none"],
        [BUDGET, FILES, "alignment=none"],
        "alignment.enabled is false",
    ),
    *(
        (["data.alignment.0.sample=9"], [*run, "finetune=bundled"], [*run, *finetune], why)
        for run, why in (
            ([FREEZING, FILES, "alignment=none"], "alignment.enabled is false"),
            ([FREEZING, FILES, "training.start=unaligned"], "training.data=finetune"),
        )
        for finetune in (["finetune=alpaca"], ["finetune=mixed", HARMFUL])
    ),
    (
        ["evaluation.system_prompt=Careful"],
        [PRUNING, "evaluation.harmful_styles=[raw]"],
        [PRUNING, "evaluation.harmful_styles=[chat_system]"],
        "no prompt has the style raw_system or chat_system",
    ),
    (
        ["evaluation.system_prompt=Careful"],
        [PROBE],
        [PROBE, "probe.style=raw_system"],
        "no prompt has the style",
    ),
    (["training.track.examples=16"], [BUDGET], [BUDGET, "training.track.every=5"], "every is null"),
    (
        ["evaluation.attacks={ }"],
        ["experiment=attacks_small"],
        [PRUNING],
        "evaluation.attacks.gcg'",
    ),
]


def job(*words: str) -> tuple[RunConfig, Sequence[str]]:
    return config_of(*words), words


def refusal(*jobs: tuple[RunConfig, Sequence[str]]) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        refuse_unread(jobs)
    return str(refused.value).splitlines()


@pytest.mark.parametrize(("given", "ignoring", "reading", "why"), thinned(CASES))
def test_what_nothing_reads_is_refused_and_what_something_reads_is_not(
    given: list[str], ignoring: list[str], reading: list[str], why: str
) -> None:
    lines = refusal(job(*ignoring, *given))
    assert [line.partition(" would have no effect: ")[0] for line in lines] == given
    assert all(why in line for line in lines)
    refuse_unread([job(*reading, *[word for word in given if not word.startswith("~")])])


@pytest.mark.parametrize(
    "words",
    [
        [PRUNING, "utility=none", "mt_bench=none", "+utility.tasks=[]"],
        [BUDGET, "alignment=none"],
        [BUDGET, "training.track.every=null"],
        [BUDGET, "evaluation.attacks={}"],
        [PROBE, "seed=3", "model.precision=float32", "tracker=none", "paths.root=here"],
    ],
)
def test_saying_that_something_stays_off_is_no_mistake(words: list[str]) -> None:
    refuse_unread([job(*words)])


def test_an_empty_dictionary_empties_nothing_and_the_refusal_says_what_does() -> None:
    (line,) = refusal(job(ATTACKS, "evaluation.attacks={}"))
    entries = line.partition("is there; ")[2].removesuffix(" would empty it.").split()
    words = [entry.strip("'") for entry in entries]
    assert not config_of(ATTACKS, *words).evaluation.attacks
    assert config_of(ATTACKS, "evaluation.attacks={}").evaluation.attacks


def test_an_override_of_a_sweep_needs_one_job_that_reads_it() -> None:
    """As with ``experiment=table1_small,probe units.samples=64``."""
    samples = "units.samples=64"
    refuse_unread([job(PROBE, samples), job(PRUNING, samples)])
    refuse_unread([job(PROBE, samples), job(PRUNING, "units.samples=16")])  # a swept value
    assert refusal(job(PROBE, samples), job(PROBE, samples, "seed=1")) == refusal(
        job(PROBE, samples)
    )


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_the_command_refuses_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sweep: list[str]
) -> None:
    root = tmp_path / "root"
    words = [PRUNING, "training=freezing", f"paths.root={root}", "tracker=none"]
    assert main(["run", *sweep, *words]) == 2
    said = capsys.readouterr().err
    assert "training=freezing would have no effect: table1_pruning" in said
    assert not [*root.rglob("*.json")]  # neither a record nor a job
