"""Which tensors need a range before a model can be quantized."""

from __future__ import annotations

from trt_int8.model.model import Model, ModelLike
from trt_int8.model.shared_ranges import tied_outputs
from trt_int8.quantization.placement import Placement, resolve
from trt_int8.quantization.quantized import drafted
from trt_int8.quantization.selection import Selection
from trt_int8.ranges.ranges import Ranges, TensorRange


def required_tensors(
    model: ModelLike,
    *,
    placement: str | Placement | None = None,
    selection: Selection | None = None,
) -> tuple[str, ...]:
    """The activations whose ranges `quantize` reads, in graph order: calibrating these alone gives the same
    scales as calibrating all.

    They are the inputs that get Q/DQ pairs when every tensor has a range, all that share a scale with them,
    and those whose range they take (`trt_int8.model.shared_ranges`).

    Args:
        model: the trained float model.
        placement, selection: as they will be given to `quantize`.

    Raises:
        ModelError: the model cannot be read.
        QuantizationError: nothing can be quantized, or the selection does not fit the model.
    """
    given = Model.of(model)
    order = given.index.order
    everything = Ranges({name: TensorRange(1.0, source="any") for name in order})
    _, draft = drafted(given, everything, resolve(placement), selection or Selection(), copy=False)
    wanted = {name for tensor in draft.quantized_tensors for name in draft.group(tensor)}
    ties = tied_outputs(given.index, set(order))
    wanted |= {ties[name] for name in wanted if name in ties}
    return tuple(name for name in order if name in wanted)
