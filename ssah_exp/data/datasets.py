"""All data sets of a run, loaded, fingerprinted and checked for leaks."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssah_exp.config.build import build
from ssah_exp.config.schema import RunConfig, Target, UnitsConfig
from ssah_exp.config.validate_training import reads_given_pairs
from ssah_exp.data.preferences import Pair, PairSource, fingerprint_pairs
from ssah_exp.data.sources import (
    Example,
    ExampleSource,
    TextSource,
    fingerprint_examples,
    words_of,
)
from ssah_exp.digest import digest_of
from ssah_exp.errors import DataError

# Sets whose prompts no evaluation may hold.
_LEARNED = ("alignment", "safety_calibration", "utility_calibration")
_LEARNED_WHEN_TRAINING = ("finetune", "preferences")


@dataclass(frozen=True)
class RunData:
    """Everything a run reads.

    Attributes:
        alignment: Requests with the answers to train on; empty if the model comes aligned.
        safety_calibration: Harmful requests with refusals.
        utility_calibration: Benign requests with answers.
        harmful_eval: Held-out harmful requests.
        benign_eval: Held-out plain requests.
        borderline_eval: Held-out harmless requests worded like harmful ones.
        text: Held-out running text.
        finetune: What an aligned model is fine-tuned on; empty if the run does not train one.
        preferences: Pairs for DPO; empty if the run does not train, or makes its own.
    """

    alignment: tuple[Example, ...]
    safety_calibration: tuple[Example, ...]
    utility_calibration: tuple[Example, ...]
    harmful_eval: tuple[Example, ...]
    benign_eval: tuple[Example, ...]
    borderline_eval: tuple[Example, ...]
    text: str
    finetune: tuple[Example, ...] = ()
    preferences: tuple[Pair, ...] = ()

    @property
    def example_sets(self) -> dict[str, tuple[Example, ...]]:
        """Every set of examples by its config key; ``finetune`` only where it was loaded."""
        sets = {
            "alignment": self.alignment,
            "safety_calibration": self.safety_calibration,
            "utility_calibration": self.utility_calibration,
            "harmful_eval": self.harmful_eval,
            "benign_eval": self.benign_eval,
            "borderline_eval": self.borderline_eval,
        }
        return {**sets, "finetune": self.finetune} if self.finetune else sets

    @property
    def fingerprints(self) -> dict[str, str]:
        """sha256 of each set's content; ``finetune`` and ``preferences`` only where loaded."""
        prints = {name: fingerprint_examples(rows) for name, rows in self.example_sets.items()}
        if self.preferences:
            prints["preferences"] = fingerprint_pairs(self.preferences)
        return {**prints, "text": digest_of(self.text)}


def load_data(config: RunConfig, *, training: bool = False) -> RunData:
    """Load every set of a config.

    Args:
        config: A validated config.
        training: Load ``finetune`` and ``preferences``, too: for runs that train an aligned model.

    Raises:
        DataError: A set is missing, malformed or too small, or evaluation prompts leak.
    """
    data, seed = config.data, config.seed
    aligning = data.alignment if _reads_alignment(config, training) else []
    finetuning = training and _trains_on(config, "finetune")
    loaded = RunData(
        alignment=_joined(aligning, "data.alignment", seed),
        safety_calibration=_calibration(config, data.safety_calibration, "safety_calibration"),
        utility_calibration=_calibration(config, data.utility_calibration, "utility_calibration"),
        harmful_eval=tuple(_examples(data.harmful_eval, "data.harmful_eval", seed)),
        benign_eval=tuple(_examples(data.benign_eval, "data.benign_eval", seed)),
        borderline_eval=tuple(_examples(data.borderline_eval, "data.borderline_eval", seed)),
        text=build(data.text, "data.text", TextSource).load_text(),
        finetune=_joined(data.finetune, "data.finetune", seed) if finetuning else (),
        preferences=_pairs(data.preferences, seed) if training else (),
    )
    check_no_overlap({**loaded.example_sets, "preferences": loaded.preferences})
    return loaded


def _reads_alignment(config: RunConfig, training: bool) -> bool:
    if not training:
        return config.alignment.enabled
    aligned = config.alignment.enabled and config.training.start == "aligned"
    return aligned or _trains_on(config, "alignment")


def _trains_on(config: RunConfig, name: str) -> bool:
    """Pairs that are given take the place of either."""
    return config.training.data == name and not reads_given_pairs(config)


def _joined(sources: Sequence[Target], where: str, seed: int) -> tuple[Example, ...]:
    examples: list[Example] = []
    for index, source in enumerate(sources):
        examples += _examples(source, f"{where}.{index}", seed)
    return tuple(examples)


def _pairs(source: Target | None, seed: int) -> tuple[Pair, ...]:
    if source is None:
        return ()
    pairs = tuple(build(source, "data.preferences", PairSource).load(seed))
    if not all(isinstance(pair, Pair) for pair in pairs):
        raise DataError(
            f"data.preferences: {source['_target_']} gives examples, not pairs; "
            "ssah_exp.data.preferences.FilePairs reads a file of pairs."
        )
    return pairs


def _examples(source: Target, where: str, seed: int) -> list[Example]:
    return build(source, where, ExampleSource).load(seed)


def _calibration(config: RunConfig, source: Target, name: str) -> tuple[Example, ...]:
    """Draw ``units.samples`` examples by the run's seed."""
    return draw_calibration(source, f"data.{name}", config.units, config.seed)


def draw_calibration(
    source: Target, where: str, units: UnitsConfig, seed: int
) -> tuple[Example, ...]:
    """Draw a calibration set: ``units.samples`` of the source's examples, or, with a warning, all.

    Args:
        source: Node of the source.
        where: The config key, for error messages.
        units: How many, and how few are too few.
        seed: Decides which.

    Raises:
        DataError: There are fewer than ``units.min_samples``.
    """
    examples = _examples(source, where, seed)
    if len(examples) < units.min_samples:
        raise DataError(
            f"{where} holds {len(examples)} examples; units.min_samples="
            f"{units.min_samples} are needed for a usable statistic."
        )
    if len(examples) < units.samples:
        warnings.warn(
            f"{where} holds {len(examples)} examples and units.samples={units.samples} asks for "
            "more: every draw is all of them.",
            stacklevel=2,
        )
    count = min(units.samples, len(examples))
    return tuple(random.Random(seed).sample(examples, count))


def check_no_overlap(sets: Mapping[str, Sequence[Example | Pair]]) -> None:
    """Refuse evaluation prompts that are also trained or calibrated on.

    Prompts are compared by their words, without case, punctuation and white space.

    Args:
        sets: Every set by its config key; ``finetune`` and ``preferences`` may be missing.

    Raises:
        DataError: Lists the overlapping prompts.
    """
    problems: list[str] = []
    learned = {name: sets[name] for name in _LEARNED}
    learned.update({name: sets.get(name, ()) for name in _LEARNED_WHEN_TRAINING})
    for evaluation in ("harmful_eval", "benign_eval", "borderline_eval"):
        held_out = {words_of(item.prompt): item.prompt for item in sets[evaluation]}
        for other, rows in learned.items():
            shared = held_out.keys() & {words_of(item.prompt) for item in rows}
            problems += [f"  {evaluation} and {other}: {held_out[key]!r}" for key in sorted(shared)]
    if problems:
        raise DataError("Evaluation prompts overlap other sets:\n" + "\n".join(problems))
