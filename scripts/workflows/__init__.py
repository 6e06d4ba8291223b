"""What the configs name beyond MONAI: the pieces of training, evaluation and inference."""

from scripts.workflows.checkpoints import BestModel, LastCheckpoint, load_weights
from scripts.workflows.inference import SaveRegistration, registration_pairs
from scripts.workflows.progress import History, Progress
from scripts.workflows.start import flag, start, start_training, supports_bf16
from scripts.workflows.steps import (
    LastValidation,
    PaddedInferer,
    PyramidInferer,
    evaluate_batch,
    lncc,
    prepare_training_batch,
    score_inputs,
)
from scripts.workflows.tables import LabelTable, MetricTable

__all__ = [
    "BestModel",
    "History",
    "LabelTable",
    "LastCheckpoint",
    "LastValidation",
    "MetricTable",
    "PaddedInferer",
    "Progress",
    "PyramidInferer",
    "SaveRegistration",
    "evaluate_batch",
    "flag",
    "lncc",
    "load_weights",
    "prepare_training_batch",
    "registration_pairs",
    "score_inputs",
    "start",
    "start_training",
    "supports_bf16",
]
