"""What every arm of a run learns from: examples, pairs, and the sample that losses are over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property

from ssah_exp.config.schema import TrainingConfig
from ssah_exp.data.chat import Encoded, encode_pairs, style_in_turn
from ssah_exp.data.preferences import (
    EncodedPair,
    Pair,
    encode_preferences,
    pairs_from_answers,
)
from ssah_exp.data.sources import Example
from ssah_exp.digest import digest_of
from ssah_exp.models.sources import ModelRef
from ssah_exp.pipeline.own_answers import own_answers
from ssah_exp.pipeline.stages import Stages
from ssah_exp.training.matching import loss_sample
from ssah_exp.training.preference import ReferencedPair, with_reference


class TrainingSet:
    """The examples of ``training.data``, or those of given pairs.

    Args:
        stages: What all stages share.
        start: The model that every arm starts from, and DPO's reference.
        base: The unaligned model, whose answers DPO rejects.

    Attributes:
        examples: Prompts with answers, each in one prompt style, the styles in turn.
        pairs: Of DPO, answers preferred and rejected; empty for SFT.
        sample: Examples that training losses are measured over, evenly spread over each prompt
            style; the same for every arm.
    """

    def __init__(self, stages: Stages, start: ModelRef, base: ModelRef) -> None:
        self._stages = stages
        self._start = start
        self._config: TrainingConfig = stages.config.training
        source = self._source()
        self.examples = self._encode(source)
        self.pairs = self._preferences(source, base) if self._config.objective == "dpo" else []
        self.sample = self._sample()

    def digests(self) -> dict[str, str]:
        """What of it decides a training's result, by name."""
        return {
            "examples": digest_of_encoded(self.examples),
            "pairs": digest_of([asdict(pair) for pair in self.pairs]),
        }

    @cached_property
    def encoded_pairs(self) -> list[EncodedPair]:
        """The pairs of DPO that are trained on; empty for SFT.

        Raises:
            DataError: There are no pairs, or no two answers differ within the longest sequence.
        """
        config = self._config
        if config.objective == "sft":
            return []
        return encode_preferences(
            self._stages.speech,
            self.pairs,
            config.prompt_styles,
            self._stages.config.evaluation.system_prompt,
            config.max_length,
            where=self._where,
        )

    @property
    def count(self) -> int:
        """How many examples or pairs an epoch has."""
        return len(self.examples if self._config.objective == "sft" else self.encoded_pairs)

    @cached_property
    def referenced(self) -> list[ReferencedPair]:
        """The pairs with their answers' log-probabilities under ``start``; empty for SFT."""
        if not self.encoded_pairs:
            return []
        start = self._stages.slot.get(self._start)
        return with_reference(start, self.encoded_pairs, self._config.batch_size)

    def _source(self) -> tuple[Example, ...]:
        """The examples to learn; where pairs are given, their chosen answers."""
        data = self._stages.data
        if data.preferences:
            return tuple(
                Example(pair.prompt, pair.chosen, system=pair.system) for pair in data.preferences
            )
        return data.alignment if self._config.data == "alignment" else data.finetune

    def _encode(self, examples: tuple[Example, ...]) -> list[Encoded]:
        return encode_pairs(
            self._stages.speech,
            examples,
            self._config.prompt_styles,
            self._stages.config.evaluation.system_prompt,
            self._config.max_length,
            where=self._where,
        )

    @property
    def _where(self) -> str:
        """The config key that holds them: given pairs, or requests, whose answers make pairs."""
        given = self._stages.data.preferences
        return "data.preferences" if given else f"data.{self._config.data}"

    def _preferences(self, source: tuple[Example, ...], base: ModelRef) -> list[Pair]:
        """Given pairs, or the training answers against the unaligned model's own.

        That model answers each request in the style it is trained in: what a model says to a
        request as plain text is not what it says to it as chat.

        Raises:
            DataError: A request has no response, or all answers equal the responses.
        """
        stages, styles = self._stages, self._config.prompt_styles
        if stages.data.preferences:
            return list(stages.data.preferences)
        used = [style_in_turn(styles, index) for index in range(len(source))]
        answers = own_answers(stages, base, source, used, "preference", "answers to reject")
        return pairs_from_answers(source, answers)

    def _sample(self) -> list[Encoded]:
        count = min(self._config.loss_examples, len(self.examples))
        return loss_sample(self.examples, count, len(self._config.prompt_styles))


def digest_of_encoded(examples: Sequence[Encoded]) -> str:
    """Hash of token ids and where each answer begins."""
    return digest_of([[list(item.input_ids), item.response_start] for item in examples])
