# SPDX-License-Identifier: Apache-2.0
"""C++ code for operations that torch computes slowly on CPUs in training: its sources, compilation and calls."""

from scripts.kernels.library import call, library

__all__ = ["call", "library"]
