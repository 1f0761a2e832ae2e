"""Greedy generation in length-sorted, left-padded batches, by whichever engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from transformers import DynamicCache, GenerationConfig

from ssah_exp import ranks
from ssah_exp.data.batching import common_beginning, left_padded, longest_first
from ssah_exp.evaluation.kept import KeptCompletions
from ssah_exp.evaluation.questions import Prompt
from ssah_exp.models.attached.prefix import has_prefix
from ssah_exp.models.caching import cache_argument
from ssah_exp.models.load import LoadedModel
from ssah_exp.models.sharded import is_sharded, without_gradients
from ssah_exp.models.tokenizer import Speech

# Token ids of a batch's prompts in, new tokens of each out; what follows a stop token is ignored.
Engine = Callable[[Sequence[tuple[int, ...]]], Sequence[Sequence[int]]]


@dataclass(frozen=True)
class Decoding:
    """How completions are made.

    Attributes:
        max_new_tokens: Longest completion in tokens.
        batch_size: Prompts per batch.
        share_prefix: Run the tokens that all prompts of a batch begin with only once, at batch
            size 1. Each batch then holds prompts of one group.
    """

    max_new_tokens: int
    batch_size: int
    share_prefix: bool


def generate(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    advance: Callable[[int], None] = lambda done: None,
    kept: KeptCompletions | None = None,
) -> list[str]:
    """Complete every prompt greedily; several ranks complete a batch each, in turns.

    Args:
        loaded: Model and tokenizer.
        prompts: In any order.
        decoding: Length and batching.
        advance: Called with the number of prompts just done, for progress bars.
        kept: See :func:`complete`.

    Returns:
        Completions in the order of ``prompts``, without special tokens, stripped of blanks. Each
        begins with the part of the answer that its prompt already gives, if any.
    """

    def engine(batch: Sequence[tuple[int, ...]]) -> list[list[int]]:
        answers: list[list[int]] = _complete(loaded, batch, decoding).tolist()
        return answers

    in_step = is_sharded(loaded.model)
    return complete(engine, loaded.speech, prompts, decoding, advance, kept, in_step=in_step)


def complete(
    engine: Engine,
    speech: Speech,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    advance: Callable[[int], None] = lambda done: None,
    kept: KeptCompletions | None = None,
    *,
    in_step: bool = False,
) -> list[str]:
    """Give every prompt to an engine, batch by batch; several ranks take a batch each, in turns.

    Batches are made from all prompts, known or not, and a batch that is known in part is asked as a
    whole: the result is that of an uninterrupted call, to the last bit.

    Args:
        engine: Completes one batch.
        speech: Tokenizer and stop tokens.
        prompts: In any order.
        decoding: Length and batching.
        advance: Called with the number of prompts just done.
        kept: Completions of an earlier call that was interrupted; every batch is added to it. Only
            rank 0's is used.
        in_step: The ranks' engines must run together: a rank without a batch repeats another's.

    Returns:
        As :func:`generate`.

    Raises:
        StoreError: ``kept`` cannot be written.
    """
    known = ranks.from_first(lambda: {} if kept is None else dict(kept.texts))
    texts, batches = dict(known), list(_batches(prompts, decoding))

    def asked(batch: Sequence[int]) -> dict[int, str]:
        chosen = [prompts[index] for index in batch]
        new = engine([prompt.ids for prompt in chosen])
        return dict(zip(batch, _texts(chosen, new, speech), strict=True))

    for start in range(0, len(batches), ranks.count()):
        turn = batches[start : start + ranks.count()]
        wanted = [any(index not in known for index in batch) for batch in turn]
        if any(wanted):
            place = ranks.rank()
            mine = place < len(turn) and wanted[place]
            answers = asked(turn[place if mine else 0]) if mine or in_step else {}
            for part in ranks.everyones(answers if mine else {}):
                texts |= part
                if kept is not None and ranks.first():
                    kept.add(part)
        advance(sum(map(len, turn)))
    return [texts[index] for index in range(len(prompts))]


def _texts(
    prompts: Sequence[Prompt], answers: Sequence[Sequence[int]], speech: Speech
) -> list[str]:
    """Completions of one batch; each begins with the part that its prompt gives."""
    whole = [
        [*prompt.ids[len(prompt.ids) - prompt.given :], *until_stop(tokens, speech)]
        for prompt, tokens in zip(prompts, answers, strict=True)
    ]
    texts = speech.tokenizer.batch_decode(whole, skip_special_tokens=True)
    return [text.strip() for text in texts]


def _batches(prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[list[int]]:
    """Indices of the prompts that are completed together, batch by batch."""
    groups: dict[str, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt.group if decoding.share_prefix else "", []).append(index)
    for members in groups.values():
        rows = [prompts[index].ids for index in members]
        for batch in longest_first(rows, decoding.batch_size):
            yield [members[at] for at in batch]


def _complete(
    loaded: LoadedModel, prompts: Sequence[tuple[int, ...]], decoding: Decoding
) -> torch.Tensor:
    """New tokens of one batch, ``(B, up to max_new_tokens)`` int64."""
    shared = _shared_length(loaded, prompts, decoding)
    input_ids, attention_mask = left_padded(prompts, loaded.speech.pad_id, shared)
    with without_gradients(loaded.model):
        cache = _prefix_cache(loaded, prompts[0][:shared], len(prompts)) if shared else None
    with _own_generation_config_aside(loaded), without_gradients(loaded.model):
        output = loaded.model.generate(  # type: ignore[operator]
            input_ids=input_ids.to(loaded.device),
            attention_mask=attention_mask.to(loaded.device),
            generation_config=_greedy(loaded, decoding.max_new_tokens),
            synced_gpus=is_sharded(loaded.model),  # go on until every rank's batch is complete
            **{cache_argument(loaded.model): cache},
        )
    assert isinstance(output, torch.Tensor)
    return output[:, input_ids.shape[1] :]


def until_stop(new_tokens: Sequence[int], speech: Speech) -> list[int]:
    """The tokens before the first stop token.

    Padding follows it, up to the batch's longest answer. Neither the stop token nor the padding
    need be a special token that decoding leaves out.
    """
    stops = (at for at, token in enumerate(new_tokens) if token in speech.stop_ids)
    return list(new_tokens[: next(stops, len(new_tokens))])


def _greedy(loaded: LoadedModel, max_new_tokens: int) -> GenerationConfig:
    return GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        eos_token_id=list(loaded.speech.stop_ids),
        pad_token_id=loaded.speech.pad_id,
        use_cache=True,
    )


@contextmanager
def _own_generation_config_aside(loaded: LoadedModel) -> Iterator[None]:
    """Hide the model's own generation config, which fills in whatever a given one leaves out.

    Some models ship a repetition penalty, suppressed tokens or a minimum length.
    """
    own = loaded.model.generation_config
    loaded.model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        loaded.model.generation_config = own


def _shared_length(
    loaded: LoadedModel, prompts: Sequence[tuple[int, ...]], decoding: Decoding
) -> int:
    """Tokens of the prefix to run once; 0 where sharing would change a completion.

    The padding between prefix and own tokens is masked, but a sliding window counts it, so a padded
    row would see less of its prefix. A learned prefix lies in the cache without being part of the
    prompt, which transformers' generation does not expect of a cache it is given. Ranks that hold
    parts of one model must run equally many passes, so there no prefix is shared.
    """
    if not decoding.share_prefix or len(prompts) == 1 or has_prefix(loaded.model):
        return 0
    if is_sharded(loaded.model):
        return 0
    lengths = [len(prompt) for prompt in prompts]
    window = getattr(loaded.model.config, "sliding_window", None)
    if window and min(lengths) < max(lengths) and max(lengths) + decoding.max_new_tokens > window:
        return 0
    own = min(lengths) - 1  # each prompt keeps a token of its own
    return max(0, min(common_beginning(prompts), own))


def _prefix_cache(loaded: LoadedModel, prefix: tuple[int, ...], rows: int) -> DynamicCache:
    """Keys and values of the prefix, computed once and repeated for every row."""
    cache = DynamicCache(config=loaded.model.config)
    ids = torch.tensor([prefix], device=loaded.device)
    decoder = loaded.model.get_decoder()  # type: ignore[no-untyped-call]
    decoder(input_ids=ids, use_cache=True, **{cache_argument(decoder): cache})
    cache.batch_repeat_interleave(rows)
    return cache
