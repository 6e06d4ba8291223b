"""What training minimises: similarity of the images and smoothness of the field, at every scale of the pyramid."""

from scripts.losses.folding import FoldingLoss
from scripts.losses.labelled import LabelledLoss
from scripts.losses.lncc import LNCCLoss
from scripts.losses.registration import RegistrationLoss
from scripts.losses.smoothness import SmoothnessLoss

__all__ = ["FoldingLoss", "LNCCLoss", "LabelledLoss", "RegistrationLoss", "SmoothnessLoss"]
