"""Model and data in, ranges out."""

from __future__ import annotations

import os
from dataclasses import dataclass

import onnx

from trt_int8.batches.items import Batches
from trt_int8.calibration.collect import collect
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.thresholds import require_algorithm
from trt_int8.errors import CalibrationError
from trt_int8.model.load import load_model
from trt_int8.model.qdq import has_qdq
from trt_int8.ranges.ranges import Ranges


@dataclass(frozen=True, eq=False)
class Calibration:
    """The result of `calibrate`.

    Attributes:
        ranges: tensor → amax.
        histograms: what the ranges were computed from; mergeable with other shards.
        algorithm: the method that chose the ranges.
    """

    ranges: Ranges
    histograms: Histograms
    algorithm: str

    @property
    def samples(self) -> int:
        return self.histograms.samples

    def merge(self, other: Calibration) -> Calibration:
        """The calibration of both parts of the data, by this one's algorithm."""
        histograms = self.histograms.merge(other.histograms)
        return Calibration(histograms.ranges(algorithm=self.algorithm), histograms, self.algorithm)


def calibrate(
    model: onnx.ModelProto | str | os.PathLike[str],
    batches: Batches,
    *,
    algorithm: str = "entropy",
    threads: int | None = None,
) -> Calibration:
    """Find the dynamic range of every float tensor of ``model`` on the CPU.

    >>> import numpy as np
    >>> images = np.load("samples.npy")  # float32 [20, 1, 28, 28]
    >>> result = calibrate("model.onnx", [image[None] for image in images])
    >>> result.samples, len(result.ranges)
    (20, 10)
    >>> round(result.ranges["prob"].amax, 2)
    1.0

    Args:
        model: the trained float model.
        batches: any iterable of ``{input name: array}``, tuples or arrays (see
            `trt_int8.batches.items.as_batch`) with the dtypes and shapes the model takes.
        algorithm: ``entropy`` (TensorRT's published method), ``minmax``, ``percentile`` or ``mse``.
        threads: batches in flight, each on a core of its own; None: as many as there are cores.

    Raises:
        ModelError: the model cannot be read or run.
        DataError: a batch does not fit the model, or there is none.
        CalibrationError: the model computes NaN, or holds Q/DQ nodes.
        ValueError: no such algorithm.
        MissingDependencyError: onnxruntime is not installed.
    """
    require_algorithm(algorithm)
    loaded = load_model(model)
    if has_qdq(loaded):
        raise CalibrationError(
            "the model holds Q/DQ nodes, so it has its ranges already; calibrate the float model"
        )
    histograms = collect(loaded, batches, threads=threads)
    return Calibration(histograms.ranges(algorithm=algorithm), histograms, algorithm)
