"""Gradients that are written out."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class SelfAdjoint(torch.autograd.Function):
    """Apply a linear operator that is its own transpose, so that its gradient is the operator again."""

    @staticmethod
    def forward(ctx: Any, operator: Callable[[Tensor], Tensor], volumes: Tensor) -> Tensor:
        ctx.operator = operator
        return operator(volumes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, ctx.operator(gradient)
