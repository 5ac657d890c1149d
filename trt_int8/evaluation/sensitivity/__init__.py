"""Which nodes cost accuracy in INT8, and the largest set of them within a budget."""

from trt_int8.evaluation.sensitivity.evaluator import Evaluator, Score
from trt_int8.evaluation.sensitivity.measure import Measurements
from trt_int8.evaluation.sensitivity.search import (
    Budget,
    Found,
    NodeSensitivity,
    rank,
    samples_needed,
    search,
)

__all__ = [
    "Budget",
    "Evaluator",
    "Found",
    "Measurements",
    "NodeSensitivity",
    "Score",
    "rank",
    "samples_needed",
    "search",
]
