"""Build an engine from a model in which Q/DQ nodes, if it has any, set what runs in INT8."""

from __future__ import annotations

import onnx

from trt_int8.engine.builder import SerializedEngine, add_profile, parse_model, start_builder
from trt_int8.engine.interrupts import Interrupts
from trt_int8.engine.log import BuildLog
from trt_int8.engine.tensorrt import TensorRT
from trt_int8.engine.watch import building
from trt_int8.errors import BuildError
from trt_int8.graph.dims import require_equal_dims
from trt_int8.graph.index import has_qdq
from trt_int8.graph.inputs import input_specs
from trt_int8.graph.shapes import GivenShapes, resolve_shapes
from trt_int8.target import Target

#: Attributes that give the element type of a node's output.
_NAME_A_TYPE = ("to", "dtype", "output_dtype")
#: After a failed build, TensorRT-RTX 1.7 was seen to build the next engine of the same process with fewer
#: INT8 layers (sm75 failed, then sm120: two convolutions dequantized). It cannot be reset from outside.
_failed_before = False


def build_explicit(
    model: onnx.ModelProto,
    *,
    tensorrt: TensorRT,
    log: BuildLog,
    target: str | Target | None = None,
    batch_size: int | None = None,
    shapes: GivenShapes | None = None,
    record: str | None = None,
) -> SerializedEngine:
    """Build ``model`` with the data types of its tensors.

    The network is strongly typed. TensorRT 8 has only weakly typed networks; there the builder may use INT8
    if the model has Q/DQ nodes, and FP16 if it has float16 tensors. With FP16 allowed, it may also run
    float32 layers in FP16.

    Args:
        model, tensorrt, log: the model, quantized or not; from `trt_int8.engine.load`; gets TensorRT's lines.
        target: see `TensorRT.target`.
        batch_size: the opt and max batch, for a model whose first axis is dynamic (min is 1).
        shapes: min, opt and max shape of each dynamic input.
        record: JSON of the model's record, for the log.

    Raises:
        ShapeError: shapes are missing for a dynamic model, or do not fit it.
        BuildError: the parser or the builder failed; has TensorRT's lines.
        KeyboardInterrupt: Ctrl-C was pressed; TensorRT was stopped if it can be, else it finished first.
    """
    global _failed_before
    target = tensorrt.target(target)
    shapes = resolve_shapes(input_specs(model), shapes, batch_size=batch_size)
    require_equal_dims(model, shapes)
    log.add("I", f"trt_int8: building with {tensorrt.name} for {target.gpu}")
    if record is not None:  # after the line with which a build begins: a log can hold several builds
        log.add("I", f"trt_int8: record {record}")
    if _failed_before:
        log.add(
            "W",
            "trt_int8: a build failed earlier in this process, after which TensorRT-RTX may use fewer INT8 "
            "kernels; compare the report with one of a fresh process",
        )
    logger = tensorrt.logger(log)
    flags = tensorrt.explicit_network_flags()
    builder, network, config = start_builder(tensorrt, logger, flags, log=log)
    tensorrt.set_target(config, target)
    tensorrt.set_explicit_precisions(config, int8=has_qdq(model), float16=holds_float16(model))
    tensorrt.set_detailed_layers(config)
    interrupts = Interrupts()
    with building(tensorrt, config, stop=lambda: interrupts.pending, log=log.path_if_failed):
        with interrupts.held():
            try:
                parse_model(model, tensorrt, network, logger, log)
                add_profile(builder, network, config, shapes)
                serialized = builder.build_serialized_network(network, config)
            except BuildError:
                _failed_before = True
                raise
        if interrupts.pending:
            raise KeyboardInterrupt
    if serialized is None:
        _failed_before = True
        raise BuildError(f"{tensorrt.name} could not build the engine for {target.name}", lines=log.errors)
    return SerializedEngine(bytes(serialized), target.name, tensorrt.name, profile=shapes)


def holds_float16(model: onnx.ModelProto) -> bool:
    """Return whether a tensor of ``model`` is float16, including the bodies of If, Loop and Scan.

    A float16 tensor is an input, a constant, the output of a node with a type attribute (``to`` of Cast,
    ``output_dtype`` of DequantizeLinear), or computed from one of these.
    """
    half = onnx.TensorProto.FLOAT16
    graphs = [model.graph]
    for graph in graphs:  # grows as bodies are found
        if any(value.type.tensor_type.elem_type == half for value in [*graph.input, *graph.output]):
            return True
        if any(constant.data_type == half for constant in graph.initializer):
            return True
        for node in graph.node:
            for entry in node.attribute:
                if entry.t.data_type == half or (entry.name in _NAME_A_TYPE and entry.i == half):
                    return True
                graphs += [*entry.graphs, *([entry.g] if entry.HasField("g") else [])]
    return False
