"""From a record back to its run's config.

A record holds what decides the result and no paths. What it leaves out comes from the shipped
config and from overrides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ssah_exp.config.command_line import keys_given
from ssah_exp.config.compose import parse_plain
from ssah_exp.config.identity import (
    LEFT_OUT_IF_NOTHING,
    NOT_SCIENCE_OF_NODES,
    is_nothing,
    without_places,
)
from ssah_exp.config.ranges import refuse
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.shipped import compose_shipped
from ssah_exp.errors import ConfigError
from ssah_exp.models.sources import LocalFolder, LocalGguf
from ssah_exp.records.dotted import at
from ssah_exp.records.record import RunRecord

_ABSENT = object()
_NAMING_A_MODEL = ("model.name", "model.end_of_turn", "model.source")
_TRUST = "model.trust_remote_code"
_ANEW = "For another value, run it anew."
# The config group that knows `model.source.path`, by what the path leads to.
_GROUPS = {LocalFolder: "model=local", LocalGguf: "model=gguf"}


def config_of(record: RunRecord, overrides: Sequence[str]) -> RunConfig:
    """The whole config of a run; its science part is the record's.

    Args:
        record: The run's.
        overrides: Hydra overrides for what records leave out.

    Raises:
        ConfigError: An override is wrong or contradicts the record, a value is missing, or only
            the record says that the model's code is to be trusted, or who is sent a key.
    """
    recorded = without_places(_arms_in_order(record))
    composed = compose_shipped([*_group_of_model(recorded, overrides), *overrides])
    _refuse_other(recorded, composed, overrides)
    _refuse_later(recorded, composed)
    _refuse_trust(recorded, composed)
    refuse(_told_keys(recorded, composed))
    with what_to_give():
        return parse_plain(_filled(recorded, composed))


@contextmanager
def what_to_give() -> Iterator[None]:
    """Add to an error about a missing value why it is missing, and how to give it.

    For commands that open a finished run, and so take overrides by ``--set``.

    Raises:
        ConfigError: As raised inside; one about a missing value with that added.
    """
    try:
        yield
    except ConfigError as error:
        if " is missing" not in str(error):
            raise
        raise ConfigError(
            f"{error}\nA record holds no paths: give back what the run was started with, by "
            "--set KEY=VALUE, e.g. --set data.root=DIR."
        ) from error


def _arms_in_order(record: RunRecord) -> dict[str, Any]:
    """A record's config with its arms in the order of the run, not of the alphabet.

    The order counts: an arm may end at the loss of another one, which has to come before it.
    """
    training = record.config.get("training")
    if training is None:
        return record.config
    labels = list(dict.fromkeys(arm.arm for arm in record.arms if arm.arm is not None))
    arms = {label: training["arms"][label] for label in labels if label in training["arms"]}
    return {**record.config, "training": {**training, "arms": {**arms, **training["arms"]}}}


def _refuse_other(
    recorded: Mapping[str, Any], composed: Mapping[str, Any], overrides: Sequence[str]
) -> None:
    """Refuse overrides that would be dropped, since the record holds another value.

    Keys that name a model may be given whatever their value, since the model's config group may
    demand them; so may groups, since their names say where files lie.
    """
    for word in overrides:
        for key in keys_given(word):
            held, given = at(recorded, key, _ABSENT), at(composed, key)
            a_group = isinstance(held, Mapping) and isinstance(given, Mapping)
            names_a_model = any(f"{key}.".startswith(f"{name}.") for name in _NAMING_A_MODEL)
            there = held is not _ABSENT  # null is a value
            if there and not a_group and not names_a_model and _differs(held, given):
                raise ConfigError(
                    f"--set {word} would have no effect: the run has {key}={held}. {_ANEW}"
                )


def _refuse_later(recorded: Mapping[str, Any], composed: Mapping[str, Any]) -> None:
    """Refuse values, whichever word gives them, of keys that the record left out."""
    for key in LEFT_OUT_IF_NOTHING:
        held, given = at(recorded, key, None), at(composed, key, None)
        nodes = isinstance(held, Mapping) and isinstance(given, Mapping)  # a path is given back
        if not is_nothing(key, given) and given != held and not nodes:
            run = "has none" if held is None else "has another"
            raise ConfigError(f"A {key} is given by --set, and the run {run}. {_ANEW}")


def _refuse_trust(recorded: Mapping[str, Any], composed: Mapping[str, Any]) -> None:
    """Refuse to run a model's code because a record says so: records come from other people."""
    if at(recorded, _TRUST, False) and not at(composed, _TRUST):
        raise ConfigError(
            f"The run trusted its model's code; to run that code again: --set {_TRUST}=true"
        )


def _told_keys(recorded: Any, composed: Any, where: str = "") -> Iterator[str]:
    """Complain about endpoints of the record alone that would be sent the composed config's keys.

    Args:
        recorded: The record's values.
        composed: Those in their place.
        where: Their dotted key.
    """
    if isinstance(recorded, list) and isinstance(composed, list):
        both = ({str(at): item for at, item in enumerate(items)} for items in (recorded, composed))
        recorded, composed = both
    if not (isinstance(recorded, Mapping) and isinstance(composed, Mapping)):
        return
    key, host = composed.get("api_key_env"), recorded.get("base_url")
    if key is not None and host is not None and host != composed.get("base_url"):
        sign = "" if "base_url" in composed else "+"
        yield (
            f"{where}.base_url={host} is in the record alone and would be sent the key in {key}; "
            f"if it may have it: --set {sign}{where}.base_url={host}"
        )
    for name in recorded.keys() & composed.keys():
        yield from _told_keys(recorded[name], composed[name], f"{where}.{name}" if where else name)


def _differs(held: Any, given: Any) -> bool:
    """Whether a value contradicts the recorded one; keys that only one of them has do not count."""
    if isinstance(held, Mapping) and isinstance(given, Mapping):
        return any(_differs(held[key], given[key]) for key in held.keys() & given.keys())
    if isinstance(held, list) and isinstance(given, list):
        pairs = zip(held, given, strict=False)
        return len(held) != len(given) or any(_differs(*pair) for pair in pairs)
    return bool(held != given)


def _group_of_model(recorded: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """The override for the config group that knows `model.source.path`, if only that key is given.

    Of a model that is a folder or a file, a record leaves out nothing else.
    """
    named = any(item.startswith("model=") for item in overrides)
    given = any(item.startswith("model.source.path=") for item in overrides)
    target = recorded["model"]["source"]["_target_"]
    groups = {f"{kind.__module__}.{kind.__qualname__}": name for kind, name in _GROUPS.items()}
    return [groups[target]] if given and target in groups and not named else []


def _filled(recorded: Any, composed: Any, depth: int = 0) -> Any:
    """The recorded values, with what records leave out taken from ``composed``.

    Records leave out whole groups, keys of groups, every path, and how a judge is reached. What
    lies deeper is complete (a judge that is not recorded was not used) or has its default in the
    schema.
    """
    if isinstance(recorded, list) and isinstance(composed, list):
        padded = [*composed, *[None] * len(recorded)]
        return [_filled(*pair, depth + 1) for pair in zip(recorded, padded, strict=False)]
    if not isinstance(recorded, Mapping):
        return recorded
    other = composed if isinstance(composed, Mapping) else {}
    filled = {key: _filled(value, other.get(key), depth + 1) for key, value in recorded.items()}
    node = NOT_SCIENCE_OF_NODES if "_target_" in recorded else ()
    left_out = tuple(other) if depth < 2 else node
    return {**filled, **{key: other[key] for key in left_out if key in other and key not in filled}}
