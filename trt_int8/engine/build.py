"""The whole chain in one call: calibrate → quantize → build → report."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy.typing as npt
import onnx

from trt_int8 import atomic
from trt_int8.calibration.calibration import Calibration, calibrate
from trt_int8.engine.explicit import Plan, build_explicit, default_log
from trt_int8.engine.log import BuildLog
from trt_int8.engine.tensorrt import load
from trt_int8.errors import BuildError, OutputError
from trt_int8.model.load import load_model
from trt_int8.quantization.quantized import Quantized, has_qdq, quantize
from trt_int8.ranges.ranges import Ranges
from trt_int8.report import PrecisionReport


@dataclass(frozen=True, eq=False)
class BuildResult:
    """What `build_engine` made.

    Attributes:
        engine: the engine file.
        log: the verbose log TensorRT wrote while building.
        plan: the engine itself, its target and what built it.
        route: ``explicit``: INT8 was asked for by Q/DQ nodes.
        reason: why this route.
        report: which layers run in INT8, read from the log.
        calibration: None if the ranges were given or the model held Q/DQ nodes.
        quantized: None if the model held Q/DQ nodes already.
    """

    engine: Path
    log: Path
    plan: Plan
    route: str
    reason: str
    report: PrecisionReport
    calibration: Calibration | None
    quantized: Quantized | None


def build_engine(
    model: onnx.ModelProto | str | os.PathLike[str],
    engine: str | os.PathLike[str],
    *,
    batches: Iterable[Mapping[str, npt.ArrayLike]] | None = None,
    ranges: Ranges | None = None,
    algorithm: str = "entropy",
    target: str | None = None,
    log: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
) -> BuildResult:
    """Build an INT8 engine and report which layers got INT8.

    A model with Q/DQ nodes is built as it is. Any other needs ``batches`` to calibrate with, or
    ``ranges``. The engine file appears only after a successful build, whole; the log always stays.

    Args:
        model: trained float model, or one with Q/DQ nodes.
        engine: file for the engine.
        batches: calibration data, any iterable of ``{input name: array}``.
        ranges: dynamic ranges instead of data (`CalibrationCache.read(…).ranges()`).
        algorithm: calibration algorithm.
        target: ``sm75`` …, or ``current`` for the GPU in this machine; None: `TensorRT.default_target`.
        log: file for TensorRT's verbose log; None puts it beside the engine, as ``.log``.
        batch_size: the largest batch, for models whose first axis is dynamic.

    Raises:
        ValueError: both or neither of ``batches`` and ``ranges`` for a float model.
        BuildError: TensorRT refused the model; carries its lines.
        TrtInt8Error: anything else that fails on the way; see `trt_int8.errors`.
    """
    engine = Path(engine)
    log_path = default_log(engine) if log is None else Path(log)
    loaded = load_model(model)
    calibration: Calibration | None = None
    quantized: Quantized | None = None
    if has_qdq(loaded):
        if batches is not None or ranges is not None:
            raise BuildError(
                "the model holds Q/DQ nodes, which say what runs in INT8 and with which scales; "
                "leave out the data and the cache, or start from the float model"
            )
        reason = "the model holds Q/DQ nodes"
    elif (batches is None) == (ranges is None):
        raise ValueError("a float model needs calibration batches or ranges, one of the two")
    else:
        reason = "Q/DQ nodes were inserted from calibrated ranges"
    tensorrt = load(target=target)
    target = tensorrt.resolve_target(target)
    _require_writable(engine)
    _require_writable(log_path)
    if batches is not None:
        calibration = calibrate(loaded, batches, algorithm=algorithm)
        ranges = calibration.ranges
    if ranges is not None:
        quantized = quantize(loaded, ranges)
        loaded = quantized.model
    with BuildLog(log_path) as record:
        plan = build_explicit(loaded, tensorrt=tensorrt, log=record, target=target, batch_size=batch_size)
    atomic.write_bytes(engine, plan.data)
    report = PrecisionReport.from_log(log_path)
    return BuildResult(engine, log_path, plan, "explicit", reason, report, calibration, quantized)


def _require_writable(path: Path) -> None:
    """Find out before minutes of calibration that a result has nowhere to go."""
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give a file name")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: the folder {path.parent} is not writable; choose another")
