"""Which tensors to recentre, and by how much; which not, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from trt_int8.batches.check import Batch
from trt_int8.calibration.histograms import Histograms
from trt_int8.calibration.run import collect
from trt_int8.errors import QuantizationError
from trt_int8.patterns import matching, nearest
from trt_int8.quantization.quantized import Quantized
from trt_int8.ranges.ranges import Ranges
from trt_int8.remedies.offsets import Offset, best_offset
from trt_int8.remedies.recentre import refusals


def candidates(
    model: onnx.ModelProto,
    plain: Quantized,
    globs: Sequence[str],
    *,
    ranges: Ranges,
    histograms: Histograms,
    held_out: Sequence[Batch],
) -> tuple[dict[str, Offset], tuple[str, ...]]:
    """Tensors to try in graph order, each with its offset; those passed over, each with the reason.

    Args:
        model: the float model.
        plain: the same, quantized.
        globs: names and globs of tensors.
        ranges, histograms: of its tensors.
        held_out: what offsets are chosen by (`best_offset`).

    Raises:
        QuantizationError: a tensor named in full cannot be recentred, or a glob fits none.
    """
    if not globs:
        return {}, ()
    wanted = _wanted(globs, list(histograms.tensors))
    reasons = _reasons(model, plain, wanted)
    possible = [name for name in wanted if reasons[name] is None]
    unseen = collect(model, held_out, tensors=possible).tensors if possible else {}
    found: dict[str, Offset] = {}
    for name in possible:
        amax = ranges[name].amax
        offset = best_offset(histograms.tensors[name], unseen=unseen[name], amax=amax)
        if offset is None:
            reasons[name] = "all its values are equal"
        else:
            found[name] = offset
    for name, reason in reasons.items():
        if reason is not None and name in globs:
            raise QuantizationError(f"{name!r} cannot be recentred: {reason}")
    passed_over = [f"{name}: {reason}" for name, reason in reasons.items() if reason is not None]
    return found, tuple(passed_over)


def _wanted(globs: Sequence[str], names: Sequence[str]) -> list[str]:
    wanted: set[str] = set()
    for glob in globs:
        fitting = matching(glob, names)
        if not fitting:
            raise QuantizationError(f"recentred={glob!r} fits no tensor; {nearest(glob, names)}")
        wanted.update(fitting)
    return [name for name in names if name in wanted]


def _reasons(model: onnx.ModelProto, plain: Quantized, names: Sequence[str]) -> dict[str, str | None]:
    """Why each tensor is not tried; None: it is."""
    reasons: Mapping[str, str | None] = refusals(model)
    floating = "what reads it stays float"
    return {name: reasons[name] or (None if name in plain.scales else floating) for name in names}
