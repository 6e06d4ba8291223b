"""What is handed on: the network in other formats, the bundle as the Model Zoo wants it."""

from scripts.release.exports import exports
from scripts.release.packaging import package

__all__ = [
    "exports",
    "package",
]
