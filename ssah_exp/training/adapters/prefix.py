"""Prefix tuning (Li and Liang 2021, arXiv 2101.00190)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ssah_exp.config.ranges import above, refuse
from ssah_exp.errors import ConfigError, ModelError, did_you_mean
from ssah_exp.interventions.plan import TrainingPlan
from ssah_exp.models.attached.peft_library import check_peft
from ssah_exp.models.attached.prefix import LearnedPrefix
from ssah_exp.models.attached.reading import beginning_of_text, own_words, vocabulary
from ssah_exp.training.adapters.adapter import InstalledAdapter
from ssah_exp.training.adapters.attached import InstalledAttached

OWN_WORDS, RANDOM = "own_words", "random"
STARTS = (OWN_WORDS, RANDOM)


@dataclass(frozen=True)
class Prefix:
    """Trains keys and values that stand before the first token in every block.

    Attributes:
        tokens: Positions the prefix takes.
        start: What it is before training: keys and values of what the model itself writes after
            its beginning-of-text token (``own_words``), those of tokens given as a list of
            ``tokens`` ids, or PEFT's random values of size 1 (``random``), which damage what the
            model says until they are trained.
    """

    tokens: int
    start: str | list[int] = OWN_WORDS

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_peft()
        refuse(above("Prefix.tokens", self.tokens, 0))
        if isinstance(self.start, str):
            if self.start not in STARTS:
                raise ConfigError(
                    f"Prefix.start={self.start} is neither a list of token ids nor a known start."
                    f"{did_you_mean(self.start, STARTS)}"
                )
        elif len(self.start) != self.tokens:
            raise ConfigError(
                f"Prefix.start lists {len(self.start)} tokens and Prefix.tokens is {self.tokens}."
            )

    def plan(self, model: nn.Module, plan: TrainingPlan) -> TrainingPlan:
        """No weight of the model changes.

        Raises:
            ModelError: The model names no beginning-of-text token, or lacks an id in ``start``.
        """
        if self.start == OWN_WORDS:
            beginning_of_text(model)
        elif isinstance(self.start, list):
            size = vocabulary(model)
            for item in self.start:
                if not 0 <= item < size:
                    raise ModelError(
                        f"Prefix.start names token {item}; the model's ids go from 0 to {size - 1}."
                    )
        return TrainingPlan.of(model)

    def install(self, model: nn.Module, plan: TrainingPlan) -> InstalledAdapter:
        """Attach an untrained prefix.

        Raises:
            ModelError: The model has an adapter already.
        """
        return InstalledAttached(model, self._untrained(model))

    def _untrained(self, model: nn.Module) -> LearnedPrefix:
        if self.start == RANDOM:
            return LearnedPrefix.new(model, self.tokens)
        ids = own_words(model, self.tokens) if isinstance(self.start, str) else self.start
        return LearnedPrefix.of_tokens(model, ids)
