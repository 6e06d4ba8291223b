# SPDX-License-Identifier: Apache-2.0
"""Conditions that decide which implementation of an operation runs."""

import torch
from torch import Tensor

from scripts.kernels import library


def captures_graph() -> bool:
    """Whether torch traces, exports or compiles the call, which needs the plain operations."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def records_gradient() -> bool:
    """Whether the call runs eagerly with gradients enabled, where custom gradients are faster."""
    return torch.is_grad_enabled() and not captures_graph()


def is_cpu_inference(image: Tensor) -> bool:
    """Whether the call runs eagerly on the CPU with gradients disabled."""
    return image.device.type == "cpu" and not torch.is_grad_enabled() and not captures_graph()


def uses_kernels(*tensors: Tensor) -> bool:
    """Whether `scripts.kernels` computes the call: eagerly on the CPU, where any tensor requires a gradient."""
    if not records_gradient() or not any(tensor.requires_grad for tensor in tensors):
        return False
    return all(tensor.device.type == "cpu" for tensor in tensors) and library() is not None
