"""Ours beside the paper's, for tests: pairs of a record, changed records, the paper's protocol."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.beside_paper.pair import PaperPair
from ssah_exp.reporting.beside_paper.table import pairs_of
from ssah_exp.reporting.rows import blocks
from tests.config.composing import config_of
from tests.records.synthetic import record


def pairs(made: RunRecord) -> list[PaperPair]:
    (block,) = blocks([made])
    return pairs_of(block)


def pair(made: RunRecord, arm: str, metric: str, source: str) -> PaperPair:
    keys = [item for item in pairs(made) if (item.arm, item.metric) == (arm, metric)]
    (found,) = [item for item in keys if item.source.startswith(source)]
    return found


def changed(made: RunRecord, change: Callable[[dict[str, Any]], None]) -> RunRecord:
    config = deepcopy(made.config)
    change(config)
    return replace(made, config=config)


def by_the_protocol(text: dict[str, Any], digest: str = "t", **perplexity: Any) -> RunRecord:
    """One of the paper's models by its protocol, with a text of ours.

    Args:
        text: Node of the text.
        digest: Hash of its content.
        **perplexity: Window, if not the paper's.
    """

    def protocol(config: dict[str, Any]) -> None:
        config["model"]["name"] = "Mistral-7B-Instruct-v0.2"
        config["data"] |= {"name": "paper_files", "text": text}
        config["evaluation"] |= {"max_new_tokens": 256, "harmful_styles": ["raw", "raw_system"]}
        config["evaluation"]["perplexity"] |= {"window": 4096, **perplexity}
        config["evaluation"]["primary_judge"] = "wei2024"
        config["data"]["safety_calibration"] = {"path": "own_refusals.csv"}

    arms = [replace(item, unit_share=0.02 if item.unit_class else 0.0) for item in record().arms]
    return replace(changed(record(arms=arms), protocol), inputs={"model": "m", "text": digest})


def text_node(data: str) -> dict[str, Any]:
    return deepcopy(dict(config_of(f"data={data}").data.text))
