"""Linear warps on the CPU with gradients, by `compiled.cpp`, where there is a compiler.

torch's own `grid_sample` goes through a volume of few channels one number at a time. Compiled when first asked for,
which takes a second, as a library that is built for this very processor is of no use to another.
"""

import logging
import os
import subprocess
from ctypes import CDLL, c_int64, c_void_p
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_SOURCE = Path(__file__).with_suffix(".cpp")
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-shared", "-fPIC", "-pthread")
_REALS = {torch.float32: "float", torch.float64: "double"}
_VECTOR = 4  # numbers; a row is padded to a multiple of them


@cache
def library() -> CDLL | None:
    """The compiled `compiled.cpp`; None, which is logged, where that cannot be had.

    The compiler is `c++`, or what the variable `CXX` names.
    """
    try:
        with TemporaryDirectory(prefix="msfbnet-") as folder:
            built = Path(folder) / "compiled.so"
            compiler = os.environ.get("CXX", "c++")
            subprocess.run([compiler, *_FLAGS, _SOURCE, "-o", built], capture_output=True, text=True, check=True)
            return CDLL(str(built))
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
        reason = (said or str(error)).splitlines()[0]
        logging.getLogger(__name__).warning(
            "training on the CPU goes on with slower warps, as %s is not compiled: %s", _SOURCE.name, reason
        )
        return None


class CompiledWarp(torch.autograd.Function):
    """`scripts.spatial.warp`, linear, of a float image on the CPU."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, field: Tensor) -> Tensor:
        ctx.save_for_backward(image, field)
        return _volume(_sampled(_rows(image, field.dtype), _rows(field, field.dtype)), image)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        image, field = ctx.saved_tensors
        rows = [_rows(volume, field.dtype) for volume in (image, field, gradient)]
        # Masks of labels need none.
        to_image = torch.zeros_like(rows[0]) if ctx.needs_input_grad[0] else None
        to_field = _spread(*rows, to_image)
        return None if to_image is None else _volume(to_image, image), _volume(to_field, field)


class CompiledFlow(torch.autograd.Function):
    """`scripts.spatial.integrate` on the CPU."""

    @staticmethod
    def forward(ctx: Any, velocity: Tensor, steps: int) -> Tensor:
        fields = [_rows(velocity, velocity.dtype) / 2.0**steps]
        for _ in range(steps):
            fields.append(_sampled(fields[-1], fields[-1]).add_(fields[-1]))
        ctx.save_for_backward(*fields[:-1])
        return _volume(fields[-1], velocity)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows = _rows(gradient, gradient.dtype)
        for field in reversed(ctx.saved_tensors):
            total = rows.clone()
            rows = total.add_(_spread(field, field, rows, total))
        return _volume(rows / 2.0 ** len(ctx.saved_tensors), gradient), None


def _rows(volume: Tensor, dtype: torch.dtype) -> Tensor:
    """`(B, C, D, H, W)` as `(B, D, H, W, C)`, C padded with zeros to whole vectors, contiguous."""
    places = volume.movedim(1, -1)
    channels = places.shape[-1]
    if channels % _VECTOR == 0:
        return places.to(dtype).contiguous()
    rows = places.new_zeros([*places.shape[:-1], -(-channels // _VECTOR) * _VECTOR], dtype=dtype)
    for channel in range(channels):  # all at once would take twice as long
        rows[..., channel] = places[..., channel]
    return rows


def _volume(rows: Tensor, like: Tensor) -> Tensor:
    """Rows as a volume with the shape, dtype and memory layout of another."""
    return torch.empty_like(like).copy_(rows[..., : like.shape[1]].movedim(-1, 1))


def _sampled(image: Tensor, field: Tensor) -> Tensor:
    sampled = torch.empty_like(image)
    for rows in zip(image, field, sampled, strict=True):
        _call("sample", *rows)
    return sampled


def _spread(image: Tensor, field: Tensor, gradient: Tensor, to_image: Tensor | None) -> Tensor:
    """Add to the image's gradient, where it is wanted, and return that of the field."""
    to_field = torch.empty_like(field)
    for i, rows in enumerate(zip(image, field, gradient, strict=True)):
        _call("spread", *rows, None if to_image is None else to_image[i], to_field[i])
    return to_field


def _call(name: str, image: Tensor, *others: Tensor | None) -> None:
    """Call a function of the library with rows `(D, H, W, C)`."""
    function = getattr(library(), f"{name}_{_REALS[image.dtype]}")
    pointers = [c_void_p(None if rows is None else rows.data_ptr()) for rows in (image, *others)]
    sizes = [*image.shape[:3], image.shape[3] // _VECTOR, torch.get_num_threads()]
    function(*pointers, *map(c_int64, sizes))
