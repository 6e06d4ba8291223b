# SPDX-License-Identifier: Apache-2.0
"""Handlers and functions of configs/evaluate.json, and the studies: comparison, calibration, benchmarks."""

from scripts.evaluation.benchmark import benchmark_training
from scripts.evaluation.calibration import calibrate_quality
from scripts.evaluation.comparison import compare
from scripts.evaluation.scoring import evaluate_batch, score_inputs
from scripts.evaluation.start import start_evaluation
from scripts.evaluation.tables import LabelTable, MetricTable

__all__ = [
    "LabelTable",
    "MetricTable",
    "benchmark_training",
    "calibrate_quality",
    "compare",
    "evaluate_batch",
    "score_inputs",
    "start_evaluation",
]
