"""DPO: the loss against its formula, log-probabilities against a loop over single tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ssah_exp.data.chat import Encoded
from ssah_exp.data.loaders import Collate
from ssah_exp.data.pair_batches import CollatePairs
from ssah_exp.data.preferences import EncodedPair
from ssah_exp.training.objectives import (
    SupervisedObjective,
    preference_loss,
    sequence_log_probabilities,
)
from ssah_exp.training.preference import (
    PreferenceObjective,
    ReferencedBatch,
    ReferencedPair,
    preference_loader,
    with_reference,
)
from tests import tiny

BETAS = (0.05, 0.1, 1.0)


def draws(count: int = 6) -> list[np.ndarray]:
    """Log-probabilities of chosen and rejected answers, now and before training."""
    draw = np.random.default_rng(0)
    return [-draw.exponential(20, size=count) for _ in range(4)]


def formula(
    chosen: np.ndarray, rejected: np.ndarray, ref_c: np.ndarray, ref_r: np.ndarray, beta: float
) -> np.ndarray:
    """Rafailov et al. 2023, equation 7, one pair at a time."""
    ratio = beta * (chosen - ref_c) - beta * (rejected - ref_r)
    return -np.log(1 / (1 + np.exp(-ratio)))


@pytest.mark.parametrize("beta", BETAS)
def test_the_loss_is_the_formula(beta: float) -> None:
    given = draws()
    got = preference_loss(*(torch.tensor(item) for item in given), beta)
    np.testing.assert_allclose(got.numpy(), formula(*given, beta), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("beta", BETAS)
def test_its_gradient_raises_the_chosen_and_lowers_the_rejected(beta: float) -> None:
    given = [torch.tensor(item, requires_grad=True) for item in draws()]
    preference_loss(*given, beta).sum().backward()
    ratio = beta * ((given[0] - given[2]) - (given[1] - given[3])).detach()
    wanted = -beta * torch.sigmoid(-ratio)
    torch.testing.assert_close(given[0].grad, wanted)
    torch.testing.assert_close(given[1].grad, -wanted)


def test_without_a_difference_to_the_reference_it_is_log_2() -> None:
    chosen, rejected = (torch.tensor(item) for item in draws()[:2])
    loss = preference_loss(chosen, rejected, chosen, rejected, 0.1)
    np.testing.assert_allclose(loss.numpy(), np.log(2))


def test_a_margin_beyond_float32_is_no_nan() -> None:
    far = torch.tensor([1e4, -1e4])
    loss = preference_loss(far, -far, torch.zeros(2), torch.zeros(2), 1.0)
    assert loss.tolist() == [0.0, 2e4]


def looped(loaded: tiny.LoadedModel, item: Encoded) -> float:
    """Log-probability of a response: one forward pass per token, nothing padded."""
    total = 0.0
    for at in range(max(item.response_start, 1), len(item.input_ids)):
        with torch.no_grad():
            logits = loaded.model(torch.tensor([item.input_ids[:at]])).logits[0, -1]
        total += float(logits.double().log_softmax(-1)[item.input_ids[at]])
    return total


@pytest.mark.parametrize("family", ["llama_gqa", "gemma2"])
def test_log_probabilities_are_those_of_a_loop_over_tokens(family: str) -> None:
    loaded = tiny.tiny_loaded(family)
    rows = tiny.conversations(5)
    rows.append(Encoded(rows[0].input_ids, 0))  # nothing precedes its first token
    rows.append(Encoded(rows[1].input_ids, len(rows[1].input_ids)))  # an empty response
    with torch.no_grad():
        got = sequence_log_probabilities(loaded.model, Collate(0)(rows))
    wanted = [looped(loaded, row) for row in rows]
    np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-4, atol=1e-4)
    assert wanted[-1] == 0 > max(wanted[:-1])


def pairs(count: int = 7) -> list[EncodedPair]:
    """Two answers of different length to each of some prompts."""
    made = []
    for at, item in enumerate(tiny.conversations(count, seed=3)):
        prompt = item.input_ids[: item.response_start]
        other = (*prompt, *tiny.random_words(2 + at % 4, 70 + at))
        made.append(EncodedPair(item, Encoded(other, item.response_start)))
    return made


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_the_reference_is_the_models_own_opinion(batch_size: int) -> None:
    loaded, given = tiny.tiny_loaded(), pairs()
    got = with_reference(loaded, given, batch_size)
    assert [item.pair for item in got] == given
    for item in got:
        assert item.chosen == pytest.approx(looped(loaded, item.pair.chosen), abs=1e-3)
        assert item.rejected == pytest.approx(looped(loaded, item.pair.rejected), abs=1e-3)
    assert all(weight.grad is None for weight in loaded.model.parameters())


def batch_of(items: list[ReferencedPair]) -> ReferencedBatch:
    reference = [x.chosen for x in items] + [x.rejected for x in items]
    return ReferencedBatch(CollatePairs(0)([x.pair for x in items]), torch.tensor(reference))


def test_the_objective_is_the_mean_over_pairs() -> None:
    loaded, given = tiny.tiny_loaded(), pairs(4)
    other = tiny.tiny_loaded(seed=1)
    referenced = with_reference(other, given, 4)
    got = PreferenceObjective(0.2).loss(loaded.model, batch_of(referenced))
    terms = [
        (looped(loaded, x.pair.chosen), looped(loaded, x.pair.rejected), x.chosen, x.rejected)
        for x in referenced
    ]
    wanted = formula(*(np.array(column) for column in zip(*terms, strict=True)), 0.2).mean()
    assert got.item() == pytest.approx(wanted, rel=1e-3)
    fresh = PreferenceObjective(0.2).loss(other.model, batch_of(referenced))
    assert fresh.item() == pytest.approx(np.log(2), abs=1e-4)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("supervised", [False, True])
def test_the_mean_over_ranks_is_the_loss_of_the_whole_batch(ranks: int, supervised: bool) -> None:
    """With more ranks than rows, too: one that has none computes another's for nothing."""
    loaded, given = tiny.tiny_loaded(), pairs(4)
    objective: Any = SupervisedObjective() if supervised else PreferenceObjective(0.2)
    batch = (
        Collate(0)([item.chosen for item in given])
        if supervised
        else batch_of(with_reference(tiny.tiny_loaded(seed=1), given, 4))
    )
    with torch.no_grad():
        parts = [objective.part(batch, rank, ranks) for rank in range(ranks)]
        terms = [weight * objective.loss(loaded.model, part) for part, weight in parts]
        whole = objective.loss(loaded.model, batch)
    assert sum(terms).item() / ranks == pytest.approx(whole.item(), rel=1e-5)
    assert [weight for _, weight in parts[4:]] == [0] * (ranks - 4)


def order(seed: int, epochs: int = 2) -> list[list[float]]:
    """Chosen answers' references, batch by batch; each pair has a number of its own."""
    given = [ReferencedPair(pair, float(at), at + 0.5) for at, pair in enumerate(pairs())]
    loader = preference_loader(given, 0, 3, seed)
    return [batch.reference.tolist() for _ in range(epochs) for batch in loader]


def test_the_order_follows_from_the_seed_and_epochs_differ() -> None:
    torch.manual_seed(0)
    first = order(5)
    torch.manual_seed(1)
    assert order(5) == first, "from the loader's seed alone"
    assert order(6) != first
    assert order(0) != order(1)
    assert first[:3] != first[3:]


def test_every_batch_has_chosen_references_first_beside_their_tokens() -> None:
    given = [ReferencedPair(pair, float(at), at + 0.5) for at, pair in enumerate(pairs())]
    seen = []
    for batch in preference_loader(given, 0, 3, 0):
        chosen, rejected = batch.pairs.split(batch.reference)
        assert (rejected - chosen == 0.5).all()
        rows = batch.pairs.conversations
        for at, number in enumerate(chosen.int().tolist()):
            for row, answer in ((at, "chosen"), (at + batch.pairs.count, "rejected")):
                wanted = getattr(given[number].pair, answer).input_ids
                assert tuple(rows.input_ids[row, : len(wanted)].tolist()) == wanted
                assert rows.attention_mask[row].sum() == len(wanted)
            seen.append(number)
    assert sorted(seen) == list(range(7))
