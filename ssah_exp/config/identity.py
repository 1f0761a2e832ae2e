"""The run id: a hash of what decides the result, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from ssah_exp.config.artefacts import TABLE1
from ssah_exp.config.facts import TRANSFORMERS
from ssah_exp.config.plugins import plugin_code
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.unread import unread_by_artefact
from ssah_exp.digest import digest_of

# To be increased when a change of code changes the results of an unchanged config.
RESULT_VERSION = 1

_NOT_SCIENCE = ("atlas", "paths", "trainer", "tracker")
_NOT_SCIENCE_NESTED = {
    "model": ("device", "device_map", "offload_folder", "attn_implementation"),
    "data": ("root",),
    "units": ("batch_size",),
    "evaluation": ("batch_size", "share_prefix", "vllm"),
    "utility": ("batch_size", "root"),
    "mt_bench": ("batch_size", "questions", "prompts", "references"),
}
_PATHS = ("path", "prompt_path")
# Arguments of judges and attacks: how one is reached and how fast, not what it says.
_SPEED = (
    "api_key_env",
    "attempts",
    "backoff",
    "batch_size",
    "concurrency",
    "device",
    "max_failures",
    "max_requests",
    "max_wait",
    "timeout",
)
# Keys that came later than runs: nothing is what there was before, and stands in no record.
LEFT_OUT_IF_NOTHING = (
    "ablation.sets",
    "evaluation.perplexity.bos",
    "model.chat_template",
    "training.callbacks",
    "units.scoring",
    "units.unweighted",
)
_SWITCHES = ("units.unweighted",)  # of these: off is what there was before
# Arguments that records leave out of any node that has a target.
NOT_SCIENCE_OF_NODES = (*_PATHS, *_SPEED)


def science(config: RunConfig) -> dict[str, Any]:
    """The part of a config that decides the result, as plain JSON values.

    Left out: where things lie, which machine runs them, batch sizes that only change speed, and
    what the artefact's pipeline does not read.
    """
    content = without_places(asdict(config))
    if not content["evaluation"]["attacks"]:  # ids stay as before there were any
        del content["evaluation"]["attacks"], content["evaluation"]["mean_with"]
    for key in LEFT_OUT_IF_NOTHING:
        _drop(content, key, if_nothing=True)
    if not config.alignment.enabled:
        content["alignment"] = {"enabled": False}
    for key in _unread(config):
        _drop(content, key)
    return content


def without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without what no record holds: where things lie, who runs them, and how fast.

    Args:
        config: Plain values of a whole config, or of a record's, which has not all of its groups.
    """
    content = {k: _without_paths(item) for k, item in config.items() if k not in _NOT_SCIENCE}
    for group, keys in _NOT_SCIENCE_NESTED.items():
        for key in keys:
            content.get(group, {}).pop(key, None)
    evaluation = content.get("evaluation", {})
    evaluation.get("perplexity", {}).pop("batch_size", None)
    attacks = [attack.get("method") for attack in evaluation.get("attacks", {}).values()]
    bench = content.get("mt_bench", {}).get("judge")
    for node in (*evaluation.get("judges", {}).values(), *attacks, bench):
        _drop_speed(node or {})
    return content


def _drop_speed(node: dict[str, Any]) -> None:
    """Drop how fast a judge or an attack, and what is nested in it, is reached."""
    for key in _SPEED:
        node.pop(key, None)
    for value in node.values():
        if isinstance(value, dict) and "_target_" in value:
            _drop_speed(value)


def _unread(config: RunConfig) -> Iterator[str]:
    """Dotted keys that decide nothing for this artefact: they do not enter its run id."""
    yield from (item.key for item in unread_by_artefact(config))
    if config.evaluation.engine == TRANSFORMERS:
        yield "evaluation.engine"  # ids stay as before there was a choice
    if config.artefact == TABLE1:
        for key in ("overlap", "exclude"):
            if not getattr(config.ablation.controls, key):
                yield f"ablation.controls.{key}"  # ids stay as before there was the option


def is_nothing(key: str, value: Any) -> bool:
    """Whether a key's value is what there was before it: null, an empty mapping, a switch off."""
    return value is None or value == {} or (value is False and key in _SWITCHES)


def _drop(content: dict[str, Any], dotted: str, *, if_nothing: bool = False) -> None:
    *parents, leaf = dotted.split(".")
    for name in parents:
        content = content[name]
    if not if_nothing or is_nothing(dotted, content[leaf]):
        del content[leaf]


def _without_paths(value: Any) -> Any:
    """Drop every node's path: the content of the file it names enters the run id instead.

    A path in a plug-in's node stays: nobody knows whether it names a file.
    """
    if isinstance(value, dict):
        ours = "_target_" in value and not plugin_code({"_target_": value["_target_"]})
        dropped = _PATHS if ours else ()  # an arm or a column may have such a name
        return {key: _without_paths(item) for key, item in value.items() if key not in dropped}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return value


def run_id(config: RunConfig, fingerprints: dict[str, str]) -> str:
    """Twelve hex digits of a hash over the science config and the content of its inputs.

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
