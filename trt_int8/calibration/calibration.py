"""Model and data in, ranges out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass

import onnx

from trt_int8.arguments import require_count
from trt_int8.batches.items import Batches, require_batches
from trt_int8.calibration.checkpoint import Checkpoint
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.run import collect, collect_held_out
from trt_int8.calibration.thresholds import method
from trt_int8.errors import CalibrationError
from trt_int8.graph.identity import model_id
from trt_int8.graph.model import Model, ModelLike
from trt_int8.graph.runtime import onnxruntime_version
from trt_int8.ranges.cache import CalibrationCache
from trt_int8.ranges.ranges import Ranges


@dataclass(frozen=True, eq=False)
class Calibration:
    """The result of `calibrate`.

    Attributes:
        ranges: tensor → amax.
        histograms: what the ranges were computed from; mergeable with other shards.
        algorithm: the method that chose the ranges.
        held_out: for ``auto``: the part of ``histograms`` that the other methods were judged by.
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

    def cache(self) -> CalibrationCache:
        """Return the calibration cache that holds the ranges, for TensorRT's calibrator of the algorithm."""
        return CalibrationCache.from_ranges(self.ranges, calibrator=method(self.algorithm).calibrator)

    def merge(self, other: Calibration) -> Calibration:
        """The calibration of both parts of the data, by this one's algorithm."""
        histograms = self.histograms.merge(other.histograms)
        if self.fitted is not None and self.held_out is not None:
            if other.fitted is None or other.held_out is None:
                raise CalibrationError(
                    f"a calibration by {self.algorithm!r} cannot be merged with one by {other.algorithm!r}, "
                    f"which held no batches out; calibrate both with {self.algorithm!r}"
                )
            fitted, held_out = self.fitted.merge(other.fitted), self.held_out.merge(other.held_out)
            return _judged(fitted, held_out, self.algorithm)
        return Calibration(histograms.ranges(algorithm=self.algorithm), histograms, self.algorithm)


def calibrate(
    model: ModelLike,
    batches: Batches,
    *,
    algorithm: str = "entropy",
    tensors: Collection[str] | None = None,
    threads: int | None = None,
    max_memory: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    scheduler: str | None = None,
    workers: int | None = None,
) -> Calibration:
    """Find the dynamic range of every float tensor of ``model`` on the CPU.

    Examples:
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
        tensors: only these; None: all. `trt_int8.quantization.required_tensors` names those that
            `quantize` reads.
        threads: batches in flight, each on a core of its own; None: as many as there are cores.
        max_memory: bytes the process may take: tensors that do not fit at a time are calibrated in several
            passes, for which ``batches`` must be iterable again.
        checkpoint: a file to save to on the way. Where it exists, calibration goes on from there, after
            reading the data up to there and holding it against what was counted. It stays when all is done.
        scheduler: address of a Dask scheduler whose workers do it (``tcp://host:8786``).
        workers: so many Dask workers on this machine do it.

    Raises:
        ModelError: the model cannot be read or run.
        DataError: a batch does not fit the model, or there is none, or it cannot be read again.
        CalibrationError: the model computes NaN, or holds Q/DQ nodes; a checkpoint of another calibration;
            too little memory; no Dask workers.
        OutputError: the checkpoint cannot be written.
        ValueError: no such algorithm, a number below 1, or options that exclude each other.
        TypeError: ``threads``, ``max_memory`` or ``workers`` is no whole number.
        MissingDependencyError: onnxruntime (or distributed) is not installed.
    """
    holds_out = method(algorithm).held_out
    for name, count in (("threads", threads), ("workers", workers)):
        require_count(count, name)
    require_count(max_memory, "max_memory", example="2 << 30, in bytes")
    given = Model.of(model)
    require_batches(batches, given.inputs)
    if given.has_qdq:
        raise CalibrationError(
            "the model holds Q/DQ nodes, so it has its ranges already; calibrate the float model"
        )
    if holds_out:
        if checkpoint is not None or max_memory is not None or scheduler is not None or workers is not None:
            raise ValueError(
                f"{algorithm!r} takes one process and one pass: leave checkpoint and max_memory out"
            )
        fitted, held_out = collect_held_out(given, batches, tensors=tensors, threads=threads)
        if not held_out.samples:
            raise CalibrationError(
                f"{algorithm!r} judges by batches that it holds out, and the data is a single batch; "
                "make batches smaller"
            )
        return _judged(fitted, held_out, algorithm)
    if scheduler is not None or workers is not None:
        if checkpoint is not None or threads is not None:
            raise ValueError(
                "checkpoint and threads are for calibration in this process, not on Dask workers"
            )
        from trt_int8.calibration.dask import cluster, collect_on

        with cluster(scheduler=scheduler, workers=workers) as client:
            histograms = collect_on(client, given.proto, batches, tensors=tensors, max_memory=max_memory)
    else:
        saved = None
        if checkpoint is not None:
            identity = _identity(given.proto, algorithm, tensors)
            saved = Checkpoint(checkpoint, identity=identity)
        histograms = collect(
            given, batches, tensors=tensors, threads=threads, max_memory=max_memory, checkpoint=saved
        )
    return Calibration(histograms.ranges(algorithm=algorithm), histograms, algorithm)


def _identity(model: onnx.ModelProto, algorithm: str, tensors: Collection[str] | None) -> dict[str, str]:
    """What must not change between a checkpoint and going on from it."""
    names = "all" if tensors is None else hashlib.sha256("\n".join(sorted(tensors)).encode()).hexdigest()
    return {
        "model": model_id(model),
        "algorithm": algorithm,
        "tensors": names,
        "onnxruntime": onnxruntime_version(),
    }


def _judged(fitted: Histograms, held_out: Histograms, algorithm: str) -> Calibration:
    ranges = fitted.ranges(algorithm=algorithm, held_out=held_out)
    return Calibration(ranges, fitted.merge(held_out), algorithm, held_out, fitted)
