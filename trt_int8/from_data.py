"""Samples in, Q/DQ model out: calibrate → quantize → correct biases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

import onnx

from trt_int8.batches.check import checked
from trt_int8.batches.items import Batches
from trt_int8.calibration.calibration import Calibration, calibrate
from trt_int8.calibration.thresholds import EXPLICIT
from trt_int8.model.inputs import input_specs
from trt_int8.quantization.placement import Placement
from trt_int8.quantization.quantized import Quantized, quantize
from trt_int8.quantization.required import required_tensors
from trt_int8.quantization.selection import Selection
from trt_int8.remedies.first import correct_by_first, first_batches


@dataclass(frozen=True, eq=False)
class FromData:
    """The result of `quantize_from_data`.

    Attributes:
        calibration: of the tensors that are quantized.
        quantized: the Q/DQ model.
    """

    calibration: Calibration
    quantized: Quantized


def quantize_from_data(
    model: onnx.ModelProto,
    batches: Batches,
    *,
    algorithm: str | None = None,
    placement: str | Placement = "tensorrt",
    selection: Selection | None = None,
    bias_correction: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> FromData:
    """Calibrate what the placement quantizes, insert Q/DQ pairs, and correct biases.

    Args:
        model: the float model; never changed.
        batches: read once; see `trt_int8.batches.items.as_batch`.
        algorithm: of `trt_int8.calibrate`; None: ``mse``.
        placement, selection: see `trt_int8.quantization.quantize`.
        bias_correction: see `trt_int8.remedies.first.correct_by_first`.
        tell: gets a line about the biases.

    Raises:
        TrtInt8Error: what `calibrate` and `quantize` raise.
    """
    chosen = selection or Selection()
    tensors = required_tensors(model, placement=placement, selection=chosen)
    iterator = iter(batches)
    first = first_batches(checked(iterator, input_specs(model))) if bias_correction else ()
    calibration = calibrate(model, chain(first, iterator), algorithm=algorithm or EXPLICIT, tensors=tensors)
    quantized = quantize(model, calibration.ranges, placement=placement, selection=chosen)
    if bias_correction:
        quantized, line = correct_by_first(model, quantized, first)
        tell(line)
    return FromData(calibration, quantized)
