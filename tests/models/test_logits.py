"""Token losses without the full logits, against the model's own forward pass."""

from __future__ import annotations

import pytest
import torch

from ssah_exp.models.logits import hidden_states, token_logits, token_losses
from tests import tiny

ROWS = [tiny.random_words(length, seed) for seed, length in enumerate((9, 14, 5))]


@torch.no_grad()
def test_logits_equal_the_models_own(family: str) -> None:
    model = tiny.tiny_model(family)
    ids, mask = tiny.padded(ROWS)
    logits = token_logits(model, hidden_states(model, ids, mask))
    own = model(input_ids=ids, attention_mask=mask).logits
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits[mask.bool()], own[mask.bool()], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_losses_equal_full_cross_entropy(family: str) -> None:
    model = tiny.tiny_model(family)
    ids, mask = tiny.padded(ROWS)
    counted = mask.bool() & (torch.arange(ids.shape[1]) % 3 != 1)
    losses = token_losses(model, ids, mask, counted)

    log_probabilities = model(input_ids=ids, attention_mask=mask).logits.double().log_softmax(-1)
    plain = [
        -float(log_probabilities[row, at - 1, ids[row, at]])
        for row in range(3)
        for at in range(1, ids.shape[1])
        if counted[row, at]
    ]
    assert losses.tolist() == pytest.approx(plain, rel=1e-4, abs=1e-5)


@torch.no_grad()
def test_gemma2_caps_bite() -> None:
    """Otherwise the comparisons above say nothing about soft-capping."""
    model = tiny.tiny_model("gemma2")
    ids, mask = tiny.padded(ROWS)
    uncapped = model.get_output_embeddings()(hidden_states(model, ids, mask))
    assert float(uncapped.abs().max()) > 4
    assert float(token_logits(model, hidden_states(model, ids, mask)).abs().max()) < 2


@torch.no_grad()
def test_first_position_is_never_counted() -> None:
    model = tiny.tiny_model("llama")
    ids, mask = tiny.padded([ROWS[0]])
    only_first = torch.zeros_like(ids, dtype=torch.bool)
    only_first[:, 0] = True
    assert token_losses(model, ids, mask, only_first).numel() == 0


@torch.no_grad()
def test_padding_changes_no_loss(family: str) -> None:
    model = tiny.tiny_model(family)
    ids, mask = tiny.padded(ROWS)
    together = token_losses(model, ids, mask, mask.bool())
    alone = []
    for row in ROWS:
        one, ones = tiny.padded([row])
        alone.append(token_losses(model, one, ones, ones.bool()))
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
