"""What a table says of the attacks among its columns."""

from __future__ import annotations

from typing import Any

from ssah_exp.evaluation.attack_metrics import ATTEMPT, joined_styles
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.text import style_text


def attacks_note(record: RunRecord) -> str:
    """One sentence per attack, and how a mean with attacks is made; empty without attacks."""
    evaluation = record.config["evaluation"]
    attacks: dict[str, dict[str, Any]] = evaluation.get("attacks", {})
    sentences = [_sentence(record, name, attack) for name, attack in attacks.items()]
    joining = evaluation.get("mean_with")
    if joining is not None:
        styles = joined_styles(evaluation)
        columns = "; ".join(style_text(style) for style in styles)
        sentences.append(
            f"The mean of the styles and of {joining} is the mean of {len(styles)} columns: "
            f"{columns}."
        )
    return " ".join(sentences)


def _sentence(record: RunRecord, name: str, attack: dict[str, Any]) -> str:
    said = record.attacks.get(name, {})
    asked, total = attack.get("requests"), record.data["harmful_eval"]
    n = total if asked is None else min(asked, total)
    ways = _attempts(record, name)
    worst = f", answered if any of {ways} attempts is" if ways > 1 else ""
    source = f" ({said['source']})" if said.get("source") else ""
    begun = ""
    if said.get("kind") == "Prefill":
        begun = f", the answer begun with {said['text']!r} and judged with and without it"
    return f"Attack {name}{source}: n = {n}{worst}{begun}."


def _attempts(record: RunRecord, name: str) -> int:
    """How many attempts an attack makes of every request."""
    single = {
        metric.split("/")[1].partition(ATTEMPT)[2]
        for metric in record.arms[0].metrics
        if metric.startswith("asr/") and f"+{name}{ATTEMPT}" in metric
    }
    return max(1, len(single))
