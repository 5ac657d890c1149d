"""Quantize with remedies: each is applied where it measurably helps, and listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from trt_int8 import progress
from trt_int8.batches.check import Batch
from trt_int8.calibration.histograms import Histograms
from trt_int8.quantization.placement import Placement
from trt_int8.quantization.quantized import Quantized, quantize
from trt_int8.quantization.selection import Selection
from trt_int8.ranges.ranges import Ranges, TensorRange
from trt_int8.remedies.bias_correction import correct_bias
from trt_int8.remedies.candidates import candidates
from trt_int8.remedies.recentre import centred_name, recentre
from trt_int8.remedies.referee import Referee
from trt_int8.remedies.verdict import Verdict, judged


@dataclass(frozen=True, eq=False)
class Remedied:
    """The result of `quantize_with_remedies`.

    Attributes:
        quantized: the Q/DQ model, remedies included.
        lines: what was tried, with the gain in dB at each output, for people.
        passed_over: tensors that a glob fits and that were not tried, with the reason, for people.
        before, after: SQNR of each output without remedies and with them, on the data that they were judged
            by; see `trt_int8.remedies.referee.Referee`.
    """

    quantized: Quantized
    lines: tuple[str, ...]
    passed_over: tuple[str, ...]
    before: Mapping[str, float]
    after: Mapping[str, float]


def quantize_with_remedies(
    model: onnx.ModelProto,
    ranges: Ranges,
    histograms: Histograms,
    batches: Sequence[Batch],
    *,
    held_out: Sequence[Batch],
    recentred: Sequence[str] = (),
    bias_correction: bool = False,
    placement: str | Placement = "tensorrt",
    selection: Selection | None = None,
) -> Remedied:
    """`trt_int8.quantization.quantize`, and each remedy that raises the SQNR of an output and hurts none.

    Args:
        model: the float model.
        ranges, histograms: of its tensors.
        batches: what biases are corrected by.
        held_out: what remedies are judged by; run once for each tensor tried. `trt_int8.remedies.split.split`
            keeps it apart from what ``ranges`` and ``histograms`` come from.
        recentred: names or globs of tensors to recentre; those that cannot be are passed over, unless
            named in full.
        bias_correction: correct biases too.
        placement, selection: see `quantize`.

    Raises:
        QuantizationError: a tensor named in full cannot be recentred, a glob fits none, or `quantize` fails.
        DataError: ``held_out`` is empty, or does not fit the model.
    """
    plain = quantize(model, ranges, placement=placement, selection=selection)
    referee = Referee(model, held_out)
    before = referee(plain.model)
    best = Verdict(before, before)
    chosen, base, current, lines = plain, model, ranges, list[str]()
    offsets, passed_over = candidates(
        model, plain, recentred, ranges=ranges, histograms=histograms, held_out=held_out
    )
    for tensor, offset in progress.track(offsets.items(), "recentring", total=len(offsets), unit="tensors"):
        tried = recentre(base, {tensor: offset.value})
        centred = {centred_name(tensor): TensorRange(127 * offset.scale, source=f"recentred {tensor}")}
        extended = Ranges({**current, **centred})
        attempt = quantize(tried, extended, placement=placement, selection=selection)
        verdict = judged(best, referee(attempt.model))
        lines.append(f"recentred {tensor} by {offset.value:g}: {verdict.text}")
        if verdict.kept:
            chosen, base, current, best = attempt, tried, extended, verdict
    if bias_correction:
        corrected = correct_bias(model, chosen.model, batches)
        verdict = judged(best, referee(corrected))
        lines.append(f"bias correction: {verdict.text}")
        if verdict.kept:
            chosen, best = replace(chosen, model=corrected), verdict
    return Remedied(chosen, tuple(lines), passed_over, before, best.sqnr_db)
