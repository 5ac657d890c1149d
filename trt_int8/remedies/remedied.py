"""Quantize with remedies: each is applied where it measurably helps, and listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8 import progress
from trt_int8.analysis.sensitivity.judge import Judge
from trt_int8.calibration.histograms import Histograms
from trt_int8.errors import QuantizationError
from trt_int8.implicit.patterns import matching, nearest
from trt_int8.quantization.placement import Placement
from trt_int8.quantization.quantized import Quantized, quantize
from trt_int8.quantization.selection import Selection
from trt_int8.ranges.ranges import Ranges, TensorRange
from trt_int8.remedies.bias_correction import correct_bias
from trt_int8.remedies.offsets import Offset, best_offset
from trt_int8.remedies.recentre import centred_name, recentrable, recentre, refusal

#: Output SQNR a remedy must add, in dB: less is the noise of the measurement.
GAIN_DB = 0.1
#: Samples that remedies are judged by.
JUDGED_BY = 256
Batches = Sequence[Mapping[str, npt.NDArray[np.generic]]]


@dataclass(frozen=True, eq=False)
class Remedied:
    """The result of `quantize_with_remedies`.

    Attributes:
        quantized: the Q/DQ model, remedies included.
        lines: what was tried, with the gain in dB, for people.
        sqnr_db: of the worst output, on the batches it was judged by: before and after.
    """

    quantized: Quantized
    lines: tuple[str, ...]
    sqnr_db: tuple[float, float]


def quantize_with_remedies(
    model: onnx.ModelProto,
    ranges: Ranges,
    histograms: Histograms,
    batches: Batches,
    *,
    recentred: Sequence[str] = (),
    bias_correction: bool = False,
    placement: str | Placement = "tensorrt",
    selection: Selection | None = None,
) -> Remedied:
    """`trt_int8.quantization.quantize`, and remedies where they raise the SQNR of the worst output.

    Args:
        model: the float model.
        ranges, histograms: of its tensors.
        batches: what the remedies are judged by; run once for each tensor tried.
        recentred: names or globs of tensors to recentre; those that cannot be are passed over, unless
            named in full.
        bias_correction: correct biases too.
        placement, selection: see `quantize`.

    Raises:
        QuantizationError: a tensor named in full cannot be recentred, a glob fits none, or `quantize` fails.
    """
    plain = quantize(model, ranges, placement=placement, selection=selection)
    judge = Judge(model, batches)
    first = best = judge(plain.model).sqnr_db
    chosen, base = plain, model
    current, lines = ranges, list[str]()
    candidates = _candidates(model, histograms, recentred, plain)
    for tensor, offset in progress.track(
        candidates.items(), "recentring", total=len(candidates), unit="tensors"
    ):
        tried = recentre(base, {tensor: offset.value})
        centred = {centred_name(tensor): TensorRange(127 * offset.scale, source=f"recentred {tensor}")}
        extended = Ranges({**current, **centred})
        attempt = quantize(tried, extended, placement=placement, selection=selection)
        sqnr = judge(attempt.model).sqnr_db
        gain = sqnr - best
        kept = gain >= GAIN_DB
        verdict = "" if kept else ", so it stays as it was"
        lines.append(f"recentred {tensor} by {offset.value:g}: {gain:+.2f} dB{verdict}")
        if kept:
            chosen, base, current, best = attempt, tried, extended, sqnr
    if bias_correction:
        corrected = correct_bias(model, chosen.model, batches)
        sqnr = judge(corrected).sqnr_db
        kept = sqnr - best > 0
        lines.append(
            f"bias correction: {sqnr - best:+.2f} dB{'' if kept else ', so biases stay as they were'}"
        )
        if kept:
            chosen, best = replace(chosen, model=corrected), sqnr
    return Remedied(chosen, tuple(lines), (first, best))


def first_batches(
    batches: Iterable[Mapping[str, npt.NDArray[np.generic]]], *, samples: int = JUDGED_BY
) -> Batches:
    """As many batches as hold ``samples`` samples: what remedies are judged by stays in memory."""
    taken: list[Mapping[str, npt.NDArray[np.generic]]] = []
    count = 0
    iterator = iter(batches)
    while count < samples and (batch := next(iterator, None)) is not None:
        taken.append(batch)
        first = next(iter(batch.values()))
        count += len(first) if first.ndim else 1
    return taken


def _candidates(
    model: onnx.ModelProto, histograms: Histograms, globs: Sequence[str], plain: Quantized
) -> dict[str, Offset]:
    """Tensors to try, in graph order, with the offset to try."""
    found: dict[str, Offset] = {}
    possible = recentrable(model) if globs else ()
    for glob in globs:
        names = matching(glob, histograms.tensors)
        if not names:
            raise QuantizationError(
                f"--recentre {glob!r} fits no tensor; {nearest(glob, list(histograms.tensors))}"
            )
        for name in names:
            reason = None if name in possible else refusal(model, name) if glob == name else "it cannot be"
            if name not in plain.scales and reason is None:
                reason = "what reads it stays float"
            offset = best_offset(histograms.tensors[name]) if reason is None else None
            if reason is None and offset is None:
                reason = "all its values are equal"
            if reason is None and offset is not None:
                found[name] = offset
            elif glob == name:
                raise QuantizationError(f"{name!r} cannot be recentred: {reason}")
    return {name: found[name] for name in histograms.tensors if name in found}
