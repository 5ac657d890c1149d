"""Precision reports: the layers of an engine that run in INT8, and why the others do not."""

from trt_int8.report.records import (
    Build,
    Candidate,
    Evidence,
    Layer,
    LoggedCalibration,
    Node,
    Reason,
    Tensor,
    Warnings,
)
from trt_int8.report.report import PrecisionReport

__all__ = [
    "Build",
    "Candidate",
    "Evidence",
    "Layer",
    "LoggedCalibration",
    "Node",
    "PrecisionReport",
    "Reason",
    "Tensor",
    "Warnings",
]
