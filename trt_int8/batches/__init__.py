"""Calibration data: samples on disk or in memory become checked batches ``{input name: array}``."""

from trt_int8.batches.arrays import open_arrays
from trt_int8.batches.batching import LAST, batched
from trt_int8.batches.check import Batch, checked
from trt_int8.batches.source import ArraySamples, Samples

__all__ = ["LAST", "ArraySamples", "Batch", "Samples", "batched", "checked", "open_arrays"]
