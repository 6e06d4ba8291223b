# SPDX-License-Identifier: Apache-2.0
"""The shared library of the C++ files in this folder.

It is compiled at its first use in a process, which takes some seconds, and not cached on disk, as it is specific to the
processor.
"""

import logging
import os
import shlex
import subprocess
from ctypes import CDLL, c_double, c_int64, c_void_p
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

_SOURCES = sorted(Path(__file__).parent.glob("*.cpp"))
_FLAGS = ("-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC", "-pthread")
_SUFFIXES = {torch.bfloat16: "bfloat16", torch.float32: "float", torch.float64: "double"}


@cache
def library() -> CDLL | None:
    """The compiled library; None, with one logged warning, if it cannot be compiled.

    The compiler is `c++`, or the command in the environment variable `CXX`.
    """
    try:
        with TemporaryDirectory(prefix="msfbnet-") as folder:
            built = Path(folder) / "kernels.so"
            compiler = shlex.split(os.environ.get("CXX", "")) or ["c++"]
            subprocess.run([*compiler, *_FLAGS, *_SOURCES, "-o", built], capture_output=True, text=True, check=True)
            return CDLL(str(built))
    except (OSError, subprocess.CalledProcessError) as error:
        output = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
        reason = (output or str(error)).splitlines()[0]
        logging.getLogger(__name__).warning("training on a CPU is slower without compiled code: %s", reason)
        return None


def call(name: str, *arguments: Tensor | float | None) -> None:
    """Call a function of the library in the precision of the first tensor.

    Args:
        name: name of the function without the suffix of its precision.
        arguments: arguments of the function except the last, the number of threads. Tensors have the memory layout that
            the function expects; None is a null pointer.
    """
    first = next(argument for argument in arguments if isinstance(argument, Tensor))
    function = getattr(library(), f"{name}_{_SUFFIXES[first.dtype]}")
    function(*map(_as_c, arguments), c_int64(torch.get_num_threads()))


def _as_c(argument: Tensor | float | None) -> c_void_p | c_int64 | c_double:
    if isinstance(argument, Tensor):
        return c_void_p(argument.data_ptr())
    if argument is None:
        return c_void_p(None)
    return c_int64(argument) if isinstance(argument, int) else c_double(argument)
