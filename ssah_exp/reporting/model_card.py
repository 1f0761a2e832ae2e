"""The card of an exported arm: what it is, what was measured on it, what it is not for."""

from __future__ import annotations

from ssah_exp.config.vocabulary import CLASSES
from ssah_exp.records.record import ArmRecord, RunRecord
from ssah_exp.reporting.text import estimate_text, heading_or_name, markdown_cell, prose

_HEAD = """---
library_name: transformers
pipeline_tag: text-generation
tags: [ssah-exp, safety-alignment, research]
---
"""


def model_card(record: RunRecord, arm: ArmRecord) -> str:
    """Markdown with the front matter of a Hugging Face model card.

    Args:
        record: The run.
        arm: The exported arm.
    """
    base = record.models["base"]
    own = record.models.get(arm.model, base)
    made = "" if own == base else f" Before anything else it was aligned here: {own['identifier']}."
    parts = [
        f"{_HEAD}\n# {arm.name}, run {record.run_id}",
        f"An arm of the run {record.run_id} ({record.artefact}, seed {record.seed}) of ssah-exp, "
        "a reference implementation of the experiments of *Superficial Safety Alignment "
        f"Hypothesis* (arXiv 2410.10862). Made from {base['identifier']}, revision "
        f"{base['revision']}; that model's licence applies.{made}",
        _what(arm),
        "**Not for use.** The refusals of such a model may be weakened or gone on purpose. It "
        "serves to measure, beside the run's other arms and their controls.",
        _metrics(arm),
        "`ssah_exp.json` holds config, inputs, versions and fingerprints of the run.",
    ]
    return prose("\n\n".join(part for part in parts if part), "markdown") + "\n"


def _what(arm: ArmRecord) -> str:
    if arm.training is not None:
        policy, proof = arm.training.get("policy"), arm.training.get("certificate")
        how = "Fine-tuned" if policy is None else f"Fine-tuned under policy `{policy}`"
        if proof is None:
            return f"{how}. The run kept no certificate of which weights changed."
        total = proof["changeable_weights"] + proof["frozen_weights"]
        return (
            f"{how}: "
            f"{proof['changeable_weights']} of {total} weights were free to change and "
            f"{proof['changed_weights']} did. The rest is bit for bit what it was before; "
            "`certificate.json` proves it, and was checked when this folder was written."
        )
    if arm.unit_class is None:
        return f"The {arm.model} model itself: nothing is ablated."
    control = "" if arm.control is None else f" a {arm.control} control (draw {arm.draw}) of"
    what = "class" if arm.unit_class in CLASSES else "set"
    return (
        f"Ablated:{control} {what} {arm.unit_class}, {arm.units} heads and neurons "
        f"({arm.unit_share:.2%} of the units, {arm.parameter_share:.2%} of their parameters), each "
        f"held at a constant (`{arm.fill}`). Their columns of the output projections are zero, and "
        "the constants' contribution is the projections' bias."
    )


def _metrics(arm: ArmRecord) -> str:
    """Every metric with its interval and n; shares in percent."""
    rows = [
        [
            heading_or_name(name),
            _judge(name),
            estimate_text(item, name),
            f"{item.n} {item.unit}",
            item.method,
        ]
        for name, item in arm.metrics.items()
        if item.value is not None
    ]
    if not rows:
        return ""
    head = "| metric | judge | value and interval | n | interval |\n|---|---|---|---|---|"
    lines = [f"| {' | '.join(map(markdown_cell, row))} |" for row in rows]
    return "\n".join(["## Measured in this run", "", head, *lines])


def _judge(name: str) -> str:
    parts = name.split("/")
    return parts[-1] if len(parts) == 3 and parts[0] != "utility" else ""
