"""What captions say of a setting, and what tells it from others that would be described alike."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ssah_exp.digest import digest_of
from ssah_exp.evaluation.metric_names import PERPLEXITY
from ssah_exp.evaluation.utility.metrics import UTILITY_MEAN
from ssah_exp.records.record import RunRecord
from ssah_exp.reporting.notes.attacks import attacks_note
from ssah_exp.reporting.rows import ALL_ALIKE, Block
from ssah_exp.reporting.settings import level_of
from ssah_exp.reporting.text import TASK_HEADINGS, heading

_SHOWN = 6  # differing keys that a caption lists
_ABSENT = object()
_Key = tuple[str | int, ...]  # of a config, from its root


def seeds_text(records: Sequence[RunRecord]) -> str:
    """``seed 0`` or ``seeds 0, 1``."""
    listed = ", ".join(str(record.seed) for record in records)
    return f"seed{'' if len(records) == 1 else 's'} {listed}"


def prompts_clause(record: RunRecord) -> str:
    """How many prompts were asked, how long answers may be, who judges them."""
    data, evaluation = record.data, record.config["evaluation"]
    return (
        f"n = {data['harmful_eval']} harmful, {data['benign_eval']} benign and "
        f"{data['borderline_eval']} borderline prompts, {evaluation['max_new_tokens']} new tokens, "
        f"judge {evaluation['primary_judge']}"
    )


def budgets_clause(config: Mapping[str, Any]) -> str:
    """The budgets that decide the classes."""
    of = config["units"]["budgets"]
    return f"budgets SCU {of['scu']:g} UCU {of['ucu']:g} RU {of['ru']:g} of {of['unit']}"


def closing_notes(block: Block) -> str:
    """Sentences after a caption: on tasks, empty and looping answers, inputs and attacks."""
    said = f"{tasks_note(block)}{empty_note(block)}{looping_note(block)}{inputs_note(block.apart)}"
    return f"{said} {attacks_note(block.records[0])}".rstrip()


def tasks_note(block: Block) -> str:
    """A caption's sentence on the harness tasks: how many questions each column stands on."""
    sizes: dict[str, int] = {}
    for metric in block.metrics:
        if metric in TASK_HEADINGS and metric != UTILITY_MEAN:
            task = heading(metric).partition(" %")[0]
            sizes[task] = max(row.cells[metric].n for row in block.rows)
    if not sizes:
        return ""
    listed = ", ".join(f"{task} {size}" for task, size in sizes.items())
    return f" Tasks of lm-evaluation-harness, n = {listed}; their average counts each task once."


def empty_note(block: Block) -> str:
    """A caption's sentence on answers without text; nothing where every arm said something."""
    if not any(metric.startswith("empty/") for metric in block.metrics):
        return ""
    return (
        " Empty answers: requests answered with no text at all; a judge that looks for phrases of "
        "refusal takes them for answered."
    )


def looping_note(block: Block) -> str:
    """A caption's sentence on answers that loop; nothing where few do."""
    if not any("_looping/" in metric for metric in block.metrics):
        return ""
    return (
        " Looping answers: at least half of their sequences of four words stood in them before; a "
        "judge that looks for phrases of refusal takes them for answered, too."
    )


def inputs_note(apart: Mapping[str, str]) -> str:
    """A caption's sentence on inputs that other settings of this config did not have.

    Args:
        apart: Input -> first digits of its hash; empty where there are no such settings.
    """
    listed = ", ".join(f"{name} {digits}" for name, digits in apart.items())
    return f" Other runs of this config had other inputs; these had {listed}." if apart else ""


def intervals_note(block: Block, over_seeds: str) -> str:
    """A caption's clause on what the intervals of a table are.

    Args:
        block: Its rows.
        over_seeds: Names of the columns beside rates that have an interval over several seeds.
    """
    level = level_of(block.records[0])
    if len(block.records) == 1:
        return f"{level} intervals: Wilson over prompts, bootstrap over text windows"
    rates = "rates the envelope of t over seeds and Wilson over prompts"
    alike = any(
        ALL_ALIKE in row.cells[PERPLEXITY].method for row in block.rows if PERPLEXITY in row.cells
    )
    one = ", where all seeds have one perplexity bootstrap over text windows" if alike else ""
    return f"{level} intervals: {rates}, {over_seeds} t{one}"


def controls_note(draws: int, exclude: Sequence[str] = ()) -> str:
    """A caption's sentence on how control draws are gathered, and what they leave out."""
    counted = f"{draws} draw{'' if draws == 1 else 's'} a seed"
    without = f" without units of {', '.join(exclude)}" if exclude else ""
    return (
        f"controls{without}: mean ± sd [range] over {counted}, perplexity geometric mean ×/÷ "
        "geometric sd [range], a single draw its own interval."
    )


def captions_of(settings: Sequence[Block], caption_of: Callable[[Block], str]) -> list[str]:
    """The caption of each setting, with what :func:`with_differences` adds."""
    captions = [caption_of(block) for block in settings]
    return with_differences(captions, [block.records for block in settings])


def with_differences(captions: Sequence[str], settings: Sequence[Sequence[RunRecord]]) -> list[str]:
    """Captions with the config keys in which settings of one model, data and budgets differ.

    A caption names what most experiments vary; a sweep may vary anything.

    Args:
        captions: One per setting.
        settings: The runs of each.

    Returns:
        The captions, as they are where nothing is to be added.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for place, runs in enumerate(settings):
        alike[_named(runs[0])].append(place)
    made = list(captions)
    for places in alike.values():
        configs = [settings[place][0].config for place in places]
        keys = [key for key in _differing(configs, ()) if not _in_the_rows(key, configs)]
        for place, config in zip(places, configs, strict=True):
            made[place] += _note(keys, config)
    return made


def _named(record: RunRecord) -> str:
    config = record.config
    parts = [config["model"]["name"], config["data"]["name"], config["units"]["budgets"]]
    return digest_of([record.artefact, *parts])


def _differing(values: Sequence[Any], where: _Key) -> Iterator[_Key]:
    """The shallowest keys whose values are not the same in all, seeds left out."""
    if where == ("seed",) or all(value == values[0] for value in values):
        return
    inner: Iterable[str | int]
    if all(isinstance(value, Mapping) for value in values):
        inner = dict.fromkeys(key for value in values for key in value)
    elif all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        inner = range(len(values[0]))
    else:
        yield where
        return
    for key in inner:
        yield from _differing([_at(value, (key,)) for value in values], (*where, key))


def _at(value: Any, where: _Key) -> Any:
    for key in where:
        if isinstance(value, Mapping) and key not in value:
            return _ABSENT
        value = value[key]
    return value


def _in_the_rows(where: _Key, configs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows show the difference anyway: an arm that some settings lack, or its controls."""
    if where[:2] != ("training", "arms"):
        return False
    return where[3:] == ("controls",) or any(_at(item, where[:3]) is _ABSENT for item in configs)


def _note(keys: Sequence[_Key], config: Mapping[str, Any]) -> str:
    if not keys:
        return ""
    parts = [_part(key, _at(config, key)) for key in keys[:_SHOWN]]
    left = len(keys) - _SHOWN
    more = f" and {left} more key{'s' if left > 1 else ''}" if left > 0 else ""
    return f" Where like tables differ, this one has {', '.join(parts)}{more}."


def _part(where: _Key, value: Any) -> str:
    name = ".".join(map(str, where))
    if value is _ABSENT:
        return f"no {name}"
    if isinstance(value, Mapping):
        return f"{name} set"
    if isinstance(value, str) and "\n" in value:  # a text
        return f"{name} beginning {value.splitlines()[0]!r}"
    return f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
