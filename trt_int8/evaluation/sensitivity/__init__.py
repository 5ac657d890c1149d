"""Find the nodes that lose accuracy in INT8, and the largest set of INT8 nodes within a budget."""

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
