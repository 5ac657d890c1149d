"""Make everything in a Q/DQ model that is not INT8 float16.

Outputs that no node computes are taken out before the conversion and put back after it.
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
from trt_int8.graph.operators import QDQ
from trt_int8.graph.passes.opset_conversion import HALF, OUTPUT_DTYPE, with_minimum_opset
from trt_int8.quantization.scales import SMALLEST_FLOAT16
from trt_int8.quantization.validation import check_written

_LARGEST = float(np.finfo(np.float16).max)


def to_half(model: onnx.ModelProto, *, scale_dtype: str = "fp32") -> onnx.ModelProto:
    """Return a copy of a float32 Q/DQ model with float16 tensors; inputs and outputs keep their types.

    Args:
        model: from `quantize`.
        scale_dtype: the type of the scales, ``fp32`` or ``fp16``.

    Raises:
        QuantizationError: a constant exceeds float16, an fp16 scale would underflow, or the opset cannot be
            raised.
        MissingDependencyError: onnxruntime, whose converter does the work, is not installed.
    """
    check_half_options("fp16", scale_dtype)
    converter = require("onnxruntime.transformers.float16", purpose="converting a model to FP16")
    raised = with_minimum_opset(model, OUTPUT_DTYPE if scale_dtype == "fp32" else HALF)
    exact = _scales(raised)
    taken = _take_outputs(raised)
    _refuse_overflow(raised, exact)
    if scale_dtype == "fp16":
        refuse_underflow(exact)
    with warnings.catch_warnings():
        # The converter warns of values that it rounds to 0 or to the smallest float16: harmless in weights.
        warnings.simplefilter("ignore")
        converted: onnx.ModelProto = converter.convert_float_to_float16(raised, keep_io_types=True)
    for place, output in taken:
        converted.graph.output.insert(place, output)
    _sort(converted)
    if scale_dtype == "fp32":
        _restore(converted, exact)
    check_written(converted, "FP16")
    return converted


def check_half_options(high_precision: str, scale_dtype: str, *, half: bool = False) -> None:
    """Check the two options against each other; ``half``: the given model is float16 or bfloat16.

    Raises:
        ValueError: one of them is neither ``fp32`` nor ``fp16``.
        QuantizationError: the scales would be fp16 in a float32 model.
    """
    for name, value in (("high_precision", high_precision), ("scale_dtype", scale_dtype)):
        if value not in FLOAT_TYPES:
            raise ValueError(f"{name} is {value!r}; choose {' or '.join(map(repr, FLOAT_TYPES))}")
    if scale_dtype == "fp16" and high_precision == "fp32" and not half:
        raise QuantizationError(
            "scale_dtype='fp16' needs an FP16 or BF16 model: give high_precision='fp16' as well, or leave "
            "scale_dtype='fp16' out"
        )


def _take_outputs(model: onnx.ModelProto) -> list[tuple[int, onnx.ValueInfoProto]]:
    """Take float32 outputs that no node computes out of ``model``; return each with its position.

    Constant nodes among them become initializers. Nodes then read a copy of such an initializer, so that the
    output keeps its float32 values.
    """
    index, graph = GraphIndex(model), model.graph
    for position, node in reversed(list(enumerate(graph.node))):
        if node.op_type == "Constant" and node.output[0] in index.outputs:
            value = index.constant(node.output[0])
            if value is not None:
                graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
                del graph.node[position]
    index = GraphIndex(model)
    taken = []
    for place, output in enumerate(graph.output):
        if output.type.tensor_type.elem_type == TensorProto.FLOAT and output.name not in index.producers:
            kept = onnx.ValueInfoProto()
            kept.CopyFrom(output)
            taken.append((place, kept))
    for place, _ in reversed(taken):
        del graph.output[place]
    read = {name for node in all_nodes(graph) for name in node.input}
    names, copies = Names(index), dict[str, str]()
    for tensor in [t for t in graph.initializer if t.name in read & {output.name for _, output in taken}]:
        copies[tensor.name] = names.fresh(f"{tensor.name}_half")
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = copies[tensor.name]
    for node in all_nodes(graph):
        for slot, name in enumerate(node.input):
            node.input[slot] = copies.get(name, name)
    return taken


def _scales(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Return name → values of the scales of all Q and DQ nodes."""
    index = GraphIndex(model)
    names = {node.input[1] for node in model.graph.node if node.op_type in QDQ}
    return {name: value for name in sorted(names) if (value := index.constant(name)) is not None}


def _refuse_overflow(model: onnx.ModelProto, scales: dict[str, np.ndarray]) -> None:
    converted = {name for node in all_nodes(model.graph) for name in node.input} - set(scales)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name in converted:
            values = numpy_helper.to_array(tensor)
            largest = float(np.abs(values).max(initial=0))
            if np.isfinite(largest) and largest > _LARGEST:
                raise QuantizationError(
                    f"constant {tensor.name!r} holds {largest:g}, above the float16 maximum ({_LARGEST:g}); "
                    "leave out high_precision='fp16'"
                )


def refuse_underflow(scales: dict[str, np.ndarray]) -> None:
    """Check that float16 can hold ``scales``.

    Raises:
        QuantizationError: some are too small; the message names them.
    """
    small = {name: float(v.min()) for name, v in scales.items() if v.size and v.min() < SMALLEST_FLOAT16}
    if small:
        listed = ", ".join(f"{name} {value:.3g}" for name, value in list(small.items())[:5])
        raise QuantizationError(
            f"{len(small)} scales underflow float16, whose smallest exact step is {SMALLEST_FLOAT16:.3g} "
            f"({listed}{', …' if len(small) > 5 else ''}); use fp32 scales (scale_dtype='fp32')"
        )


def _restore(model: onnx.ModelProto, exact: dict[str, np.ndarray]) -> None:
    """Put float32 scales back, and set the output type of DequantizeLinear to float16."""
    for tensor in model.graph.initializer:
        if tensor.name in exact:
            tensor.CopyFrom(numpy_helper.from_array(exact[tensor.name], tensor.name))
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            for entry in [entry for entry in node.attribute if entry.name == "output_dtype"]:
                node.attribute.remove(entry)
            node.attribute.append(helper.make_attribute("output_dtype", TensorProto.FLOAT16))


def _sort(model: onnx.ModelProto) -> None:
    """Bring the nodes into topological order: the converter puts its Casts last."""
    known = {"", *(entry.name for entry in [*model.graph.input, *model.graph.initializer])}
    made = {name for node in model.graph.node for name in node.output}
    waiting, ordered = list(model.graph.node), []
    while waiting:
        later = []
        for node in waiting:
            # A name that no node here computes belongs to a body.
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
