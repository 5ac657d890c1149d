"""Recentre tensors and correct biases; keep a correction only if held-back samples gain by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx

from trt_int8 import progress
from trt_int8.batches.check import Batch, count_samples
from trt_int8.batches.holdout import FEWEST
from trt_int8.calibration.histograms import Histograms
from trt_int8.correction.bias import correct_bias
from trt_int8.correction.recentre import candidates, centred_name, recentre
from trt_int8.errors import ModelError, QuantizationError
from trt_int8.evaluation.accuracy import Accuracy, AccuracyCheck, Decision
from trt_int8.graph.model import Model, ModelLike
from trt_int8.quantization.quantized import Quantized
from trt_int8.ranges.ranges import Ranges, TensorRange
from trt_int8.record import Correction

#: Inserts Q/DQ pairs into a float model with ranges.
Place = Callable[[ModelLike, Ranges], Quantized]


@dataclass(frozen=True, eq=False)
class Corrected:
    """The result of `correct`.

    Attributes:
        plain: the Q/DQ model without corrections.
        quantized: the same with the corrections that were kept.
        corrections: what was tried, in order.
        passed_over: tensors that match a pattern but cannot be recentred, with the reason, for people.
        before, after: accuracy without and with the corrections; None where it cannot be measured.
        note: the reason that it cannot, or outputs without SQNR.
    """

    plain: Quantized
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
    held_back: Sequence[Batch],
    place: Place,
    ranges: Ranges,
    histograms: Histograms | None = None,
    recentred: Sequence[str] = (),
    bias_correction: bool | None = None,
) -> Corrected:
    """Try the corrections one after the other; each is kept if an output gains and none loses.

    Recentring comes first: the mean error that biases are corrected for depends on it.

    Args:
        model: the float model.
        plain: the same with Q/DQ pairs, made by ``place`` from ``ranges``.
        fit: checked batches to correct biases with.
        held_back: checked batches to evaluate corrections on; the same ones if no samples are held back.
        place: inserts the pairs again after a change of the float model.
        ranges, histograms: of the tensors of ``model``; recentring needs the histograms.
        recentred: names or patterns of tensors to recentre. A tensor that cannot be recentred is passed over,
            unless it is named in full.
        bias_correction: False: do not correct biases. True: fail if they cannot be corrected and evaluated;
            None: leave them as they are then.

    Raises:
        QuantizationError: a tensor named in full cannot be recentred, or a pattern matches none; or there are
            too few samples for biases that must be corrected.
        ModelError: onnxruntime cannot run the model, and corrections were asked for.
    """
    known = Model.unchecked(model)
    try:
        check = AccuracyCheck(known, held_back)
        before = check(plain.model)
    except ModelError as error:
        if recentred or bias_correction:
            raise
        return Corrected(plain, plain, note=str(error))
    trial = _Trial(check, Decision.start(before), plain)
    passed_over: tuple[str, ...] = ()
    if recentred:
        assert histograms is not None
        offsets, passed_over = candidates(
            known.proto, plain, recentred, ranges=ranges, histograms=histograms, held_back=held_back
        )
        base = known.proto
        for tensor, offset in progress.track(
            offsets.items(), "recentring", total=len(offsets), unit="tensors"
        ):
            tried = recentre(base, {tensor: offset.value})
            centred = TensorRange(127 * offset.scale, source=f"recentred {tensor}")
            extended = Ranges({**ranges, centred_name(tensor): centred})
            text = f"recentred {tensor} by {offset.value:g}"
            if trial.keeps(place(tried, extended), f"recentring of {tensor}", text):
                base, ranges = tried, extended
    if bias_correction is not False:
        _correct_biases(trial, known, fit, held_back, required=bias_correction is True)
    after, made = trial.best.accuracy, tuple(trial.made)
    return Corrected(plain, trial.quantized, made, passed_over, before, after, check.note)


@dataclass
class _Trial:
    """The corrections tried so far, and the model with those that were kept."""

    check: AccuracyCheck
    best: Decision
    quantized: Quantized
    made: list[Correction] = field(default_factory=list)

    def keeps(self, attempt: Quantized, name: str, text: str) -> bool:
        """Evaluate ``attempt``; return whether it is kept."""
        decision = self.best.decide(self.check(attempt.model))
        self.made.append(Correction(name, decision.kept, f"{text}: {decision.text}"))
        if decision.kept:
            self.best, self.quantized = decision, attempt
        return decision.kept


def _correct_biases(
    trial: _Trial, model: Model, fit: Sequence[Batch], held_back: Sequence[Batch], *, required: bool
) -> None:
    name, count = "bias correction", count_samples(fit, model.inputs)
    if count < FEWEST:
        if required:
            raise QuantizationError(
                f"bias_correction: {count} samples are too few to correct biases; give {FEWEST} or more, or "
                "leave bias_correction=True out"
            )
        text = f"biases stay as they are: {count} samples are too few to correct them"
        trial.made.append(Correction(name, False, text))
        return
    others = "the same ones" if held_back[0] is fit[0] else f"{count_samples(held_back, model.inputs)} others"
    try:
        corrected = correct_bias(model, trial.quantized.model, fit)
        text = f"biases corrected with {count} samples, evaluated on {others}"
        trial.keeps(replace(trial.quantized, model=corrected), name, text)
    except ModelError as error:
        if required:
            raise
        trial.made.append(Correction(name, False, f"biases stay as they are: {error}"))


def figures(accuracy: Accuracy | None) -> Mapping[str, float]:
    """Return the SQNR of each output in dB; empty where it was not measured."""
    return {} if accuracy is None else accuracy.outputs
