"""Make everything in a Q/DQ model that is not INT8 float16.

Outputs that no node makes are taken out before the conversion and given back after it.
"""

from __future__ import annotations

import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from trt_int8.choices import FLOAT_TYPES
from trt_int8.dependencies import require
from trt_int8.errors import QuantizationError
from trt_int8.graph.index import GraphIndex, Names, all_nodes, reads
from trt_int8.graph.passes.opset_conversion import HALF, OUTPUT_DTYPE, with_minimum_opset
from trt_int8.quantization.scales import SMALLEST_FLOAT16
from trt_int8.quantization.validation import refuse_what_tensorrt_refuses


def take_outputs(model: onnx.ModelProto) -> list[tuple[int, onnx.ValueInfoProto]]:
    """Take float32 outputs that no node makes out of ``model``, in place.

    Nodes then read a copy of an initializer among them, so that it keeps its float32 values.

    Returns:
        what `give_outputs` takes: the place of each among the outputs, and the output.
    """
    _move_constants(model)
    index, graph = GraphIndex(model), model.graph
    taken = []
    for place, output in enumerate(graph.output):
        if output.type.tensor_type.elem_type == TensorProto.FLOAT and output.name not in index.producers:
            kept = onnx.ValueInfoProto()
            kept.CopyFrom(output)
            taken.append((place, kept))
    for place, _ in reversed(taken):
        del graph.output[place]
    _copy_initializers(graph, {output.name for _, output in taken}, Names(index))
    return taken


def give_outputs(model: onnx.ModelProto, taken: list[tuple[int, onnx.ValueInfoProto]]) -> None:
    """Put back what `take_outputs` took, in place."""
    for place, output in taken:
        model.graph.output.insert(place, output)


def _move_constants(model: onnx.ModelProto) -> None:
    index, graph = GraphIndex(model), model.graph
    for position, node in reversed(list(enumerate(graph.node))):
        if node.op_type == "Constant" and node.output[0] in index.outputs:
            value = index.constant(node.output[0])
            if value is not None:
                graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
                del graph.node[position]


def _copy_initializers(graph: onnx.GraphProto, wanted: set[str], names: Names) -> None:
    read = {name for node in all_nodes(graph) for name in node.input}
    copies = {}
    for tensor in [t for t in graph.initializer if t.name in wanted & read]:
        copies[tensor.name] = names.fresh(f"{tensor.name}_half")
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = copies[tensor.name]
    for node in all_nodes(graph):
        for slot, name in enumerate(node.input):
            node.input[slot] = copies.get(name, name)


_LARGEST = float(np.finfo(np.float16).max)


def to_half(model: onnx.ModelProto, *, scales: str = "fp32") -> onnx.ModelProto:
    """A copy of a float32 Q/DQ model whose float tensors are float16; inputs and outputs keep their types.

    Args:
        model: from `quantize`.
        scales: the type of the scales, ``fp32`` or ``fp16``.

    Raises:
        QuantizationError: a constant exceeds float16, an fp16 scale would underflow, or the opset cannot be
            raised.
        MissingDependencyError: onnxruntime, whose converter does the work, is not installed.
    """
    check_half_options("fp16", scales)
    converter = require("onnxruntime.transformers.float16", purpose="converting a model to FP16")
    raised = with_minimum_opset(model, OUTPUT_DTYPE if scales == "fp32" else HALF)
    exact = _scales(raised)
    taken = take_outputs(raised)
    _refuse_overflow(raised, exact)
    if scales == "fp16":
        refuse_underflow(exact)
    with warnings.catch_warnings():
        # It warns of each value it rounds to 0 or up to the smallest float16: harmless among weights.
        warnings.simplefilter("ignore")
        converted: onnx.ModelProto = converter.convert_float_to_float16(raised, keep_io_types=True)
    give_outputs(converted, taken)
    _sort(converted)
    if scales == "fp32":
        _restore(converted, exact)
    try:
        onnx.checker.check_model(converted, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise QuantizationError(f"the FP16 model does not pass onnx.checker: {error}") from error
    refuse_what_tensorrt_refuses(converted)
    return converted


def check_half_options(high_precision: str, scales: str, *, half: bool = False) -> None:
    """Hold the two options against each other; ``half`` is whether the model is float16 as it comes.

    Raises:
        ValueError: one of them is neither ``fp32`` nor ``fp16``.
        QuantizationError: scales would be fp16 where nothing else is.
    """
    for name, value in (("high_precision", high_precision), ("scales", scales)):
        if value not in FLOAT_TYPES:
            raise ValueError(f"{name} is {value!r}; choose {' or '.join(map(repr, FLOAT_TYPES))}")
    if scales == "fp16" and high_precision == "fp32" and not half:
        raise QuantizationError(
            "fp16 scales are for models that are not float32: give high_precision='fp16' as well, or "
            "leave scales='fp16' out"
        )


def _scales(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Name of each scale of a Q or DQ node → its values."""
    index = GraphIndex(model)
    names = {
        node.input[1] for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    }
    return {name: value for name in sorted(names) if (value := index.constant(name)) is not None}


def _refuse_overflow(model: onnx.ModelProto, scales: dict[str, np.ndarray]) -> None:
    converted = {name for node in all_nodes(model.graph) for name in node.input} - set(scales)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name in converted:
            values = numpy_helper.to_array(tensor)
            largest = float(np.abs(values).max(initial=0))
            if np.isfinite(largest) and largest > _LARGEST:
                raise QuantizationError(
                    f"constant {tensor.name!r} holds {largest:g}, more than float16 can ({_LARGEST:g}); "
                    "leave out high_precision='fp16'"
                )


def refuse_underflow(scales: dict[str, np.ndarray]) -> None:
    """Let scales pass that float16 can hold.

    Raises:
        QuantizationError: some are too small; the message names them.
    """
    small = {name: float(v.min()) for name, v in scales.items() if v.size and v.min() < SMALLEST_FLOAT16}
    if small:
        listed = ", ".join(f"{name} {value:.3g}" for name, value in list(small.items())[:5])
        raise QuantizationError(
            f"{len(small)} scales underflow float16, whose smallest exact step is {SMALLEST_FLOAT16:.3g} "
            f"({listed}{', …' if len(small) > 5 else ''}); use fp32 scales (scales='fp32')"
        )


def _restore(model: onnx.ModelProto, exact: dict[str, np.ndarray]) -> None:
    """Put float32 scales back and have DequantizeLinear say float16."""
    for tensor in model.graph.initializer:
        if tensor.name in exact:
            tensor.CopyFrom(numpy_helper.from_array(exact[tensor.name], tensor.name))
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            kept = [entry for entry in node.attribute if entry.name != "output_dtype"]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.append(helper.make_attribute("output_dtype", TensorProto.FLOAT16))


def _sort(model: onnx.ModelProto) -> None:
    """Bring the nodes into topological order: the converter puts its Casts last."""
    known = (
        {value.name for value in model.graph.input}
        | {tensor.name for tensor in model.graph.initializer}
        | {""}
    )
    made = {name for node in model.graph.node for name in node.output}
    waiting, ordered = list(model.graph.node), []
    while waiting:
        later = []
        for node in waiting:
            # What no node makes here is made in a body.
            if all(name in known or name not in made for name in reads(node)):
                known.update(node.output)
                copy = onnx.NodeProto()
                copy.CopyFrom(node)
                ordered.append(copy)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise QuantizationError(f"the FP16 model has a cycle through {later[0].name!r}")
        waiting = later
    del model.graph.node[:]
    model.graph.node.extend(ordered)
