"""Linear layers of which only some rows or columns are trained, at those rows' or columns' cost.

The forward pass uses the full weight. The backward pass computes the gradient of the trained part
alone, so gradients, optimizer states and master weights exist for that part only; where the part
is columns, only their input channels are kept for the backward pass. (Budget training, protocol
section 5; the arithmetic is exact, not an approximation of masking gradients.)
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from ssah_exp.training.shards import write_part

# A GPU multiplies matrices in half precision fast where their rows begin at multiples of 16 bytes.
ALIGNED = 8


class _RowLinear(torch.autograd.Function):
    """``x @ weight.T + bias``; the gradient goes to ``part`` = the rows ``index`` of ``weight``.

    ``index`` may be longer than ``part`` (see :func:`padded`): the surplus is cut off.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        part: torch.Tensor,
        index: torch.Tensor,
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight, index)
        ctx.dtype, ctx.size = part.dtype, part.shape[0]
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        x, weight, index = ctx.saved_tensors
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        rows = grad.index_select(-1, index).flatten(0, -2)
        part = (rows.T @ x.flatten(0, -2))[: ctx.size]
        return grad_x, None, part.to(ctx.dtype), None, _of_bias(ctx, grad)


class _ColumnLinear(torch.autograd.Function):
    """Like :class:`_RowLinear`; here ``part`` is the columns ``index`` of ``weight``.

    With ``later`` the result is room for the product, which :func:`_multiply_into` has to fill.
    When checkpointing repeats a block it stops at the last tensor that is kept, and what a function
    keeps is kept when it ends: a product inside would be repeated for nothing. Blocks end with one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        part: torch.Tensor,
        index: torch.Tensor,
        bias: torch.Tensor | None,
        later: bool = False,
    ) -> torch.Tensor:
        ctx.save_for_backward(x.index_select(-1, index), weight)
        ctx.dtype, ctx.size = part.dtype, part.shape[1]
        return x.new_empty(*x.shape[:-1], len(weight)) if later else F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad,) = grads
        channels, weight = ctx.saved_tensors
        grad_x = grad @ weight if ctx.needs_input_grad[0] else None
        part = (grad.flatten(0, -2).T @ channels.flatten(0, -2))[:, : ctx.size]
        return grad_x, None, part.to(ctx.dtype).contiguous(), None, _of_bias(ctx, grad), None


@torch.no_grad()
def _multiply_into(
    out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> None:
    """Fill ``out``, ``(..., out)``, with ``x @ weight.T + bias``, to the bit as ``F.linear``."""
    room, flat = out.detach().flatten(0, -2), x.flatten(0, -2)
    if bias is None:
        torch.mm(flat, weight.T, out=room)
    else:
        torch.addmm(bias, flat, weight.T, out=room)


def _of_bias(ctx: Any, grad: torch.Tensor) -> torch.Tensor | None:
    """``(out,)`` gradient of the bias, the last argument of the forward pass."""
    return grad.flatten(0, -2).sum(0) if ctx.needs_input_grad[4] else None


def padded(index: torch.Tensor) -> torch.Tensor:
    """``(k,)`` indices, the last one repeated up to a multiple of :data:`ALIGNED`."""
    return torch.cat([index, index[-1:].expand(-len(index) % ALIGNED)])


class CompactLinear(nn.Module):
    """Stands in for an ``nn.Linear`` while a part of its weight is trained.

    Args:
        linear: The layer; its ``weight`` is shared and frozen.
        dim: 0 = rows are trained, 1 = columns.
        index: ``(k,)`` int64, which ones.
        master: Dtype of the trained copy, gradients and optimizer states.
        bias_too: Whether the bias entries of the trained rows are trained with them.

    Attributes:
        part: ``(k, in)`` or ``(out, k)`` in ``master``: the trained copy. :meth:`write_back` puts
            it into ``weight``.
        bias_part: ``(k,)`` likewise, or None.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    index: torch.Tensor
    gathered: torch.Tensor

    def __init__(
        self,
        linear: nn.Linear,
        dim: int,
        index: torch.Tensor,
        master: torch.dtype,
        *,
        bias_too: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        assert isinstance(linear.weight, nn.Parameter)
        self.weight = linear.weight
        self.weight.requires_grad_(False)
        self.bias = linear.bias
        self.register_buffer("index", index.to(self.weight.device), persistent=False)
        self.register_buffer("gathered", padded(self.index), persistent=False)
        self.part = nn.Parameter(self.weight.detach().index_select(dim, self.index).to(master))
        self.bias_part: nn.Parameter | None = None
        if bias_too and self.bias is not None:
            self.bias.requires_grad_(False)
            self.bias_part = nn.Parameter(self.bias.detach().index_select(0, self.index).to(master))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(..., in)`` -> ``(..., out)`` as the layer it stands for."""
        bias: torch.Tensor | None = self.bias
        if bias is not None and self.bias_part is not None:
            bias = bias.index_copy(0, self.index, self.bias_part.to(bias.dtype))
        # The bias is added before the product is rounded, as in the layer itself.
        # Of the versions of torch in use, some declare no types for apply, others do.
        given = (x, self.weight, self.part, self.gathered if x.is_cuda else self.index, bias)
        if self.dim == 0:
            return cast(torch.Tensor, _RowLinear.apply(*given))  # type: ignore[no-untyped-call,unused-ignore]
        later = not torch.compiler.is_compiling()  # a compiler finds by itself what is not needed
        y = cast(torch.Tensor, _ColumnLinear.apply(*given, later))  # type: ignore[no-untyped-call,unused-ignore]
        if later:
            _multiply_into(y, x, self.weight, bias)
        return y

    @torch.no_grad()
    def write_back(self) -> None:
        """Round the trained copy into the weight that the forward pass uses."""
        write_part(self.weight, self.dim, self.index, self.part)
        if self.bias_part is not None and self.bias is not None:
            write_part(self.bias, 0, self.index, self.bias_part)

    def release(self) -> None:
        """Free the memory of ``part``, whose numbers ``weight`` holds, too, until :meth:`renew`.

        Only between steps, and only if the copy has the weight's own dtype.
        """
        assert self.part.dtype == self.weight.dtype
        self.part.untyped_storage().resize_(0)

    @torch.no_grad()
    def renew(self) -> None:
        """Take ``part`` from ``weight`` again."""
        self.part.untyped_storage().resize_(self.part.nbytes)
        torch.index_select(self.weight, self.dim, self.index, out=self.part.data)
