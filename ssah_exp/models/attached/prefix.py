"""A learned prefix (Li and Liang 2021, arXiv 2101.00190): keys and values before all tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ssah_exp.errors import ConfigError, ModelError
from ssah_exp.models.anatomy import blocks, read_anatomy
from ssah_exp.models.attached.base import Attached, attached_to, check_values
from ssah_exp.models.attached.peft_library import peft_library
from ssah_exp.models.attached.reading import keys_and_values
from ssah_exp.models.caching import cache_argument
from ssah_exp.models.sizes import Anatomy

_VALUES = "prompt_embeddings"


class LearnedPrefix(Attached):
    """Puts learned keys and values into the cache of every pass that starts with an empty one.

    The prefix takes the first positions: tokens are numbered from its end on, and every token sees
    it. A cache handed back to the model holds it already. Beyond a sliding window it drops out of
    sight as tokens do; a batch with padding between prefix and tokens is then refused.

    Args:
        model: A causal language model.
        values: ``(tokens, layers * 2 * key-value heads * head_dim)``, per token the key and the
            value of each block in turn.
        config: PEFT's description.
    """

    def __init__(self, model: nn.Module, values: torch.Tensor, config: Mapping[str, Any]) -> None:
        anatomy = read_anatomy(model)
        self._shape = (anatomy.layers * 2, anatomy.kv_heads, anatomy.head_dim)
        decoder = model.get_decoder()  # type: ignore[operator]
        embeddings = model.get_input_embeddings().weight  # type: ignore[operator]
        super().__init__(model, {_VALUES: values}, {_VALUES: embeddings}, config)
        self._hooks.append(decoder.register_forward_pre_hook(self._before, with_kwargs=True))

    @classmethod
    def of_tokens(cls, model: nn.Module, ids: Sequence[int]) -> LearnedPrefix:
        """A prefix with the keys and values of given tokens, as if they stood before all others.

        Li and Liang (section 7.2) start from activations of real words, too. PEFT from 0.19 on has
        the same for a model that it wrapped (``initialize_kv_prefix_from_past_key_values``).

        Args:
            model: A causal language model.
            ids: Token ids, from the first position on.

        Raises:
            ConfigError: PEFT is not installed.
            ModelError: The model has an adapter already, whose work would be in the values.
        """
        if attached_to(model) is not None:
            raise ModelError("The model has an adapter already; it can carry one at a time.")
        description = _described(model, len(ids)).to_dict()
        return cls(model, keys_and_values(model, ids), description)

    @classmethod
    def new(cls, model: nn.Module, tokens: int) -> LearnedPrefix:
        """An untrained prefix of ``tokens`` positions, with PEFT's random start.

        Its values, of size 1, are far from what a trained model has there: the model's answers are
        damaged until the prefix is trained.

        Raises:
            ConfigError: PEFT is not installed.
        """
        config = _described(model, tokens)
        return cls(model, peft_library().PrefixEncoder(config).embedding.weight, config.to_dict())

    @classmethod
    def saved(
        cls, model: nn.Module, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]
    ) -> LearnedPrefix:
        """A prefix as it was saved.

        Raises:
            ModelError: It is of another model.
        """
        width = _width(read_anatomy(model))
        check_values(tensors, {_VALUES: (int(config["num_virtual_tokens"]), width)})
        return cls(model, tensors[_VALUES], config)

    @property
    def tokens(self) -> int:
        """Positions the prefix takes."""
        return self.parameters[_VALUES].shape[0]

    def _before(
        self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Forward pre-hook of the decoder, for a pass with or without a cache."""
        from transformers import DynamicCache

        if decoder.training and getattr(blocks(self._model)[0], "gradient_checkpointing", False):
            raise ConfigError(  # transformers would drop the cache, and with it the prefix
                "Prefix tuning does not go with gradient checkpointing: switch "
                "training.gradient_checkpointing off."
            )
        mask = kwargs.get("attention_mask")
        if mask is not None:
            mask = torch.cat([mask.new_ones(len(mask), self.tokens), mask], dim=1)
            self._check_window(mask)
        name = cache_argument(decoder)
        # A caller may still use the older name; given both, transformers takes the newer one.
        given = kwargs.pop("past_key_values", None)
        cache = kwargs.get(name) if given is None else given
        if cache is None:
            cache = DynamicCache(config=self._model.config)  # type: ignore[arg-type]
        if cache.get_seq_length() == 0:
            ids = kwargs.get("input_ids")
            self._fill(cache, rows=len(kwargs["inputs_embeds"] if ids is None else ids))
        changed = {"attention_mask": mask, name: cache}
        # If absent, they follow from the cache; early transformers 5 passes the second as well.
        for positions in ("position_ids", "cache_position"):
            if kwargs.get(positions) is not None:
                changed[positions] = kwargs[positions] + self.tokens
        return args, {**kwargs, **changed}

    def _fill(self, cache: Any, rows: int) -> None:
        self.place()
        model: Any = self._model
        values = self.parameters[_VALUES].to(model.dtype).view(self.tokens, *self._shape)
        # (tokens, 2 * layers, heads, dim) -> (2 * layers, B, heads, tokens, dim)
        values = values.permute(1, 2, 0, 3).unsqueeze(1).expand(-1, rows, -1, -1, -1)
        for layer, block in enumerate(blocks(model)):
            device = next(block.parameters()).device
            cache.update(values[2 * layer].to(device), values[2 * layer + 1].to(device), layer)

    def _check_window(self, mask: torch.Tensor) -> None:
        """Padding after the prefix takes up window: rows would see more or less of the prefix."""
        window = getattr(self._model.config, "sliding_window", None)
        if window and mask.shape[1] > window and bool((mask.diff(dim=1) > 0).any()):
            raise ModelError(
                f"{mask.shape[1]} positions with a learned prefix and padding after it exceed the "
                f"sliding window of {window}: use batches of one (evaluation.batch_size=1; what "
                "was trained is kept), or shorter sequences."
            )


def _described(model: nn.Module, tokens: int) -> Any:
    """PEFT's config of a prefix for ``model``."""
    anatomy = read_anatomy(model)
    return peft_library().PrefixTuningConfig(
        task_type="CAUSAL_LM",
        inference_mode=False,
        num_virtual_tokens=tokens,
        num_layers=anatomy.layers,
        num_attention_heads=anatomy.kv_heads,
        token_dim=anatomy.kv_heads * anatomy.head_dim,
        num_transformer_submodules=1,
    )


def _width(anatomy: Anatomy) -> int:
    return anatomy.layers * 2 * anatomy.kv_heads * anatomy.head_dim


def has_prefix(model: nn.Module) -> bool:
    """Whether a model carries a learned prefix."""
    return isinstance(attached_to(model), LearnedPrefix)
