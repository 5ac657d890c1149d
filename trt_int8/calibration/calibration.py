"""Calibrate a model: find the range of each tensor on samples."""

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
from trt_int8.calibration.run import collect, collect_held_back
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
        histograms: the source of the ranges; can be merged with those of other shards.
        algorithm: how the ranges were chosen.
        held_back: for ``auto``: the part of ``histograms`` on which the algorithms were evaluated.
        fitted: for ``auto``: the rest.
    """

    ranges: Ranges
    histograms: Histograms
    algorithm: str
    held_back: Histograms | None = None
    fitted: Histograms | None = None

    @property
    def samples(self) -> int:
        return self.histograms.samples

    def cache(self) -> CalibrationCache:
        """Return the calibration cache that holds the ranges, for TensorRT's calibrator of the algorithm."""
        return CalibrationCache.from_ranges(self.ranges, calibrator=method(self.algorithm).calibrator)

    def merge(self, other: Calibration) -> Calibration:
        """Combine the calibrations of two parts of the data, with this one's algorithm."""
        histograms = self.histograms.merge(other.histograms)
        if self.fitted is not None and self.held_back is not None:
            if other.fitted is None or other.held_back is None:
                raise CalibrationError(
                    f"a calibration with {self.algorithm!r} cannot be merged with one with "
                    f"{other.algorithm!r}, which has no held-back batches; calibrate both with "
                    f"{self.algorithm!r}"
                )
            fitted, held_back = self.fitted.merge(other.fitted), self.held_back.merge(other.held_back)
            return _from_held_back(fitted, held_back, self.algorithm)
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
        algorithm: ``entropy`` (as TensorRT published it), ``minmax``, ``percentile``, ``mse``, or
            ``auto``: for each tensor the one with the best SQNR on every fourth batch, which is held back.
        tensors: the tensors to calibrate; None: all. `trt_int8.quantization.required_tensors` names those
            that `quantize` reads.
        threads: batches in flight, each on its own core; None: the number of cores.
        max_memory: limit of the process in bytes. If not all tensors fit, they are calibrated in several
            passes, and ``batches`` must be iterable again.
        checkpoint: a file to save to on the way. If it exists, the data up to there is compared with the
            saved digest, and calibration resumes. The file is not deleted.
        scheduler: address of a Dask scheduler whose workers calibrate (``tls://host:8786``). With ``tcp://``,
            whoever can reach it can run code as the workers and as you.
        workers: the number of Dask workers to start on this machine. Only this process can use them.

    Raises:
        ModelError: the model cannot be read or run.
        DataError: a batch does not fit the model, there is none, or the data cannot be read again.
        CalibrationError: the model computes NaN or has Q/DQ nodes; the checkpoint is of another calibration;
            there is too little memory or no Dask worker.
        OutputError: the checkpoint cannot be written.
        ValueError: no such algorithm, a number below 1, or arguments that exclude each other.
        TypeError: ``threads``, ``max_memory`` or ``workers`` is not a whole number.
        MissingDependencyError: onnxruntime (or distributed) is not installed.
    """
    holds_out = method(algorithm).held_back
    for name, count in (("threads", threads), ("workers", workers)):
        require_count(count, name)
    require_count(max_memory, "max_memory", example="2 << 30, in bytes")
    given = Model.of(model)
    require_batches(batches, given.inputs)
    if given.has_qdq:
        raise CalibrationError(
            "the model has Q/DQ nodes, so it has its ranges already; calibrate the float model"
        )
    if holds_out:
        if checkpoint is not None or max_memory is not None or scheduler is not None or workers is not None:
            raise ValueError(
                f"algorithm={algorithm!r} cannot be combined with checkpoint, max_memory or Dask workers"
            )
        fitted, held_back = collect_held_back(given, batches, tensors=tensors, threads=threads)
        if not held_back.samples:
            raise CalibrationError(
                f"algorithm={algorithm!r} needs at least two batches (one is held back); make batches smaller"
            )
        return _from_held_back(fitted, held_back, algorithm)
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
            saved = Checkpoint(checkpoint, identity=_identity(given.proto, algorithm, tensors))
        histograms = collect(
            given, batches, tensors=tensors, threads=threads, max_memory=max_memory, checkpoint=saved
        )
    return Calibration(histograms.ranges(algorithm=algorithm), histograms, algorithm)


def _identity(model: onnx.ModelProto, algorithm: str, tensors: Collection[str] | None) -> dict[str, str]:
    """Return what must be the same when a calibration resumes from a checkpoint."""
    names = "all" if tensors is None else hashlib.sha256("\n".join(sorted(tensors)).encode()).hexdigest()
    return {
        "model": model_id(model),
        "algorithm": algorithm,
        "tensors": names,
        "onnxruntime": onnxruntime_version(),
    }


def _from_held_back(fitted: Histograms, held_back: Histograms, algorithm: str) -> Calibration:
    ranges = fitted.ranges(algorithm=algorithm, held_back=held_back)
    return Calibration(ranges, fitted.merge(held_back), algorithm, held_back, fitted)
