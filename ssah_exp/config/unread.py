"""Options that nothing in a run would read; given by hand, they are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssah_exp.config.artefacts import PROBE, TABLE1, TRAINING_ARTEFACTS
from ssah_exp.config.command_line import key_of
from ssah_exp.config.facts import reads_given_pairs, styles_of
from ssah_exp.config.ranges import refuse
from ssah_exp.config.schema import RunConfig
from ssah_exp.config.vocabulary import CONTROLS, STYLES, UNALIGNED

# Controls that give each unit one of its nearest.
_NEAREST = set(CONTROLS) - {"random"}
# Keys of the evaluation that the probe does not read, since it has answers of its own.
_ANSWERS_ONLY = ("benign_style", "harmful_styles", "max_new_tokens", "perplexity")
_TRAINED_BY = f"experiments that train do, such as {', '.join(TRAINING_ARTEFACTS[:3])}"
# Groups -> where in the config their content lies, if not under their own name.
_LIES_AT = {"finetune": "data.finetune"}
_NOTHING = re.compile(r"[^=]*=\s*\{\s*\}\s*")


@dataclass(frozen=True)
class Unread:
    """A part of a config that decides nothing.

    Attributes:
        key: Dotted key; it stands for all below it.
        why: What leaves it unread, for an error message.
        switch: The key that would have it read: to give that as off once more is no mistake.
    """

    key: str
    why: str
    switch: str | None = None

    def covers(self, key: str) -> bool:
        """Whether ``key`` is this one or below it; with a switch, below it and not the switch."""
        inside = f"{key}.".startswith(f"{self.key}.")
        return inside and (self.switch is None or key not in (self.key, self.switch))


def unread_by_artefact(config: RunConfig) -> Iterator[Unread]:
    """What the artefact's pipeline does not read, so that no run id depends on it."""
    if not config.utility.tasks:
        yield Unread("utility", "utility.tasks names none", "utility.tasks")
    if config.mt_bench.judge is None:
        yield Unread("mt_bench", "there is no mt_bench.judge", "mt_bench.judge")
    if config.artefact == PROBE:
        yield from _probe_leaves()
        return
    yield Unread("probe", f"{config.artefact} probes nothing; experiment=probe does")
    if config.artefact == TABLE1:
        for key in ("data.finetune", "data.preferences", "training"):
            yield Unread(key, f"{TABLE1} trains no arms; {_TRAINED_BY}")
        return
    yield Unread("ablation", f"{config.artefact} prunes nothing; experiment={TABLE1} does")
    yield from _training_leaves(config)


def _probe_leaves() -> Iterator[Unread]:
    for key in ("ablation", "training", "units", "data.finetune", "data.preferences"):
        yield Unread(key, "the probe neither prunes nor trains, and scores no units")
    for key in _ANSWERS_ONLY:
        yield Unread(f"evaluation.{key}", "the probe looks at hidden states, not at answers")


def _training_leaves(config: RunConfig) -> Iterator[Unread]:
    training, given = config.training, reads_given_pairs(config)
    if training.track.every is None:
        yield Unread("training.track", "training.track.every is null", "training.track.every")
    pairs = "training.objective=dpo reads data.preferences"
    if training.start == UNALIGNED:
        yield Unread("alignment", "training.start=unaligned aligns nothing", "alignment.enabled")
        if training.data != "alignment" or given:
            yield Unread("data.alignment", pairs if given else f"training.data={training.data}")
    if training.data != "finetune" or given:
        yield Unread("data.finetune", pairs if given else f"training.data={training.data}")
    if training.objective != "dpo":
        yield Unread("data.preferences", f"training.objective={training.objective} reads no pairs")


def unread_options(config: RunConfig) -> Iterator[Unread]:
    """What another option leaves unread, though most of it enters the run id; and the atlas."""
    yield Unread("atlas", "no run reads it; 'ssah-exp units atlas RUN --set atlas=...' does")
    if not config.alignment.enabled:
        yield Unread("alignment", "alignment.enabled is false", "alignment.enabled")
        if not (config.artefact in TRAINING_ARTEFACTS and config.training.data == "alignment"):
            yield Unread("data.alignment", "alignment.enabled is false")
    if not any(style.endswith("_system") for style in styles_of(config)):
        with_prompt = " or ".join(style for style in STYLES if style.endswith("_system"))
        yield Unread("evaluation.system_prompt", f"no prompt has the style {with_prompt}")
    controls = config.ablation.controls
    if not (controls.of and controls.kinds):
        for key in ("draws", "match_pool"):
            yield Unread(f"ablation.controls.{key}", "ablation.controls asks for no controls")
    elif not _NEAREST.intersection(controls.kinds):
        yield Unread("ablation.controls.match_pool", "ablation.controls.kinds has only random")
    if config.ablation.fills_of and len(config.ablation.fills) == 1:
        yield Unread("ablation.fills_of", "ablation.fills has one, which every class gets")
    if config.artefact in TRAINING_ARTEFACTS:
        yield from _by_no_arm(config)


def _by_no_arm(config: RunConfig) -> Iterator[Unread]:
    training, arms = config.training, config.training.arms.values()
    kinds = {kind for arm in arms for kind in arm.controls}
    for key in ("epochs", "learning_rate"):
        if all(getattr(arm, key) is not None for arm in arms):
            yield Unread(f"training.{key}", f"every arm has {key} of its own")
    if training.objective != "dpo":
        yield Unread("training.dpo_beta", f"training.objective={training.objective} is not dpo")
    if all(arm.match_loss is None for arm in arms):
        yield Unread("training.check_every", "no arm has a match_loss")
    if not kinds:
        yield Unread("training.control_draws", "no arm has controls")
    if not _NEAREST & kinds:
        yield Unread("training.match_pool", "no arm has controls other than random ones")


def refuse_unread(jobs: Sequence[tuple[RunConfig, Sequence[str]]]) -> None:
    """Refuse overrides that no job reads; in a sweep, one may be meant for some jobs only.

    Args:
        jobs: Validated configs, each with the overrides it was composed from.

    Raises:
        ConfigError: Lists all such overrides, with what leaves each unread.
    """
    unread: dict[str, str] = {}
    read: set[str] = set()
    for config, overrides in jobs:
        leaves = [*unread_by_artefact(config), *unread_options(config)]
        if _finetune_leaves_out_alignment(config):  # ids have these sources in data.finetune
            leaves = [item for item in leaves if item.key != "data.alignment"]
        for word in overrides:
            why = next((item.why for item in leaves if item.covers(_key(word))), None)
            why = why or _merges_nothing(word, config)
            if why is None:
                read.add(_key(word))
            else:
                unread.setdefault(word, why)
    refuse(
        f"{word} would have no effect: {why}."
        for word, why in unread.items()
        if _key(word) not in read
    )


def _finetune_leaves_out_alignment(config: RunConfig) -> bool:
    """Whether arms train on what is left of a set without the requests of ``data.alignment``."""
    trains = config.artefact in TRAINING_ARTEFACTS and config.training.data == "finetune"
    read = trains and not reads_given_pairs(config)
    return read and _leaves_out(config.data.finetune, config.data.alignment)


def _leaves_out(node: Any, seen: Any) -> bool:
    """Whether one of these sources, or one that it is made of, leaves out what ``seen`` holds."""
    if isinstance(node, Mapping):
        return node.get("seen") == seen or any(_leaves_out(item, seen) for item in node.values())
    return isinstance(node, list) and any(_leaves_out(item, seen) for item in node)


def _merges_nothing(word: str, config: RunConfig) -> str | None:
    """Why ``KEY={}`` empties nothing (Hydra merges dictionaries); None for other overrides."""
    if _NOTHING.fullmatch(word) is None:
        return None
    found: Any = config
    for part in _key(word).split("."):
        found = found.get(part) if isinstance(found, Mapping) else getattr(found, part, None)
    if not isinstance(found, Mapping) or not found:
        return None
    entries = " ".join(f"'~{_key(word)}.{name}'" for name in found)
    return f"a dictionary is merged into what is there; {entries} would empty it"


def _key(word: str) -> str:
    """The key an override sets: ``evaluation.judges.x`` for ``+judge@evaluation.judges.x=...``."""
    key = key_of(word).rpartition("@")[2]
    return _LIES_AT.get(key, key)
