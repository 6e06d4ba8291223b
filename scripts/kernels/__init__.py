"""What torch does slowly on CPUs in training, in C++: the sources, and what compiles and calls them."""

from scripts.kernels.library import call, library

__all__ = ["call", "library"]
