"""Build one Q/DQ model with TensorRT-RTX and count what runs in INT8.

    python -m quality.engines quantized.onnx build.log

A process each: a failed build leaves TensorRT-RTX in a state in which it uses fewer INT8 kernels.
The last line printed is JSON.
"""

import json
import sys

from trt_int8.engine import BuildLog, build_explicit, load
from trt_int8.errors import TrtInt8Error
from trt_int8.graph.load import load_model
from trt_int8.report import PrecisionReport
from trt_int8.report.explain.findings import size_in_bytes

#: The nodes that are counted; ConvTranspose has no INT8 kernel in TensorRT-RTX.
MULTIPLYING = ("Conv", "Gemm", "MatMul")


def counts(model, build):
    """Figures of the table for one engine."""
    multiplying = {node.name for node in model.graph.node if node.op_type in MULTIPLYING}
    precisions = {node.node: node.precision for node in build.nodes if node.node in multiplying}
    # One kernel for both MatMuls: the report calls it int8_io, as it is neither.
    attention = {
        name
        for layer in build.layers
        if "mha" in layer.name
        and all(tensor.dtype == "int8" for tensor in layer.inputs if not _scalar(tensor))
        for name in layer.onnx_nodes
    }
    in_int8 = [
        name
        for name, precision in precisions.items()
        if precision == "int8" or (precision == "int8_io" and name in attention)
    ]
    sizes = {
        tensor.name: size_in_bytes(tensor) or 0
        for layer in build.layers
        for tensor in (*layer.inputs, *layer.outputs)
    }
    between = {entry[0] for entry in build.findings.float_between_int8}
    return {
        "int8": len(in_int8),
        "multiplying": len(multiplying),
        "kernels": len(build.compute_layers),
        "layers": len(build.layers),
        "float_bytes": sum(sizes[name] for name in between),
        "bytes_moved": sum(size for _, size in build.findings.bytes_moved),
        "not_int8": sorted(f"{name}: {precisions.get(name)}" for name in multiplying - set(in_int8)),
    }


def _scalar(tensor):
    """The scale of the scores, which is no operand."""
    return tensor.dims is not None and all(size == 1 for size in tensor.dims)


def main():
    path, log = sys.argv[1:]
    model = load_model(path)
    try:
        with BuildLog(log) as record:
            plan = build_explicit(model, tensorrt=load("tensorrt_rtx"), log=record)
    except TrtInt8Error as error:
        lines = getattr(error, "lines", ()) or [str(error)]
        print(json.dumps({"error": lines[0]}))
        return
    build = PrecisionReport.from_log(log).last
    print(json.dumps({**counts(model, build), "target": plan.target, "tensorrt": plan.tensorrt}))


if __name__ == "__main__":
    main()
