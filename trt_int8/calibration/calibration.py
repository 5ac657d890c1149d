"""Model and data in, ranges out."""

from __future__ import annotations

import os
from dataclasses import dataclass

import onnx

from trt_int8.batches.items import Batches
from trt_int8.calibration.collect import collect, collect_parts
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.thresholds import require_algorithm
from trt_int8.errors import CalibrationError
from trt_int8.model.load import load_model
from trt_int8.model.qdq import has_qdq
from trt_int8.ranges.ranges import Ranges

#: The method that chooses among the others, tensor by tensor.
AUTO = "auto"


@dataclass(frozen=True, eq=False)
class Calibration:
    """The result of `calibrate`.

    Attributes:
        ranges: tensor → amax.
        histograms: what the ranges were computed from; mergeable with other shards.
        algorithm: the method that chose the ranges.
        held_out: for ``auto``: the part of ``histograms`` that the methods were judged by.
        fitted: for ``auto``: the rest.
    """

    ranges: Ranges
    histograms: Histograms
    algorithm: str
    held_out: Histograms | None = None
    fitted: Histograms | None = None

    @property
    def samples(self) -> int:
        return self.histograms.samples

    def merge(self, other: Calibration) -> Calibration:
        """The calibration of both parts of the data, by this one's algorithm."""
        histograms = self.histograms.merge(other.histograms)
        if self.fitted is not None and self.held_out is not None:
            if other.fitted is None or other.held_out is None:
                raise CalibrationError(
                    f"an 'auto' calibration cannot be merged with one by {other.algorithm!r}, which held no "
                    "batches out; calibrate both with 'auto'"
                )
            return _judged(self.fitted.merge(other.fitted), self.held_out.merge(other.held_out))
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
        algorithm: ``entropy`` (TensorRT's published method), ``minmax``, ``percentile``, ``mse``, or
            ``auto``: for each tensor the one with the best SQNR on every fourth batch, which is held out.
        threads: batches in flight, each on a core of its own; None: as many as there are cores.

    Raises:
        ModelError: the model cannot be read or run.
        DataError: a batch does not fit the model, or there is none.
        CalibrationError: the model computes NaN, or holds Q/DQ nodes.
        ValueError: no such algorithm.
        MissingDependencyError: onnxruntime is not installed.
    """
    if algorithm != AUTO:
        require_algorithm(algorithm, more=[AUTO])
    loaded = load_model(model)
    if has_qdq(loaded):
        raise CalibrationError(
            "the model holds Q/DQ nodes, so it has its ranges already; calibrate the float model"
        )
    if algorithm == AUTO:
        fitted, held_out = collect_parts(
            loaded, batches, part=lambda number: int(number % 4 == 1), parts=2, threads=threads
        )
        if not held_out.samples:
            raise CalibrationError(
                "'auto' judges by batches that it holds out, and the data is a single batch; "
                "make batches smaller"
            )
        return _judged(fitted, held_out)
    histograms = collect(loaded, batches, threads=threads)
    return Calibration(histograms.ranges(algorithm=algorithm), histograms, algorithm)


def _judged(fitted: Histograms, held_out: Histograms) -> Calibration:
    from trt_int8.remedies.auto import auto_ranges

    return Calibration(auto_ranges(fitted, held_out), fitted.merge(held_out), AUTO, held_out, fitted)
