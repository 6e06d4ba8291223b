# SPDX-License-Identifier: Apache-2.0
"""Geometry of displacement fields, in voxels, on tensors.

A field has shape `(B, 3, D, H, W)` and float dtype; channel `c` is the displacement along array axis `c` in
voxels. It pulls back: `moved(x) = moving(x + field(x))`. Positions outside the image take the value at its border.
"""

from scripts.spatial.dispatch import is_cpu_inference, records_gradient, uses_kernels
from scripts.spatial.fields import bounded_spline, compose, integrate, resize_field
from scripts.spatial.gradients import SelfAdjoint
from scripts.spatial.jacobian import jacobian_determinant
from scripts.spatial.resize import resize
from scripts.spatial.sample import sample
from scripts.spatial.warp import warp

__all__ = [
    "SelfAdjoint",
    "bounded_spline",
    "compose",
    "integrate",
    "is_cpu_inference",
    "jacobian_determinant",
    "records_gradient",
    "resize",
    "resize_field",
    "sample",
    "uses_kernels",
    "warp",
]
