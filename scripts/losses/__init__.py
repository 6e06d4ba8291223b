# SPDX-License-Identifier: Apache-2.0
"""Training losses: similarity of the images, smoothness and folding of the fields, and overlap of labels."""

from scripts.losses.folding import FoldingLoss
from scripts.losses.labeled import LabeledLoss
from scripts.losses.lncc import LNCCLoss
from scripts.losses.registration import RegistrationLoss
from scripts.losses.smoothness import SmoothnessLoss

__all__ = ["FoldingLoss", "LNCCLoss", "LabeledLoss", "RegistrationLoss", "SmoothnessLoss"]
