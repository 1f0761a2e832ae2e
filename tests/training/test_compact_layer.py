"""One layer of which a slice is trained: gradients against differences, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from ssah_exp.training.compact import CompactLinear, _ColumnLinear, _RowLinear, padded


def test_columns_keep_only_their_channels_for_the_backward_pass() -> None:
    linear = nn.Linear(64, 8, bias=False)
    x = torch.randn(5, 64, requires_grad=True)
    saved: list[torch.Size] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.shape)
        return tensor

    module = CompactLinear(linear, 1, torch.tensor([3, 40]), torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda item: item):
        module(x).sum().backward()
    assert torch.Size([5, 2]) in saved
    assert torch.Size([5, 64]) not in saved


def numeric(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> torch.Tensor:
    """Central differences."""
    out = torch.zeros_like(at)
    for place in np.ndindex(*at.shape):
        step = torch.zeros_like(at)
        step[place] = 1e-5
        out[place] = (function(at + step) - function(at - step)) / 2e-5
    return out


@pytest.mark.parametrize("dim", [0, 1])
def test_gradients_of_the_part_and_of_the_input_by_differences(dim: int) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(6, 5).double()
    index, weight, bias = torch.tensor([1, 4]), linear.weight.detach().clone(), linear.bias
    x, probe = torch.randn(2, 3, 6, dtype=torch.float64), torch.randn(2, 3, 5, dtype=torch.float64)
    module = CompactLinear(linear, dim, index, torch.float64, bias_too=dim == 0)
    leaf = x.clone().requires_grad_(True)
    (module(leaf) * probe).sum().backward()

    def with_part(part: torch.Tensor) -> torch.Tensor:
        return (nn.functional.linear(x, weight.index_copy(dim, index, part), bias) * probe).sum()

    part = weight.index_select(dim, index)
    torch.testing.assert_close(module.part.grad, numeric(with_part, part), rtol=1e-6, atol=1e-6)
    wanted = torch.einsum("bto,oi->bti", probe, weight)
    torch.testing.assert_close(leaf.grad, wanted)
    if dim == 0:
        assert module.bias_part is not None
        torch.testing.assert_close(module.bias_part.grad, probe.sum((0, 1))[index])
    else:  # columns are no entries of a bias, which is trained whole or not at all
        assert module.bias_part is None
        torch.testing.assert_close(bias.grad, probe.sum((0, 1)))


@pytest.mark.parametrize("size", [1, 7, 8, 9])
@pytest.mark.parametrize("function", [_RowLinear, _ColumnLinear])
def test_indices_padded_to_aligned_rows_give_the_same_gradient(
    function: type[torch.autograd.Function], size: int
) -> None:
    """As on CUDA, where products of unaligned rows are slow."""
    torch.manual_seed(0)
    weight, index = torch.randn(24, 24, dtype=torch.float64), torch.randperm(24)[:size].sort()[0]
    x, probe = (torch.randn(2, 3, 24, dtype=torch.float64) for _ in range(2))
    dim = 0 if function is _RowLinear else 1
    found = []
    for places in (index, padded(index)):
        part = weight.index_select(dim, index).requires_grad_(True)
        (function.apply(x, weight, part, places, None) * probe).sum().backward()
        assert part.grad is not None
        assert part.grad.is_contiguous()
        found.append(part.grad)
    assert len(padded(index)) % 8 == 0
    assert len(padded(index)) - size < 8, "no row more than that takes"
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_trained_copy_alone_is_trained_in_the_master_s_precision(dtype: torch.dtype) -> None:
    linear = nn.Linear(6, 5).to(dtype)
    module = CompactLinear(linear, 0, torch.tensor([1, 4]), torch.float32, bias_too=True)
    trained = {name: item for name, item in module.named_parameters() if item.requires_grad}
    assert trained.keys() == {"part", "bias_part"}
    assert {item.dtype for item in trained.values()} == {torch.float32}
    assert linear.weight.dtype == dtype


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_gives_every_bit_of_the_one_it_stands_for(
    dim: int, dtype: torch.dtype, bias: bool
) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 64, bias=bias).to(dtype)
    x, index = torch.randn(3, 7, 64, dtype=dtype), torch.arange(0, 64, 5)
    module = CompactLinear(linear, dim, index, torch.float32, bias_too=dim == 0)
    assert torch.equal(module(x), linear(x))
