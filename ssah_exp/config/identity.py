"""The run id: a hash of what decides the result, and of nothing else."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ssah_exp.cache import digest_of
from ssah_exp.config.schema import RunConfig

# Raised when a change of code changes results that a record of the same config would hold.
RESULT_VERSION = 1

_NOT_SCIENCE = ("paths", "trainer", "tracker")
_NOT_SCIENCE_NESTED = {
    "model": ("device", "device_map", "attn_implementation"),
    "data": ("root",),
    "units": ("batch_size",),
    "evaluation": ("batch_size", "share_prefix"),
}


def science(config: RunConfig) -> dict[str, Any]:
    """The part of a config that decides the result, as plain JSON values.

    Left out: where things lie, which machine runs them, batch sizes that only change speed.
    """
    content = {key: value for key, value in asdict(config).items() if key not in _NOT_SCIENCE}
    for group, keys in _NOT_SCIENCE_NESTED.items():
        content[group] = {key: val for key, val in content[group].items() if key not in keys}
    content["evaluation"]["perplexity"].pop("batch_size")
    if not config.alignment.enabled:
        content["alignment"] = {"enabled": False}
    result = _without_paths(content)
    assert isinstance(result, dict)
    return result


def _without_paths(value: Any) -> Any:
    """Drop every ``path``: the content of the file it names enters the run id instead."""
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items() if key != "path"}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return value


def run_id(config: RunConfig, fingerprints: dict[str, str]) -> str:
    """Twelve hex digits over the science config and the content of its inputs.

    Args:
        config: A validated config.
        fingerprints: Content hashes of the model and of every data set, by name.
    """
    material = {
        "result_version": RESULT_VERSION,
        "config": science(config),
        "inputs": fingerprints,
    }
    return digest_of(material)[:12]
