# SPDX-License-Identifier: Apache-2.0
"""The studies of `python -m scripts study`: each by one command, resumable, with a table and a figure of its own."""

from scripts.studies.ablations import study_ablations
from scripts.studies.alignment import study_alignment
from scripts.studies.deformations import study_deformations
from scripts.studies.signatures import study_signatures

__all__ = ["study_ablations", "study_alignment", "study_deformations", "study_signatures"]
