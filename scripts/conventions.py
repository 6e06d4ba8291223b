# SPDX-License-Identifier: Apache-2.0
"""Names and numbers that the command line shares with the rooms: exit codes, formats of fields, a config.

`scripts.runtime` and `scripts.io` load torch; this loads nothing, so that `--help` answers at once.
"""

from typing import Literal

EXIT_BUG = 1
EXIT_USAGE = 2
EXIT_INPUT = 3  # input, or files that cannot be read or written
EXIT_MEMORY = 4
EXIT_QUALITY = 5
EXIT_INTERRUPTED = 130

TRAIN = "configs/train.json"  # relative to the bundle's root

FieldFormat = Literal["itk", "dispvect", "h5", "fsl", "learn2reg", "monai", "absolute"]
