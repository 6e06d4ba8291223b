"""What the configs name beyond MONAI: the pieces of training, evaluation and inference."""

from scripts.processes import share
from scripts.workflows.checkpoints import BestModel, LastCheckpoint, load_weights
from scripts.workflows.figures import Measure
from scripts.workflows.jobs import registration_jobs, shared_jobs
from scripts.workflows.outcomes import Attempt, Outcomes
from scripts.workflows.progress import History, Progress
from scripts.workflows.refinement import Refine
from scripts.workflows.registration import AlignPair, Invert, ReadPair, ToNetworkGrid, ToWorld, as_it_is, predict_pair
from scripts.workflows.saving import SaveRegistration, SaveSubmission, zip_submission
from scripts.workflows.start import (
    QualityError,
    flag,
    join,
    own_device,
    report_error,
    start,
    start_registration,
    start_training,
    supports_bf16,
)
from scripts.workflows.steps import (
    BatchWithLabels,
    LastValidation,
    PaddedInferer,
    PyramidInferer,
    SharedEvaluator,
    evaluate_batch,
    lncc,
    prepare_training_batch,
    score_inputs,
)
from scripts.workflows.tables import LabelTable, MetricTable, RegistrationTable
from scripts.workflows.training import (
    AverageGradients,
    ClipGradients,
    Curriculum,
    ExponentialMovingAverage,
    TimeLimit,
    epochs_for,
    warmup_then_decay,
)
from scripts.workflows.training_step import TrainingStep

__all__ = [
    "AlignPair",
    "Attempt",
    "AverageGradients",
    "BatchWithLabels",
    "BestModel",
    "ClipGradients",
    "Curriculum",
    "ExponentialMovingAverage",
    "History",
    "Invert",
    "LabelTable",
    "LastCheckpoint",
    "LastValidation",
    "Measure",
    "MetricTable",
    "Outcomes",
    "PaddedInferer",
    "Progress",
    "PyramidInferer",
    "QualityError",
    "ReadPair",
    "Refine",
    "RegistrationTable",
    "SaveRegistration",
    "SaveSubmission",
    "SharedEvaluator",
    "TimeLimit",
    "ToNetworkGrid",
    "ToWorld",
    "TrainingStep",
    "as_it_is",
    "epochs_for",
    "evaluate_batch",
    "flag",
    "join",
    "lncc",
    "load_weights",
    "own_device",
    "predict_pair",
    "prepare_training_batch",
    "registration_jobs",
    "report_error",
    "score_inputs",
    "share",
    "shared_jobs",
    "start",
    "start_registration",
    "start_training",
    "supports_bf16",
    "warmup_then_decay",
    "zip_submission",
]
