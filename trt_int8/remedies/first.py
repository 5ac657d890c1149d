"""Bias correction as a matter of course: by the first samples, kept where others bear it out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import onnx

from trt_int8.batches.check import Batch, count_samples
from trt_int8.errors import ModelError
from trt_int8.model.inputs import input_specs
from trt_int8.quantization.quantized import Quantized
from trt_int8.remedies.bias_correction import correct_bias
from trt_int8.remedies.referee import Referee
from trt_int8.remedies.verdict import Verdict, judged

#: Samples to read: one half corrects, the other judges. With more the gain hardly grows.
SAMPLES = 32
#: With fewer, means are too uncertain.
FEWEST = 4


def first_batches(batches: Iterable[Batch], *, samples: int = SAMPLES) -> tuple[Batch, ...]:
    """Copies of the first batches that hold ``samples`` samples, two at least where there are two."""
    taken: list[Batch] = []
    for batch in batches:
        taken.append({name: array.copy() for name, array in batch.items()})  # a source may reuse its buffer
        if len(taken) > 1 and count_samples(taken) >= samples:
            break
    return tuple(taken)


def correct_by_first(
    model: onnx.ModelProto, quantized: Quantized, first: Sequence[Batch]
) -> tuple[Quantized, str]:
    """Correct biases by every other of the batches ``first``; the rest decides whether that is kept.

    Args:
        model: the float model.
        quantized: made from it.
        first: checked batches, see `first_batches`.

    Returns:
        (``quantized`` or its corrected form, a line for people). Models that cannot be compared stay as
        they are: nobody asked for the correction.
    """
    total = count_samples(first)
    if total < FEWEST:
        return quantized, f"biases stay as they are: {total} samples are too few to correct them by"
    parts = _halves(first[0], model) if len(first) == 1 else first
    fit, others = parts[0::2], parts[1::2] or parts
    try:
        referee = Referee(model, others)
        before = referee(quantized.model)
        corrected = correct_bias(model, quantized.model, fit)
        verdict = judged(Verdict(before, before), referee(corrected))
    except ModelError as error:
        return quantized, f"biases stay as they are: {error}"
    which = "others" if others is not parts else "them, for want of another batch"
    numbers = f"{count_samples(fit)} samples, judged on {count_samples(others)} {which}"
    line = f"biases corrected by {numbers}: {verdict.text}"
    return (replace(quantized, model=corrected) if verdict.kept else quantized), line


def _halves(batch: Batch, model: onnx.ModelProto) -> Sequence[Batch]:
    """``batch`` cut in two, where the model takes batches of any size and each input has one row a sample."""
    size = count_samples([batch])
    fixed = any(spec.batch is not None for spec in input_specs(model).values())
    if fixed or any(array.shape[:1] != (size,) for array in batch.values()):
        return (batch,)
    middle = -(-size // 2)
    return tuple({n: a[rows] for n, a in batch.items()} for rows in (slice(middle), slice(middle, None)))
