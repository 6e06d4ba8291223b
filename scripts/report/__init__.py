"""Quality control: one picture per registration, and the curves of a training.

Arrays are on RAS axes, `(X, Y, Z)`; fields are `(3, X, Y, Z)` in voxels, pull-back.
"""

from scripts.report.curve import loss_curve
from scripts.report.picture import registration_picture

__all__ = ["loss_curve", "registration_picture"]
