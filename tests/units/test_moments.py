"""Exact moments: merging, cancellation, padding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ssah_exp.units.accumulators import FlapAccumulator, VarianceAccumulator
from ssah_exp.units.moments import (
    Counted,
    Moments,
    Scratch,
    _all_at_once,
    _one_by_one,
    example_moments,
    merge,
    pool,
)
from tests.units import oracle

COUNTS = (5, 1, 9, 3)
Way = Callable[[torch.Tensor, torch.Tensor], Moments]


def one_by_one(values: torch.Tensor, mask: torch.Tensor) -> Moments:
    return _one_by_one(values, Counted.of(mask), Scratch())


def all_at_once(values: torch.Tensor, mask: torch.Tensor) -> Moments:
    return _all_at_once(values, Counted.of(mask))


# The way a CPU takes, and the way of other devices; both are checked here.
both_ways = pytest.mark.parametrize("way", [one_by_one, all_at_once])


def moments_of(values: torch.Tensor, mask: torch.Tensor) -> Moments:
    return example_moments(values, Counted.of(mask))


def whole(values: torch.Tensor) -> Moments:
    """Moments of ``(T, C)`` values, all counted, without the leading dimension."""
    return pool(moments_of(values[None], torch.ones(1, len(values), dtype=torch.bool)))


def random_rows(counts: tuple[int, ...], seed: int = 0) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [
        torch.randn(count, 4, generator=draw, dtype=torch.float64) * (at + 1) + 3 * at
        for at, count in enumerate(counts)
    ]


def assert_equal(first: Moments, second: Moments) -> None:
    for name in ("count", "mean", "m2"):
        torch.testing.assert_close(
            getattr(first, name), getattr(second, name), rtol=1e-11, atol=1e-12
        )


def test_variance_is_unbiased() -> None:
    values = random_rows((8,))[0]
    moments = whole(values)
    np.testing.assert_allclose(moments.variance(), np.var(values.numpy(), axis=0, ddof=1))
    np.testing.assert_allclose(moments.mean, values.numpy().mean(axis=0))
    assert float(moments.count) == 8


@pytest.mark.parametrize("split", [1, 2, 5, 11])
def test_merge_is_concatenation(split: int) -> None:
    values = random_rows((12,), seed=split)[0]
    merged = merge(whole(values[:split]), whole(values[split:]))
    assert_equal(merged, whole(values))


def test_merge_does_not_depend_on_order() -> None:
    first, second, third, fourth = (whole(rows) for rows in random_rows(COUNTS))
    assert_equal(
        merge(merge(first, second), merge(third, fourth)),
        merge(fourth, merge(merge(third, first), second)),
    )


def test_merge_with_nothing_changes_nothing() -> None:
    rows = random_rows((6,))[0]
    nothing = Moments(torch.tensor(0.0).double(), torch.zeros(4).double(), torch.zeros(4).double())
    assert_equal(merge(whole(rows), nothing), whole(rows))
    assert_equal(merge(nothing, whole(rows)), whole(rows))


def test_pool_is_concatenation() -> None:
    rows = random_rows(COUNTS)
    stacked = torch.zeros(len(rows), max(COUNTS), 4, dtype=torch.float64)
    mask = torch.zeros(len(rows), max(COUNTS), dtype=torch.bool)
    for at, row in enumerate(rows):
        stacked[at, : len(row)] = row
        mask[at, : len(row)] = True
    assert_equal(pool(moments_of(stacked, mask)), whole(torch.cat(rows)))


@both_ways
@pytest.mark.parametrize("ratio", [1e2, 1e4, -1e4, 1e6])
def test_large_mean_does_not_cancel(way: Way, ratio: float) -> None:
    draw = torch.Generator().manual_seed(1)
    values = (torch.randn(4, 50, 6, generator=draw) + ratio).float()
    accumulator = VarianceAccumulator()
    for part in values.split(1):
        accumulator.update(way(part, torch.ones(1, 50, dtype=torch.bool)))
    plain = oracle.variance(list(values.double().numpy()))
    np.testing.assert_allclose(accumulator.result().variance(), plain, rtol=1e-6)
    np.testing.assert_allclose(
        accumulator.result().mean, values.double().mean(dim=(0, 1)), rtol=1e-12
    )


@both_ways
def test_large_mean_does_not_cancel_in_flap(way: Way) -> None:
    draw = torch.Generator().manual_seed(2)
    values = (torch.randn(4, 50, 6, generator=draw) + 1e4).float()
    accumulator = FlapAccumulator()
    accumulator.update(way(values, torch.ones(4, 50, dtype=torch.bool)))
    plain = oracle.flap(list(values.double().numpy()))
    np.testing.assert_allclose(accumulator.result(), plain, rtol=1e-6)


@both_ways
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(way: Way, dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(3)
    # Sums and squares of these overflow float16.
    values = (torch.randn(1, 4000, 2, generator=draw) * 300).to(dtype)
    moments = pool(way(values, torch.ones(1, 4000, dtype=torch.bool)))
    plain = oracle.variance(list(values.double().numpy()))
    np.testing.assert_allclose(moments.variance(), plain, rtol=1e-5)


@both_ways
@pytest.mark.parametrize("filler", [float("nan"), float("inf"), 1e30])
def test_padding_may_hold_anything(way: Way, filler: float) -> None:
    values = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(4))
    mask = torch.tensor([[True] * 4 + [False] * 2, [False, True, True, True, True, False]])
    clean = way(torch.where(mask[..., None], values, 0.0), mask)
    dirty = way(torch.where(mask[..., None], values, filler), mask)
    assert_equal(dirty, clean)


@both_ways
def test_example_without_counted_tokens_has_count_zero(way: Way) -> None:
    mask = torch.tensor([[False, False], [True, True]])
    moments = way(torch.ones(2, 2, 3), mask)
    assert moments.count.tolist() == [0, 2]
    assert torch.isfinite(moments.mean).all()


def test_a_batch_without_counted_tokens_changes_nothing() -> None:
    rows = random_rows((6,))[0]
    accumulator = VarianceAccumulator()
    accumulator.update(moments_of(rows[None], torch.zeros(1, 6, dtype=torch.bool)))
    accumulator.update(moments_of(rows[None], torch.ones(1, 6, dtype=torch.bool)))
    assert_equal(accumulator.result(), whole(rows))


def test_both_ways_agree() -> None:
    values = torch.randn(3, 40, 6, generator=torch.Generator().manual_seed(6)) * 5 + 2
    mask = torch.arange(40) < torch.tensor([[40], [7], [1]])
    first, second = one_by_one(values, mask), all_at_once(values, mask)
    torch.testing.assert_close(first.mean, second.mean, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(first.m2, second.m2, rtol=1e-6, atol=1e-9)
    assert torch.equal(first.count, second.count)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ratio", [0.0, 1e4])
def test_every_example_equals_float64(dtype: torch.dtype, ratio: float) -> None:
    """Ragged, with gaps, with an example that counts nothing; scratch memory is used again."""
    draw = torch.Generator().manual_seed(7)
    scratch = Scratch()
    for tokens in (40, 9, 23):
        values = (torch.randn(5, tokens, 6, generator=draw) + ratio).to(dtype)
        mask = torch.rand(5, tokens, generator=draw) < 0.6
        mask[0], mask[1] = torch.arange(tokens) >= tokens // 2, False
        found = example_moments(values, Counted.of(mask), scratch)
        for at, (row, counted) in enumerate(zip(values.double().numpy(), mask, strict=True)):
            rows = row[counted.numpy()]
            assert float(found.count[at]) == len(rows)
            mean = rows.mean(axis=0) if len(rows) else np.zeros(6)
            np.testing.assert_allclose(found.mean[at], mean, rtol=1e-13)
            np.testing.assert_allclose(found.m2[at], ((rows - mean) ** 2).sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("every", [True, False])
def test_a_batch_at_once_equals_float64_and_leaves_the_activations_alone(
    dtype: torch.dtype, every: bool
) -> None:
    draw = torch.Generator().manual_seed(8)
    values = (torch.randn(4, 30, 6, generator=draw) * 3 + 40).to(dtype)
    mask = torch.ones(4, 30, dtype=torch.bool)
    if not every:
        mask = torch.arange(30) < torch.tensor([[30], [11], [1], [0]])
        values[~mask] = float("nan")
    before = values.clone()
    found = all_at_once(values, mask)
    for at, rows in enumerate(
        row[counted].double() for row, counted in zip(before, mask, strict=True)
    ):
        assert float(found.count[at]) == len(rows)
        if len(rows):
            torch.testing.assert_close(found.mean[at], rows.mean(0), rtol=1e-13, atol=0)
            wanted = (rows - rows.mean(0)).square().sum(0)
            torch.testing.assert_close(found.m2[at], wanted, rtol=1e-10, atol=1e-20)
    torch.testing.assert_close(values, before, rtol=0, atol=0, equal_nan=True)


def test_scratch_serves_inside_and_outside_of_inference_mode() -> None:
    values, counted = torch.randn(1, 4, 3), Counted.of(torch.ones(1, 4, dtype=torch.bool))
    scratch = Scratch()
    with torch.inference_mode():
        inside = example_moments(values, counted, scratch).m2.clone()
    assert torch.equal(example_moments(values, counted, scratch).m2, inside)


def test_flap_skips_examples_without_counted_tokens() -> None:
    values = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(5))
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[1] = False
    accumulator = FlapAccumulator()
    accumulator.update(moments_of(values, mask))
    plain = oracle.flap([values[0].double().numpy(), values[2].double().numpy()])
    np.testing.assert_allclose(accumulator.result(), plain, rtol=1e-6)


def test_flap_counts_examples_of_one_token() -> None:
    rows, accumulator = random_rows(COUNTS), FlapAccumulator()
    for row in rows:
        accumulator.update(moments_of(row[None], torch.ones(1, len(row), dtype=torch.bool)))
    plain = oracle.flap([row.numpy() for row in rows])
    np.testing.assert_allclose(accumulator.result(), plain, rtol=1e-12)


def test_flap_of_one_example_is_zero() -> None:
    accumulator = FlapAccumulator()
    accumulator.update(moments_of(torch.randn(1, 5, 2), torch.ones(1, 5, dtype=torch.bool)))
    assert accumulator.result().tolist() == [0, 0]


@pytest.mark.parametrize("accumulator", [VarianceAccumulator(), FlapAccumulator()])
def test_result_before_any_batch_is_an_error(
    accumulator: VarianceAccumulator | FlapAccumulator,
) -> None:
    with pytest.raises(RuntimeError, match="No batch"):
        accumulator.result()
