"""Training tables: every arm, its loss beside its ASR, controls below, the paper's rows last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ssah_exp.config.facts import class_of
from ssah_exp.evaluation.metric_names import TRAIN_LOSS
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.beside_paper.table import with_comparison
from ssah_exp.reporting.captions import (
    budgets_clause,
    closing_notes,
    controls_note,
    intervals_note,
    prompts_clause,
    seeds_text,
)
from ssah_exp.reporting.published import read_published
from ssah_exp.reporting.rows import Block, Row, blocks
from ssah_exp.reporting.setting_text import indented, long_lines, marked_cells, settings_text
from ssah_exp.reporting.settings import seeds_and_runs
from ssah_exp.reporting.text import format_frame, given, machine_text, prose, span

# Artefact -> what the paper's numbers for it are; artefacts without an entry have none.
PUBLISHED = {
    "table2_freezing": (
        "Published (7B and 8B models; AdvBench 520, HEx-PHI 330, HarmBench; judges as named; "
        "frozen runs twice the epochs):"
    ),
    "table3_peft": "Published (HEx-PHI, GPT-4 as judge; ours: freezing):",
    "table4_alignment_budget": "Published (accuracy in percent, MT-bench scores 1 to 10):",
}


def render_training(records: Sequence[RunRecord], form: str) -> str:
    """Render every setting among ``records``.

    Args:
        records: Records of one artefact that trains arms.
        form: ``text``, ``markdown``, ``csv``, ``json`` or ``latex``.
    """
    settings, artefact = blocks(records), records[0].artefact
    if form in ("csv", "json"):
        return machine_text(with_comparison(long_frame(settings), settings), form)
    parts = settings_text(settings, caption_of, wide_frame, form)
    if artefact in PUBLISHED:
        published = read_published(artefact).map(_as_given)
        parts += [prose(PUBLISHED[artefact], form), format_frame(published, form)]
    return "\n\n".join(parts).rstrip()


def wide_frame(block: Block) -> pd.DataFrame:
    """One line per arm, for people. Rates in percent."""
    return pd.DataFrame([_wide_line(row, block) for row in block.rows])


def long_frame(settings: Sequence[Block]) -> pd.DataFrame:
    """One line per value, for machines.

    Columns: model, data, start, trained_on, seeds, runs, arm, policy, control, units_pct,
    params_pct, metric, value, low, high, spread, n, repeats, method, fewer_than_paper. Rates are
    shares from 0 to 1, the spread of perplexity is a factor.
    """
    return pd.DataFrame(long_lines(settings, _origin))


def _origin(row: Row, block: Block) -> dict[str, Any]:
    config = block.records[0].config
    return {
        "model": config["model"]["name"],
        "data": config["data"]["name"],
        "start": config["training"]["start"],
        "trained_on": config["training"]["data"],
        **seeds_and_runs(block.records),
        "arm": row.label,
        "policy": _policy(row, block),
        "control": row.control,
        "units_pct": 100 * row.unit_share,
        "params_pct": 100 * row.parameter_share,
    }


def _wide_line(row: Row, block: Block) -> dict[str, str]:
    named = row.unit_share > 0
    about = {
        "arm": indented(row),
        "policy": _policy(row, block) or "-",
        "units %": f"{100 * row.unit_share:.1f}" if named else "-",
        "params %": f"{100 * row.parameter_share:.1f}" if named else "-",
    }
    return about | marked_cells(row, block)


def _policy(row: Row, block: Block) -> str | None:
    """``freeze``, ``budget``, ``none``, or the adapter's class; None = not trained, or not said."""
    arm = block.records[0].config["training"]["arms"].get(row.arm) if row.arm else None
    if arm is None:
        return None
    return class_of(arm["adapter"]) or str(arm["policy"])


def caption_of(block: Block) -> str:
    """What was run: model, data, sizes, seeds, and what the intervals are."""
    config = block.records[0].config
    training = config["training"]
    return (
        f"{config['model']['name']}, data {config['data']['name']}: the {training['start']} model, "
        f"{training['objective']} on {_material(block)}, "
        f"learning rate {training['learning_rate']:g}, batch {training['batch_size']}; "
        f"{prompts_clause(block.records[0])}; {budgets_clause(config)}; training loss in nats per "
        f"response token{_loss_examples(block)}; "
        f"{seeds_text(block.records)}; {intervals_note(block, 'perplexity and training loss')}; "
        f"{controls_note(training['control_draws'])}{closing_notes(block)}"
    )


def _material(block: Block) -> str:
    config = block.records[0].config
    training = config["training"]
    if training["objective"] == "sft":
        return f"{_counted(block)}examples of data.{training['data']}"
    given = config["data"].get("preferences") is not None
    origin = "data.preferences" if given else f"data.{training['data']}"
    return f"{_counted(block)}pairs of {origin}"


def _counted(block: Block) -> str:
    """How many examples arms read, ``300 `` or ``10 to 12 ``; empty where no arm says."""
    trained = [arm.training for run in block.records for arm in run.arms if arm.training]
    counts = [training["examples"] for training in trained if "examples" in training]
    return f"{span(counts, 'd')} " if counts else ""


def _loss_examples(block: Block) -> str:
    """`` over 64 training examples``; empty where no arm was trained."""
    sizes = [row.cells[TRAIN_LOSS].n for row in block.rows if TRAIN_LOSS in row.cells]
    return f" over {max(sizes)} training examples" if sizes else ""


def _as_given(value: Any) -> str:
    return value if isinstance(value, str) else given(value)
