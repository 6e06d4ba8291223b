# SPDX-License-Identifier: Apache-2.0
"""Training, as configs/train.json names its parts: batches, steps, handlers of the trainer, checkpoints."""

from scripts.training.averaging import ExponentialMovingAverage
from scripts.training.batches import BatchWithLabels, prepare_training_batch
from scripts.training.checkpoints import BestModel, LastCheckpoint
from scripts.training.gradients import AverageGradients, ClipGradients
from scripts.training.history import History
from scripts.training.schedule import Curriculum, TimeLimit, epochs_for, warmup_then_decay
from scripts.training.start import start_training
from scripts.training.step import TrainingStep
from scripts.training.validation import LastValidation

__all__ = [
    "AverageGradients",
    "BatchWithLabels",
    "BestModel",
    "ClipGradients",
    "Curriculum",
    "ExponentialMovingAverage",
    "History",
    "LastCheckpoint",
    "LastValidation",
    "TimeLimit",
    "TrainingStep",
    "epochs_for",
    "prepare_training_batch",
    "start_training",
    "warmup_then_decay",
]
