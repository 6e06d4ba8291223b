"""What configs/inference.json names: jobs, steps, refinement, measuring, saving."""

from scripts.registration.jobs import ROLES, registration_jobs, shared_jobs
from scripts.registration.measuring import Measure
from scripts.registration.outcomes import Attempt, Outcomes
from scripts.registration.refinement import Refine, refine
from scripts.registration.reuse import apply, convert, jacobian, points
from scripts.registration.saving import SaveRegistration
from scripts.registration.start import start_registration
from scripts.registration.steps import AlignPair, Invert, ReadPair, ToNetworkGrid, ToWorld, as_it_is, predict_pair
from scripts.registration.submission import SaveSubmission, zip_submission
from scripts.registration.summary import RegistrationTable

__all__ = [
    "ROLES",
    "AlignPair",
    "Attempt",
    "Invert",
    "Measure",
    "Outcomes",
    "ReadPair",
    "Refine",
    "RegistrationTable",
    "SaveRegistration",
    "SaveSubmission",
    "ToNetworkGrid",
    "ToWorld",
    "apply",
    "as_it_is",
    "convert",
    "jacobian",
    "points",
    "predict_pair",
    "refine",
    "registration_jobs",
    "shared_jobs",
    "start_registration",
    "zip_submission",
]
