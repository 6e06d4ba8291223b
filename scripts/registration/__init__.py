# SPDX-License-Identifier: Apache-2.0
"""What configs/inference.json names: jobs, the typed pair, steps, refinement, measuring, saving."""

from scripts.registration.contrasts import compare_contrasts, print_pair_warnings, reject_worse
from scripts.registration.fingerprint import (
    described_init,
    described_network,
    json_sha256,
    source_digest,
    source_digests,
)
from scripts.registration.jobs import listed_jobs, registration_jobs, shared_jobs, unfinished_jobs
from scripts.registration.masks import Strip, described_strip, read_strip
from scripts.registration.measuring import label_overlap, landmark_error, measure, regularity, similarity
from scripts.registration.outcomes import Attempt, Outcomes
from scripts.registration.pair import (
    ROLES,
    AlignedPair,
    Failure,
    ImageSources,
    Job,
    LoadedImage,
    LoadedPair,
    MeasuredRegistration,
    PredictedPair,
    PreparedPair,
    Registration,
    advanced,
)
from scripts.registration.prediction import as_it_is, backward_field, predict, predict_pair
from scripts.registration.quality import QUALITY_COEFFICIENTS, QUALITY_LIMIT, estimate_quality, evidence
from scripts.registration.refinement import refine, refine_pair
from scripts.registration.reuse import (
    apply,
    composed,
    computed_once,
    convert,
    interpolation_mode,
    jacobian,
    moved_volumes,
    own_grid,
    points,
)
from scripts.registration.saving import LAST, moved_image, save_pair, save_registration
from scripts.registration.start import start_registration
from scripts.registration.steps import (
    Init,
    align_pair,
    fuse,
    invert,
    print_warnings,
    read_init,
    read_pair,
    to_network_grid,
)
from scripts.registration.submission import save_submission, submission_fields, zip_submission
from scripts.registration.summary import RegistrationTable

__all__ = [
    "LAST",
    "QUALITY_COEFFICIENTS",
    "QUALITY_LIMIT",
    "ROLES",
    "AlignedPair",
    "Attempt",
    "Failure",
    "ImageSources",
    "Init",
    "Job",
    "LoadedImage",
    "LoadedPair",
    "MeasuredRegistration",
    "Outcomes",
    "PredictedPair",
    "PreparedPair",
    "Registration",
    "RegistrationTable",
    "Strip",
    "advanced",
    "align_pair",
    "apply",
    "as_it_is",
    "backward_field",
    "compare_contrasts",
    "composed",
    "computed_once",
    "convert",
    "described_init",
    "described_network",
    "described_strip",
    "estimate_quality",
    "evidence",
    "fuse",
    "interpolation_mode",
    "invert",
    "jacobian",
    "json_sha256",
    "label_overlap",
    "landmark_error",
    "listed_jobs",
    "measure",
    "moved_image",
    "moved_volumes",
    "own_grid",
    "points",
    "predict",
    "predict_pair",
    "print_pair_warnings",
    "print_warnings",
    "read_init",
    "read_pair",
    "read_strip",
    "refine",
    "refine_pair",
    "registration_jobs",
    "regularity",
    "reject_worse",
    "save_pair",
    "save_registration",
    "save_submission",
    "shared_jobs",
    "similarity",
    "source_digest",
    "source_digests",
    "start_registration",
    "submission_fields",
    "to_network_grid",
    "unfinished_jobs",
    "zip_submission",
]
