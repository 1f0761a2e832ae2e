"""What a record's config must hold, since tables, figures, comparisons and claims read it.

Of each artefact these are keys that runs of every version wrote; what came later, or what a config
may leave out, is asked for where it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ssah_exp.config.artefacts import PROBE, TABLE1, TRAINING_ARTEFACTS

_Path = tuple[str, ...]  # of a key, from the config's root

_EVERY = ("data.name", "evaluation.confidence", "evaluation.primary_judge", "model.name")
_PROBED = (
    "benign",
    "continuation",
    "distances",
    "folds",
    "malicious",
    "shuffles",
    "smoothing",
    "steps",
    "style",
)
# Of runs that ask arms questions: all but the probe.
_ASKED = (
    "data.harmful_eval",
    "data.safety_calibration",
    "data.text",
    "evaluation.benign_style",
    "evaluation.bootstrap_resamples",
    "evaluation.harmful_styles",
    "evaluation.judges",
    "evaluation.max_new_tokens",
    "evaluation.perplexity.max_tokens",
    "evaluation.perplexity.window",
    "units.budgets.ru",
    "units.budgets.scu",
    "units.budgets.ucu",
    "units.budgets.unit",
    "units.statistic",
)
_PRUNED = ("ablation.controls.draws", "ablation.primary_fill")
_TRAINED = (
    "arms",
    "batch_size",
    "check_every",
    "control_draws",
    "data",
    "epochs",
    "learning_rate",
    "objective",
    "start",
)


def lacking(content: Mapping[str, Any]) -> Iterator[str]:
    """Dotted keys of the config that a record needs and does not have.

    Args:
        content: A record's JSON, of the kinds that :class:`~ssah_exp.records.record.RunRecord` has.

    Raises:
        KeyError: There is no config or artefact.
    """
    config = content["config"]
    for path in (*_of(content["artefact"]), *_named_below(config)):
        if not _has(config, path):
            yield ".".join(path)


def _of(artefact: str) -> Iterator[_Path]:
    """What configs of an artefact have; one that is not known here asked questions, as most do."""
    keys = list(_EVERY)
    if artefact == PROBE:
        keys += [f"probe.{key}" for key in _PROBED]
    else:
        keys += _ASKED
    if artefact == TABLE1:
        keys += _PRUNED
    if artefact in TRAINING_ARTEFACTS:
        keys += [f"training.{key}" for key in _TRAINED]
    yield from (tuple(key.split(".")) for key in keys)


def _named_below(config: Mapping[str, Any]) -> Iterator[_Path]:
    """What parts hold that a config need not have: harness tasks, attacks, trained arms."""
    evaluation = config.get("evaluation", {})
    if config.get("utility") is not None:
        yield from (("utility", key) for key in ("tasks", "metric"))
    names = list(evaluation.get("attacks", {}))
    if (joined := evaluation.get("mean_with")) is not None:
        names.append(joined)
    yield from (("evaluation", "attacks", name, "styles") for name in names)
    for arm in config.get("training", {}).get("arms", {}):
        yield from (("training", "arms", arm, key) for key in ("policy", "adapter"))


def _has(content: Any, path: _Path) -> bool:
    for part in path:
        if not isinstance(content, Mapping) or part not in content:
            return False
        content = content[part]
    return True
