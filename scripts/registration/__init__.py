"""What configs/inference.json names: jobs, the typed pair, steps, refinement, measuring, saving."""

from scripts.registration.jobs import ROLES, registration_jobs, shared_jobs
from scripts.registration.measuring import landmark_error, measure
from scripts.registration.outcomes import Attempt, Outcomes
from scripts.registration.pair import (
    ImageFiles,
    Job,
    LoadedImage,
    LoadedPair,
    MeasuredRegistration,
    PredictedPair,
    PreparedPair,
    Registration,
    advanced,
)
from scripts.registration.refinement import read_steps, refine, refine_pair
from scripts.registration.reuse import apply, convert, jacobian, points
from scripts.registration.saving import save_pair
from scripts.registration.start import start_registration
from scripts.registration.steps import (
    align_pair,
    as_it_is,
    fuse,
    invert,
    predict_pair,
    print_warnings,
    read_init,
    read_pair,
    to_network_grid,
)
from scripts.registration.submission import save_submission, zip_submission
from scripts.registration.summary import RegistrationTable

__all__ = [
    "ROLES",
    "Attempt",
    "ImageFiles",
    "Job",
    "LoadedImage",
    "LoadedPair",
    "MeasuredRegistration",
    "Outcomes",
    "PredictedPair",
    "PreparedPair",
    "Registration",
    "RegistrationTable",
    "advanced",
    "align_pair",
    "apply",
    "as_it_is",
    "convert",
    "fuse",
    "invert",
    "jacobian",
    "landmark_error",
    "measure",
    "points",
    "predict_pair",
    "print_warnings",
    "read_init",
    "read_pair",
    "read_steps",
    "refine",
    "refine_pair",
    "registration_jobs",
    "save_pair",
    "save_submission",
    "shared_jobs",
    "start_registration",
    "to_network_grid",
    "zip_submission",
]
