# SPDX-License-Identifier: Apache-2.0
"""The registration network: shared encoder, shared auxiliary decoder, and pyramid decoder of MSFBs."""

from scripts.networks.auxiliary_decoder import AuxiliaryDecoder
from scripts.networks.encoder import Encoder
from scripts.networks.inferers import CascadeInferer, PaddedInferer, PyramidInferer
from scripts.networks.msfb import MSFB
from scripts.networks.msfbnet import MSFBNet

__all__ = ["MSFB", "AuxiliaryDecoder", "CascadeInferer", "Encoder", "MSFBNet", "PaddedInferer", "PyramidInferer"]
