# SPDX-License-Identifier: Apache-2.0
"""Custom gradients of linear operators."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class SelfAdjoint(torch.autograd.Function):
    """Apply a self-adjoint linear operator; its backward pass applies the same operator to the gradient."""

    @staticmethod
    def forward(ctx: Any, operator: Callable[[Tensor], Tensor], volumes: Tensor) -> Tensor:
        ctx.operator = operator
        return operator(volumes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        return None, ctx.operator(gradient)
