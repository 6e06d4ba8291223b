"""Intensities of tissues: what a label of FreeSurfer's numbering looks like in a scan.

Labels as in SynthSeg's training maps (Billot et al., MedIA 2023): FreeSurfer's numbers for the brain, numbers above 500
for the rest of the head.
"""

import torch
from torch import Tensor

EXTRACEREBRAL = 500  # labels above it lie outside the dura
CSF_AROUND = 24  # cerebrospinal fluid around the brain, which skull stripping keeps in part
LARGEST_LABEL = 1023

# Mean intensity in T1-weighted scans, white matter being 1: what the FreeSurfer segmentations of two people of
# AOMIC-PIOP2 (CC0, 3 T) show, rounded. Labels that are not named are drawn at random.
_T1 = {
    1.00: (2, 41, 7, 46, 13, 52),  # white matter, also of the cerebellum; pallidum
    0.97: (16, 28, 60, 85),  # brain stem, ventral diencephalon, optic chiasm
    0.90: (10, 49),  # thalamus
    0.82: (12, 51),  # putamen
    0.71: (11, 50),  # caudate
    0.66: (8, 47, 17, 53, 18, 54, 26, 58, 25, 57),  # cerebellar cortex, hippocampus, amygdala, accumbens; lesions
    0.59: (3, 42),  # cerebral cortex
    0.50: (136, 163, 137, 164, 30, 62),  # choroid plexus, vessels
    0.25: (4, 43, 5, 44, 14, 15, 72, 24),  # cerebrospinal fluid
}
_LEFT = (2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 17, 18, 25, 26, 28, 30, 136, 137)
_RIGHT = (41, 42, 43, 44, 46, 47, 49, 50, 51, 52, 53, 54, 57, 58, 60, 62, 163, 164)
_SPREAD = 0.06  # standard deviation between scans, of each label on its own
_FLUID = 0.45  # what is darker holds no tissue
_DARK_BONE = 515


def t1_contrast(generator: torch.Generator) -> Tensor:
    """Intensity of each label in one T1-weighted scan.

    Grey against white matter and fluid against grey vary from scan to scan, and each label a little on its own.

    Args:
        generator: of the device that the result is on.

    Returns:
        `(1024,)`, background 0, white matter about 1.
    """
    device = generator.device
    means = random_contrast(generator)
    for mean, labels in _T1.items():
        means[list(labels)] = mean
    means[_DARK_BONE] *= 0.2
    tissue = means[:EXTRACEREBRAL]
    # Straight lines through white matter: a stretch of all that is darker, then of what is darker than the cortex.
    stretch = 1 + 0.15 * torch.randn(2, generator=generator, device=device)
    tissue = 1 - (1 - tissue) * stretch[0]
    fluid = tissue < _FLUID
    tissue = torch.where(fluid, tissue * stretch[1].clamp(0.3, 1.7), tissue)
    spread = torch.where(fluid, 0.5 * _SPREAD, _SPREAD)
    tissue = tissue + spread * torch.randn(EXTRACEREBRAL, generator=generator, device=device)
    means[:EXTRACEREBRAL] = tissue.clamp(min=0.05)
    return _symmetric(means)


def random_contrast(generator: torch.Generator) -> Tensor:
    """Intensity of each label in a scan of no known contrast, each between 0.05 and 1.

    Args:
        generator: of the device that the result is on.

    Returns:
        `(1024,)`, background 0.
    """
    means = 0.05 + 0.95 * torch.rand(LARGEST_LABEL + 1, generator=generator, device=generator.device)
    return _symmetric(means)


def _symmetric(means: Tensor) -> Tensor:
    """Both halves of a brain look alike; background is 0."""
    means[list(_RIGHT)] = means[list(_LEFT)]
    means[0] = 0
    return means
