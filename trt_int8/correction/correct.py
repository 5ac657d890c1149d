"""Correct a quantized model: recentre tensors, correct biases, and keep what held-back samples bear out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx

from trt_int8 import progress
from trt_int8.batches.check import Batch, count_samples
from trt_int8.batches.holdout import FEWEST
from trt_int8.calibration.histograms import Histograms
from trt_int8.correction.bias import correct_bias
from trt_int8.correction.recentre import candidates, centred_name, recentre
from trt_int8.errors import ModelError
from trt_int8.evaluation.accuracy import Accuracy, AccuracyCheck, Decision
from trt_int8.graph.model import Model, ModelLike
from trt_int8.quantization.quantized import Quantized
from trt_int8.ranges.ranges import Ranges, TensorRange
from trt_int8.record import Correction

#: Inserts Q/DQ pairs into a float model with ranges, as the pipeline's options say.
Place = Callable[[ModelLike, Ranges], Quantized]


@dataclass(frozen=True, eq=False)
class Corrected:
    """The result of `correct`.

    Attributes:
        quantized: the Q/DQ model, with the corrections that were kept.
        corrections: what was tried, in order.
        passed_over: tensors that a pattern fits and that were not recentred, with the reason, for people.
        before, after: accuracy without and with the corrections; None where the model cannot be judged.
        note: why it cannot be judged.
    """

    quantized: Quantized
    corrections: tuple[Correction, ...] = ()
    passed_over: tuple[str, ...] = ()
    before: Accuracy | None = None
    after: Accuracy | None = None
    note: str = ""


def correct(
    model: onnx.ModelProto | Model,
    plain: Quantized,
    *,
    fit: Sequence[Batch],
    judging: Sequence[Batch],
    place: Place,
    ranges: Ranges,
    histograms: Histograms | None = None,
    recentred: Sequence[str] = (),
    bias_correction: bool | None = None,
) -> Corrected:
    """Try the corrections one after the other; each is kept where an output gains and none loses.

    The order is recentring, then biases: the shift of the mean depends on where tensors are centred.

    Args:
        model: the float model.
        plain: the same with Q/DQ pairs, made by ``place`` from ``ranges``.
        fit: checked batches that biases are corrected by.
        judging: checked batches that everything is judged by; the same where nothing is held back.
        place: inserts the pairs again where the float model changes.
        ranges, histograms: of the tensors of ``model``; recentring needs the histograms.
        recentred: names or patterns of tensors to recentre. Those that cannot be are passed over, unless they
            are named in full.
        bias_correction: True: fail where biases cannot be judged; None: leave them as they are then; False:
            do not correct them.

    Raises:
        QuantizationError: a tensor named in full cannot be recentred, or a pattern fits none.
        ModelError: onnxruntime cannot run the model, and corrections were asked for.
    """
    known = Model.unchecked(model)
    try:
        check = AccuracyCheck(known, judging)
        before = check(plain.model)
    except ModelError as error:
        if recentred or bias_correction:
            raise
        return Corrected(plain, note=str(error))
    best, chosen, made = Decision.start(before), plain, list[Correction]()
    passed_over: tuple[str, ...] = ()
    if recentred:
        assert histograms is not None
        best, chosen, made, passed_over = _recentre(
            known, plain, judging, check, best, place, ranges, histograms, recentred
        )
    if bias_correction is not False:
        try:
            best, chosen, correction = _correct_biases(known, chosen, fit, judging, check, best)
            made.append(correction)
        except ModelError as error:
            if bias_correction:
                raise
            made.append(Correction("bias correction", False, f"biases stay as they are: {error}"))
    return Corrected(chosen, tuple(made), passed_over, before, best.accuracy)


def _recentre(
    model: Model,
    plain: Quantized,
    judging: Sequence[Batch],
    check: AccuracyCheck,
    best: Decision,
    place: Place,
    ranges: Ranges,
    histograms: Histograms,
    recentred: Sequence[str],
) -> tuple[Decision, Quantized, list[Correction], tuple[str, ...]]:
    offsets, passed_over = candidates(
        model.proto, plain, recentred, ranges=ranges, histograms=histograms, held_out=judging
    )
    chosen, base, current = plain, model.proto, ranges
    made = []
    for tensor, offset in progress.track(offsets.items(), "recentring", total=len(offsets), unit="tensors"):
        tried = recentre(base, {tensor: offset.value})
        centred = {centred_name(tensor): TensorRange(127 * offset.scale, source=f"recentred {tensor}")}
        extended = Ranges({**current, **centred})
        attempt = place(tried, extended)
        verdict = best.decide(check(attempt.model))
        text = f"recentred {tensor} by {offset.value:g}: {verdict.text}"
        made.append(Correction(f"recentring of {tensor}", verdict.kept, text))
        if verdict.kept:
            chosen, base, current, best = attempt, tried, extended, verdict
    return best, chosen, made, passed_over


def _correct_biases(
    model: Model,
    quantized: Quantized,
    fit: Sequence[Batch],
    judging: Sequence[Batch],
    check: AccuracyCheck,
    best: Decision,
) -> tuple[Decision, Quantized, Correction]:
    name, count = "bias correction", count_samples(fit)
    if count < FEWEST:
        text = f"biases stay as they are: {count} samples are too few to correct them by"
        return best, quantized, Correction(name, False, text)
    corrected = correct_bias(model, quantized.model, fit)
    verdict = best.decide(check(corrected))
    others = "the same ones" if judging[0] is fit[0] else f"{count_samples(judging)} others"
    text = f"biases corrected by {count} samples, judged on {others}: {verdict.text}"
    if verdict.kept:
        return verdict, replace(quantized, model=corrected), Correction(name, True, text)
    return best, quantized, Correction(name, False, text)


def figures(accuracy: Accuracy | None) -> Mapping[str, float]:
    """SQNR of each output in dB; empty where nothing was measured."""
    return {} if accuracy is None else accuracy.outputs
