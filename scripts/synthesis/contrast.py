# SPDX-License-Identifier: Apache-2.0
"""Random contrasts: the intensity of each label of a label map in a scan.

Labels are those of SynthSeg's training maps (Billot et al., MedIA 2023): FreeSurfer's values for the brain, values
above 500 for the rest of the head.
"""

import torch
from torch import Tensor

EXTRACEREBRAL = 500  # labels above this one are outside the dura
CSF_AROUND = 24  # cerebrospinal fluid around the brain, which skull stripping removes in part
LARGEST_LABEL = 1023

# Mean intensity of labels in T1-weighted scans relative to white matter, rounded, measured with the FreeSurfer
# segmentations of two subjects of AOMIC-PIOP2 (CC0, 3 T). The intensity of other labels is random.
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
_DEVIATION = 0.06  # standard deviation of a label's intensity between scans
_FLUID = 0.45  # labels with a lower intensity are fluid
_DARK_BONE = 515


def t1_contrast(generator: torch.Generator) -> Tensor:
    """Random intensity of each label in a T1-weighted scan.

    The contrast between gray and white matter, the contrast between fluid and gray matter, and the intensity of each
    label vary.

    Args:
        generator: random generator of the device that computes.

    Returns:
        `(1024,)`: 0 for the background, about 1 for white matter.
    """
    device = generator.device
    means = random_contrast(generator)
    for mean, labels in _T1.items():
        means[list(labels)] = mean
    means[_DARK_BONE] *= 0.2
    tissue = means[:EXTRACEREBRAL]
    # Scale the distance of each intensity from white matter, then the intensity of fluid.
    stretch = 1 + 0.15 * torch.randn(2, generator=generator, device=device)
    tissue = 1 - (1 - tissue) * stretch[0]
    fluid = tissue < _FLUID
    tissue = torch.where(fluid, tissue * stretch[1].clamp(0.3, 1.7), tissue)
    deviation = torch.where(fluid, 0.5 * _DEVIATION, _DEVIATION)
    tissue = tissue + deviation * torch.randn(EXTRACEREBRAL, generator=generator, device=device)
    means[:EXTRACEREBRAL] = tissue.clamp(min=0.05)
    return _symmetric(means)


def random_contrast(generator: torch.Generator) -> Tensor:
    """Random intensity of each label, uniform in [0.05, 1].

    Args:
        generator: random generator of the device that computes.

    Returns:
        `(1024,)`: 0 for the background.
    """
    means = 0.05 + 0.95 * torch.rand(LARGEST_LABEL + 1, generator=generator, device=generator.device)
    return _symmetric(means)


def _symmetric(means: Tensor) -> Tensor:
    """Give right labels the intensity of the left ones, and the background 0, in place."""
    means[list(_RIGHT)] = means[list(_LEFT)]
    means[0] = 0
    return means
