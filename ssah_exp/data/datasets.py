"""All data sets of a run, loaded, fingerprinted and checked for leaks."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ssah_exp import ranks
from ssah_exp.config.build import build
from ssah_exp.config.facts import reads_given_pairs
from ssah_exp.config.schema import RunConfig, Target, UnitsConfig
from ssah_exp.config.vocabulary import ALIGNED
from ssah_exp.data.preferences import Pair, PairSource, fingerprint_pairs
from ssah_exp.data.selection import counting_blanks
from ssah_exp.data.sources import (
    Example,
    ExampleSource,
    TextSource,
    comparable,
    fingerprint_examples,
)
from ssah_exp.digest import digest_of
from ssah_exp.errors import DataError, SsahWarning

# Sets whose prompts no evaluation may hold.
_LEARNED = ("alignment", "safety_calibration", "utility_calibration")
# Sets of requests that every arm is asked.
EVALUATED = ("harmful_eval", "benign_eval", "borderline_eval")
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
        blank: By evaluation set and file: how many blank rows were left out.
    """

    alignment: tuple[Example, ...]
    safety_calibration: tuple[Example, ...]
    utility_calibration: tuple[Example, ...]
    harmful_eval: tuple[Example, ...]
    benign_eval: tuple[Example, ...]
    borderline_eval: tuple[Example, ...]
    text: str
    finetune: tuple[Example, ...]
    preferences: tuple[Pair, ...]
    blank: dict[str, dict[str, int]]

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

    @cached_property
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
    alignment = _joined(aligning, "data.alignment", seed)
    safety = _calibration(config, data.safety_calibration, "safety_calibration")
    utility = _calibration(config, data.utility_calibration, "utility_calibration")
    asked, blank = _asked(config)
    loaded = RunData(
        alignment=alignment,
        safety_calibration=safety,
        utility_calibration=utility,
        harmful_eval=asked["harmful_eval"],
        benign_eval=asked["benign_eval"],
        borderline_eval=asked["borderline_eval"],
        text=build(data.text, "data.text", TextSource).load_text(),
        finetune=_joined(data.finetune, "data.finetune", seed) if finetuning else (),
        preferences=_pairs(data.preferences, seed) if training else (),
        blank=blank,
    )
    check_no_overlap({**loaded.example_sets, "preferences": loaded.preferences})
    return loaded


def _asked(
    config: RunConfig,
) -> tuple[dict[str, tuple[Example, ...]], dict[str, dict[str, int]]]:
    """Sets of requests that every arm is asked, and the blank rows that were left out of each."""
    rows: dict[str, tuple[Example, ...]] = {}
    blank: dict[str, dict[str, int]] = {}
    for name in EVALUATED:
        with counting_blanks() as blank[name]:
            rows[name] = tuple(_examples(getattr(config.data, name), f"data.{name}", config.seed))
        _check_asked(rows[name], f"data.{name}")
    return rows, blank


def _check_asked(examples: Sequence[Example], where: str) -> None:
    """Refuse blank requests: sources leave out blank rows, but an empty prompt asks every row so.

    Raises:
        DataError: A request is blank.
    """
    if blank := sum(not example.prompt.strip() for example in examples):
        raise DataError(
            f"{where}: {blank} of {len(examples)} requests are blank; name the column of requests "
            'in its source: prompt: "{COLUMN}".'
        )


def repeated(examples: Sequence[Example]) -> int:
    """How many repeat another's request in the same words, under the same system message."""
    asked = {(comparable(item.prompt), item.system) for item in examples}
    return len(examples) - len(asked)


def _reads_alignment(config: RunConfig, training: bool) -> bool:
    if not training:
        return config.alignment.enabled
    aligned = config.alignment.enabled and config.training.start == ALIGNED
    return aligned or _trains_on(config, "alignment")


def _trains_on(config: RunConfig, name: str) -> bool:
    """Whether training reads the set ``name``: given preference pairs take its place."""
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
    examples = list(build(source, where, ExampleSource).load(seed))
    if not all(isinstance(example, Example) for example in examples):
        raise DataError(f"{where}: {source['_target_']} gives something else than examples.")
    return examples


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
    if len(examples) < units.samples and ranks.first():
        warnings.warn(
            f"{where} holds {len(examples)} examples and units.samples={units.samples} asks for "
            "more: every draw is all of them.",
            SsahWarning,
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
    for evaluation in EVALUATED:
        held_out = {comparable(item.prompt): item.prompt for item in sets[evaluation]}
        for other, rows in learned.items():
            shared = held_out.keys() & {comparable(item.prompt) for item in rows}
            problems += [f"  {evaluation} and {other}: {held_out[key]!r}" for key in sorted(shared)]
    if problems:
        raise DataError(
            "Evaluation prompts are also trained or calibrated on. Take them out of one of the two "
            "sets, e.g. with ssah_exp.data.mixtures.Unseen:\n" + "\n".join(problems)
        )
