"""Settings: runs that differ in nothing but the seed, and what tells settings apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ssah_exp.digest import digest_of
from ssah_exp.evaluation.intervals import level_text
from ssah_exp.records.record import RunRecord

# The run draws its calibration sets itself, whatever their source is.
_DRAWN_BY_THE_RUN = ("safety_calibration", "utility_calibration")
# Sources that always draw by the seed; others do only where they have a `sample`.
DRAWING = ("ssah_exp.data.sources.RefusedRequests", "ssah_exp.data.mixtures.Poisoned")
# How a judge describes itself, but for what may differ over seeds: which models an endpoint named,
# and people's labels, of which every run may have a table of its own.
_OF_ONE_RUN = ("served", "labels")
_RUNS = 5  # named in one sentence
_SHOWN = 8  # digits of a hash that tell a few files apart


def settings_of(records: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Group records that differ in nothing but the seed; per seed and inputs the newest counts.

    A config in a record names no files: the hashes of what was read tell them apart. An input that
    no seed draws must have the same hash in all runs of a setting. An input that is drawn has
    another hash for every seed, whatever it is drawn from: where one seed has several, nobody can
    say which of them another seed's run belongs to, and each of these runs is its own setting.
    """
    groups: dict[str, dict[tuple[int, str], RunRecord]] = defaultdict(dict)
    for record in sorted(records, key=lambda item: item.finished):
        key = digest_of([_but_seed(record), fixed_inputs(record)])
        groups[key][record.seed, digest_of(record.inputs)] = record
    return [runs for found in groups.values() for runs in _apart(found)]


def newest(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The newest record of every setting and seed, in the order in which the runs ended."""
    found = [run for runs in settings_of(records) for run in runs]
    return sorted(found, key=lambda run: run.finished)


def level_of(run: RunRecord) -> str:
    """The level of a run's intervals in words, e.g. ``95%``."""
    return level_text(run.config["evaluation"]["confidence"])


def setting_columns(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Columns for machines that name a setting: model, data, SCU budget, seeds and runs."""
    config = runs[0].config
    return {
        "model": config["model"]["name"],
        "data": config["data"]["name"],
        "scu_budget": config["units"]["budgets"]["scu"],
        **seeds_and_runs(runs),
    }


def seeds_and_runs(runs: Sequence[RunRecord]) -> dict[str, str]:
    """Columns ``seeds`` and ``runs`` for machines, which tell a setting's lines from others'.

    What settings differ in may be anything; captions, which machines do not get, name it.
    """
    return {
        "seeds": " ".join(str(run.seed) for run in runs),
        "runs": " ".join(run.run_id for run in runs),
    }


def unlike_judges(runs: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Judges that are not one and the same in a setting's runs: name -> what differs.

    Those of the runs themselves are: their settings and files tell settings apart. One that was
    asked later is known by its name alone, and may have been given another model or other phrases.
    """
    names = dict.fromkeys(name for run in runs for name in run.later)
    found = {
        name: _unlike([run.judges[name] for run in runs if name in run.judges]) for name in names
    }
    return {name: keys for name, keys in found.items() if keys}


def unlike_judge(judge: str, keys: Sequence[str], runs: Sequence[RunRecord]) -> str:
    """What is said of one of :func:`unlike_judges`, whatever for: a clause.

    Args:
        judge: Its name, as it was given.
        keys: What differs.
        runs: All those that were looked at.
    """
    named = [run.run_id for run in runs]
    more = f" and {len(named) - _RUNS} more" if len(named) > _RUNS else ""
    return (
        f"{judge} is not the same judge of runs {', '.join(named[:_RUNS])}{more}: they differ in "
        f"{', '.join(keys)}"
    )


def _unlike(described: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = sorted({key for item in described for key in item} - {*_OF_ONE_RUN})
    return [key for key in keys if len({digest_of(item.get(key)) for item in described}) > 1]


def fixed_inputs(record: RunRecord) -> dict[str, str]:
    """Hashes of the inputs that are the same for every seed, by name: model, text, most sets."""
    data: Mapping[str, Any] = record.config["data"]
    return {
        name: value
        for name, value in record.inputs.items()
        if name not in _DRAWN_BY_THE_RUN and not draws(data.get(name))
    }


def draws(node: Any) -> bool:
    """Whether a source, or one that it is made of, draws by the seed."""
    if isinstance(node, Mapping):
        drawn = node.get("sample") is not None or node.get("_target_") in DRAWING
        return drawn or any(draws(item) for item in node.values())
    return isinstance(node, list) and any(draws(item) for item in node)


def told_apart(settings: Sequence[Sequence[RunRecord]]) -> list[dict[str, str]]:
    """For each setting, the inputs in which settings with the same config differ.

    Returns:
        One per setting: input -> first digits of its hash; empty where no other has this config.
    """
    keys = [digest_of(_but_seed(runs[0])) for runs in settings]
    alike: dict[str, list[RunRecord]] = defaultdict(list)
    for key, runs in zip(keys, settings, strict=True):
        alike[key] += runs
    names = {key: _differing(runs) for key, runs in alike.items()}
    return [
        {name: runs[0].inputs.get(name, "none")[:_SHOWN] for name in names[key]}
        for key, runs in zip(keys, settings, strict=True)
    ]


def _differing(runs: Sequence[RunRecord]) -> list[str]:
    """Inputs that have several hashes for one seed or, if no seed draws them, over all seeds."""
    found: dict[tuple[str, int | None], set[str | None]] = defaultdict(set)
    names = {name for run in runs for name in run.inputs}
    for run in runs:
        fixed = fixed_inputs(run)
        for name in names:
            found[name, run.seed].add(run.inputs.get(name))
            found[name, None].add(run.inputs.get(name) if name in fixed else None)
    return sorted({name for (name, _), values in found.items() if len(values) > 1})


def _but_seed(record: RunRecord) -> dict[str, Any]:
    return {key: value for key, value in record.config.items() if key != "seed"}


def _apart(found: Mapping[tuple[int, str], RunRecord]) -> list[list[RunRecord]]:
    runs = [found[key] for key in sorted(found, key=lambda key: key[0])]
    if len({run.seed for run in runs}) == len(runs):
        return [runs]
    return [[run] for run in runs]
