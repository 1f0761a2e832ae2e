"""Tiny random models of every family, a tiny tokenizer, and short conversations for them.

No size equals another where a mix-up could hide: 3 blocks, width 40, 4 heads, 56 neurons. Adding a
family to ``ssah_exp.models.anatomy.FAMILIES`` is adding a line to ``FAMILIES`` here: every test
that takes the ``family`` fixture then runs on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from ssah_exp.data.chat import Encoded
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sizes import Anatomy
from ssah_exp.models.tokenizer import Speech, check_tokenizer

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>", "<|user|>", "<|system|>", "<|assistant|>", "<|end|>")
WORDS = 56
VOCABULARY = len(SPECIALS) + WORDS
LAYERS, HIDDEN, HEADS, NEURONS = 3, 40, 4, 56

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|> {{ m.content }} <|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|> {% endif %}"
)

_SHARED: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "intermediate_size": NEURONS,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _spec(name: str, kv_heads: int, **fixed: Any) -> Callable[..., PreTrainedConfig]:
    def build(**changes: Any) -> PreTrainedConfig:
        config_class = getattr(transformers, f"{name}Config")
        sizes = {**_SHARED, "num_key_value_heads": kv_heads, **fixed, **changes}
        config: PreTrainedConfig = config_class(**sizes)
        return config

    return build


# Name -> config. Head sizes are 10 = width / heads unless given.
FAMILIES: dict[str, Callable[..., PreTrainedConfig]] = {
    "llama": _spec("Llama", 4),
    "llama_gqa": _spec("Llama", 2),
    "llama_wide_heads": _spec("Llama", 2, head_dim=16),
    "llama_tied": _spec("Llama", 4, tie_word_embeddings=True),
    "mistral": _spec("Mistral", 2, sliding_window=None),
    "qwen2": _spec("Qwen2", 2),
    "qwen3": _spec("Qwen3", 2, head_dim=16),
    "gemma": _spec("Gemma", 1, head_dim=16),
    "gemma2": _spec(
        "Gemma2",
        2,
        head_dim=16,
        query_pre_attn_scalar=16,
        attn_logit_softcapping=3.0,
        final_logit_softcapping=2.0,
    ),
    "gemma3": _spec(
        "Gemma3Text",
        1,
        head_dim=16,
        query_pre_attn_scalar=16,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "phi3": _spec("Phi3", 2),
}


def tiny_model(
    family: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any
) -> PreTrainedModel:
    """A random model; ``changes`` go into its config.

    Norms and biases are random too, and matrices keep the size of what passes through, so that no
    part of the model is trivially zero, one or linear.
    """
    # Only the eager kernel caps attention scores.
    kernel = "eager" if family == "gemma2" else "sdpa"
    model = transformers.AutoModelForCausalLM.from_config(
        FAMILIES[family](**changes), dtype=dtype, attn_implementation=kernel
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.dim() == 1:
                value = 0.3 * noise if name.endswith("bias") else 1 + 0.2 * noise
            elif "embed_tokens" in name or "lm_head" in name:
                # Gemma multiplies embeddings by the root of the width.
                value = (0.15 if family.startswith("gemma") else 0.5) * noise
            else:
                value = 1.5 * noise / parameter.shape[1] ** 0.5
            parameter.copy_(value)
    model.eval()
    return model


def tiny_tokenizer(**changes: Any) -> PreTrainedTokenizerFast:
    """One token per word ``w0``, ``w1``, ...; ids 0 to 7 are special."""
    words = [*SPECIALS, *(f"w{number}" for number in range(WORDS))]
    backend = Tokenizer(
        models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>")
    )
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        **{
            "tokenizer_object": backend,
            "pad_token": "<pad>",
            "bos_token": "<s>",
            "eos_token": "</s>",
            "unk_token": "<unk>",
            "extra_special_tokens": ["<|user|>", "<|system|>", "<|assistant|>", "<|end|>"],
            **changes,
        }
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def tiny_speech() -> Speech:
    """The tiny tokenizer, checked as a real one is."""
    return check_tokenizer(tiny_tokenizer(), "<|end|>", None)


def other_speech() -> Speech:
    """The same with another chat template."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE.replace("<|{{ m.role }}|>", "<|{{ m.role }}|> w1")
    return check_tokenizer(tokenizer, "<|end|>", None)


def tiny_loaded(family: str = "llama_gqa", **changes: Any) -> LoadedModel:
    """Model and tokenizer together; arguments as for :func:`tiny_model`."""
    return LoadedModel(tiny_model(family, **changes), tiny_speech())


def never_stopping(loaded: LoadedModel, *stop_ids: int) -> LoadedModel:
    """The same model, whose generation ends at ``stop_ids`` only (by default never)."""
    stop_ids = stop_ids or (VOCABULARY,)
    return LoadedModel(loaded.model, replace(loaded.speech, stop_ids=stop_ids))


def random_words(count: int, seed: int) -> list[int]:
    """Ids of ordinary words."""
    draw = np.random.default_rng(seed)
    return draw.integers(len(SPECIALS), VOCABULARY, size=count).tolist()


def conversations(count: int = 7, seed: int = 0) -> list[Encoded]:
    """Conversations of 4 to 20 random words whose responses start anywhere but at 0."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(4, 21, size=count)
    starts = draw.integers(1, lengths - 2)
    return [
        Encoded(tuple(random_words(int(length), 1000 * seed + at)), int(start))
        for at, (length, start) in enumerate(zip(lengths, starts, strict=True))
    ]


def pre_hooks(model: nn.Module) -> int:
    """How many forward pre hooks the model carries."""
    return sum(len(module._forward_pre_hooks) for module in model.modules())


def padded(rows: Sequence[Sequence[int]], *, left: bool = False) -> tuple[torch.Tensor, ...]:
    """Ids and attention mask ``(B, T)`` of rows of different length."""
    width = max(map(len, rows))
    ids = torch.zeros((len(rows), width), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(len(row))
        ids[at, place] = torch.tensor(row)
        mask[at, place] = 1
    return ids, mask


def llama2_7b() -> Anatomy:
    """The sizes of Llama-2-7B, whose published class shares the paper reports."""
    return Anatomy("llama", 32, 32, 32, 128, 11008, 4096, 4.0 * 4096 * 128, 3.0 * 4096)


def small_anatomy(
    layers: int = 2, heads: int = 2, neurons: int = 4, head_parameters: float = 1.0
) -> Anatomy:
    """Sizes for tests of pure functions on units; a neuron weighs 1."""
    return Anatomy("llama", layers, heads, heads, 3, neurons, 8, head_parameters, 1.0)
