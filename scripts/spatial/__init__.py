"""Geometry of displacement fields, in voxels, on tensors.

A field has shape `(B, 3, D, H, W)` and float dtype; channel `c` is the displacement along array axis `c` in
voxels. It pulls back: `moved(x) = moving(x + field(x))`. Positions outside the image take its border value.
"""

from scripts.spatial.fields import bounded_spline, compose, integrate, invert, resize_field
from scripts.spatial.gradients import SelfAdjoint
from scripts.spatial.jacobian import jacobian_determinant
from scripts.spatial.resize import resize
from scripts.spatial.sample import sample
from scripts.spatial.warp import is_bare_cpu, is_compiled, is_trained, warp

__all__ = [
    "SelfAdjoint",
    "bounded_spline",
    "compose",
    "integrate",
    "invert",
    "is_bare_cpu",
    "is_compiled",
    "is_trained",
    "jacobian_determinant",
    "resize",
    "resize_field",
    "sample",
    "warp",
]
