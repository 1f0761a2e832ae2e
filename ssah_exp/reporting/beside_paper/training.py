"""Training tables: our arms beside the paper's columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from ssah_exp.config.vocabulary import ALIGNED, UNALIGNED
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.beside_paper import protocol
from ssah_exp.reporting.beside_paper.benchmarks import benchmark_differs, benchmark_metric
from ssah_exp.reporting.beside_paper.measured import OurMetric, freezing_metric, scored
from ssah_exp.reporting.beside_paper.pair import PaperPair, find_row, published_number, sources_of
from ssah_exp.reporting.published import read_published
from ssah_exp.reporting.rows import Block
from ssah_exp.reporting.text import heading, scale_of

_ALPACA, _DOLLY = "alpaca", "dolly"
_TABLE2_ARMS = {
    "initial": ALIGNED,
    "{}_finetuned": "full",
    "{}_freeze_scu_cu6": "setting_i",
    "{}_freeze_scu_cu_all": "setting_ii",
}
_TABLE3_ARMS = {
    "initial": ALIGNED,
    "ours": "setting_ii",
    "full": "full",
    "lora": "lora",
    "llama_adapter": "llama_adapter",
    "prefix": "prefix",
}
_TABLE4_ARMS = {
    "pretrained": UNALIGNED,
    "sft_full_parameters": "full",
    "sft_only_ru_20pct": "ru20",
}
# What units are ranked by, as the paper writes it.
_SCORES = {
    "safety": "z_S",
    "utility": "z_U",
    "importance": "z_S + z_U",
    "preference": "z_S - z_U",
}
_LEAST_USEFUL = "lowest z_U"
_FROZEN = ("setting_i", "setting_ii")
_SIZES = {"AdvBench": 520, "HEx-PHI": 330}


def freezing_pairs(block: Block) -> Iterator[PaperPair]:
    """Table 2."""
    record, data = block.records[0], trained_on(block.records[0])
    for item in _published(block):
        measured = freezing_metric(record, item["benchmark"], item["judge"])
        source = f"{item['model']}, {item['benchmark']}, {item['judge'].removesuffix('_pct')}"
        for column, arm in _TABLE2_ARMS.items():
            value = item[column.format(data or _ALPACA)]
            differs = (
                *protocol.model_differs(record, item["model"]),
                *_trained(data, arm),
                *_trained_before(record, arm),
            )
            yield _pair(block, arm, measured, source, value, differs)


def peft_pairs(block: Block) -> Iterator[PaperPair]:
    """Table 3 of v1, 5 of v3."""
    record, data = block.records[0], trained_on(block.records[0])
    for item in _published(block):
        if item["dataset"].lower() != (data or _ALPACA):
            continue
        measured = scored(record, "HEx-PHI", item["metric"], mean="score" in item["metric"])
        source = f"{item['model']}, {item['metric']}"
        for column, arm in _TABLE3_ARMS.items():
            differs = (*protocol.model_differs(record, item["model"]), *_trained(data, arm))
            yield _pair(block, arm, measured, source, item[column], differs)


def budget_pairs(block: Block) -> Iterator[PaperPair]:
    """Table 4: benchmarks, no harmful requests."""
    record = block.records[0]
    for item in _published(block):
        arm = _TABLE4_ARMS[item["type"]]
        row = find_row(block, arm)
        common = (
            *protocol.model_differs(record, item["model"]),
            *_aligned_on(record, arm),
            *_chosen_by(record, arm),
        )
        for column in [name for name in item if name not in ("model", "type")]:
            metric = benchmark_metric(record, column)
            yield PaperPair(
                arm=arm,
                fill=None,
                metric=metric,
                quantity=heading(metric),
                ours=None if row is None else row.cells.get(metric),
                source=str(item["model"]),
                published=published_number(item[column], scale_of(metric)),
                differs=(*common, *benchmark_differs(record, column, None)),
            )


def _trained_before(record: RunRecord, arm: str) -> Iterator[str]:
    """The paper starts setting (i) from the result of an epoch of setting (ii)."""
    own = record.config["training"]["arms"].get(arm)
    if arm == "setting_i" and own is not None and own.get("first") is None:
        yield "trained before it: nothing for an epoch of setting_ii"


def _aligned_on(record: RunRecord, arm: str) -> Iterator[str]:
    """The paper trains Table 4's arms on Alpaca alone; alignment here also holds refusals."""
    if arm == UNALIGNED:
        return
    pairs = record.config["data"].get("preferences")  # in the place of both sets
    if record.config["training"]["data"] == "alignment" and not pairs:
        yield f"trained on: refusals and harmless requests for {_ALPACA}"
    elif trained_on(record) != _ALPACA:
        yield f"trained on: other data for {_ALPACA}"


def _chosen_by(record: RunRecord, arm: str) -> Iterator[str]:
    """How units were scored, and ranked: the paper's base model has utility scores alone."""
    select = record.config["training"]["arms"].get(arm, {}).get("select")
    if select is None:
        return
    yield from protocol.scores_differ(record)
    by, end = select.get("by"), select.get("end")
    ranked = by in _SCORES and end is not None and select.get("of") is None
    ours = f"{end} {_SCORES[by]}" if ranked else "another selection"
    if ours != _LEAST_USEFUL:
        yield f"ranking: {ours} for {_LEAST_USEFUL}"


def trained_on(record: RunRecord) -> str | None:
    """``alpaca`` or ``dolly``, recognised by the columns and the template read; None: neither.

    The paper mixes neither with anything, so a mixture is neither, whatever it holds besides.
    """
    data = record.config["data"]
    sources = data.get("finetune") or []
    if data.get("preferences") or len(sources) != 1 or sources[0].get("harmful_share"):
        return None
    text = json.dumps(sources)
    if "### Instruction:" in text or ("{instruction}" in text and "{context}" in text):
        return _DOLLY
    return _ALPACA if "{instruction}" in text and "{output}" in text else None


TRAINING_PAIRS: dict[str, Callable[[Block], Iterator[PaperPair]]] = {
    "table2_freezing": freezing_pairs,
    "table3_peft": peft_pairs,
    "table4_alignment_budget": budget_pairs,
}


def _published(block: Block) -> Iterator[dict[str, str]]:
    """Rows of the published table, those of our model alone where it is among them."""
    record = block.records[0]
    table = read_published(record.artefact)
    sources = sources_of(str(record.config["model"]["name"]), table["model"])
    for item in table[table["model"].isin(sources)].to_dict("records"):
        yield {str(key): value for key, value in item.items()}


def _units_differ(record: RunRecord) -> Iterator[str]:
    """How the units that an arm freezes were found."""
    yield from protocol.budget_differs(record, "SCU")
    yield from protocol.scores_differ(record)
    yield from protocol.calibration_differs(record)
    yield from protocol.refusals_differ(record)


def _trained(data: str | None, arm: str) -> tuple[str, ...]:
    return () if data or arm == ALIGNED else (f"trained on: other data for {_ALPACA}",)


def _pair(
    block: Block,
    arm: str,
    measured: OurMetric,
    source: str,
    value: object,
    differs: tuple[str, ...],
) -> PaperPair:
    record, row = block.records[0], find_row(block, arm)
    size = _SIZES.get(measured.benchmark)
    units = tuple(_units_differ(record)) if arm in _FROZEN else ()
    return PaperPair(
        arm=arm,
        fill=None,
        metric=measured.metric or measured.judge,
        quantity=heading(measured.metric) if measured.metric in block.metrics else measured.judge,
        ours=None if row is None or measured.metric is None else row.cells.get(measured.metric),
        source=source,
        published=published_number(value, measured.scale),
        differs=(
            *differs,
            *units,
            *protocol.requests_differ(record, measured.benchmark, size),
            *measured.differs,
        ),
    )
