"""All data sets of a run, loaded, fingerprinted and checked for leaks."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ssah_exp.cache import digest_of
from ssah_exp.config.build import build
from ssah_exp.config.schema import RunConfig, Target
from ssah_exp.data.sources import Example, fingerprint_examples
from ssah_exp.errors import DataError


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
    """

    alignment: tuple[Example, ...]
    safety_calibration: tuple[Example, ...]
    utility_calibration: tuple[Example, ...]
    harmful_eval: tuple[Example, ...]
    benign_eval: tuple[Example, ...]
    borderline_eval: tuple[Example, ...]
    text: str

    @property
    def example_sets(self) -> dict[str, tuple[Example, ...]]:
        """Every set of examples by its config key."""
        return {
            "alignment": self.alignment,
            "safety_calibration": self.safety_calibration,
            "utility_calibration": self.utility_calibration,
            "harmful_eval": self.harmful_eval,
            "benign_eval": self.benign_eval,
            "borderline_eval": self.borderline_eval,
        }

    @property
    def fingerprints(self) -> dict[str, str]:
        """sha256 of each set's content."""
        prints = {name: fingerprint_examples(rows) for name, rows in self.example_sets.items()}
        return {**prints, "text": digest_of(self.text)}


def load_data(config: RunConfig) -> RunData:
    """Load every set of a config.

    Raises:
        DataError: A set is missing, malformed or too small, or evaluation prompts leak.
    """
    data, seed = config.data, config.seed
    alignment: list[Example] = []
    if config.alignment.enabled:
        for index, source in enumerate(data.alignment):
            alignment += _examples(source, f"data.alignment.{index}", seed)
    loaded = RunData(
        alignment=tuple(alignment),
        safety_calibration=_calibration(config, data.safety_calibration, "safety_calibration"),
        utility_calibration=_calibration(config, data.utility_calibration, "utility_calibration"),
        harmful_eval=tuple(_examples(data.harmful_eval, "data.harmful_eval", seed)),
        benign_eval=tuple(_examples(data.benign_eval, "data.benign_eval", seed)),
        borderline_eval=tuple(_examples(data.borderline_eval, "data.borderline_eval", seed)),
        text=str(build(data.text, "data.text").load_text()),
    )
    check_no_overlap(loaded.example_sets)
    return loaded


def _examples(source: Target, where: str, seed: int) -> list[Example]:
    examples: list[Example] = build(source, where).load(seed)
    return examples


def _calibration(config: RunConfig, source: Target, name: str) -> tuple[Example, ...]:
    """Draw ``units.samples`` examples by the run's seed."""
    examples = _examples(source, f"data.{name}", config.seed)
    if len(examples) < config.units.min_samples:
        raise DataError(
            f"data.{name} holds {len(examples)} examples; units.min_samples="
            f"{config.units.min_samples} are needed for a usable statistic."
        )
    count = min(config.units.samples, len(examples))
    return tuple(random.Random(config.seed).sample(examples, count))


def check_no_overlap(sets: Mapping[str, Sequence[Example]]) -> None:
    """Refuse evaluation prompts that are also trained or calibrated on.

    Prompts are compared by their words, without case, punctuation and white space.

    Raises:
        DataError: Lists the overlapping prompts.
    """
    problems: list[str] = []
    for evaluation in ("harmful_eval", "benign_eval", "borderline_eval"):
        held_out = {_normalise(item.prompt): item.prompt for item in sets[evaluation]}
        for other in ("alignment", "safety_calibration", "utility_calibration"):
            shared = held_out.keys() & {_normalise(item.prompt) for item in sets[other]}
            problems += [f"  {evaluation} and {other}: {held_out[key]!r}" for key in sorted(shared)]
    if problems:
        raise DataError("Evaluation prompts overlap other sets:\n" + "\n".join(problems))


def _normalise(prompt: str) -> str:
    return " ".join(re.findall(r"\w+", prompt.casefold()))
