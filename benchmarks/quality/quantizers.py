"""Every way to quantize, ours and the peers', as functions of files: run one a process.

    python -m quality.quantizers NAME model.onnx images.npy quantized.onnx

The last line printed is JSON: seconds from files to file, imports excluded, and peak resident memory.
"""

import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime is imported, without trt_int8


@dataclass(frozen=True)
class Quantizer:
    """``tool``: ours, onnxruntime or modelopt; ``options``: what its function below takes."""

    name: str
    tool: str
    options: dict
    note: str = ""


INPUTS = ["Conv", "ConvTranspose", "Gemm", "MatMul"]
#: What every onnxruntime configuration below adds for TensorRT.
SYMMETRIC = {"ActivationSymmetric": True, "WeightSymmetric": True}
FLOAT_BIAS = {**SYMMETRIC, "QuantizeBias": False}

QUANTIZERS = (
    Quantizer("ours", "ours", {"placement": "rtx"}, "the default of `trt-int8 build` with TensorRT-RTX"),
    Quantizer(
        "ours, --without one-scale-convolution",
        "ours",
        {"placement": "rtx", "without": ["one-scale-convolution"]},
        "per-channel weight scales everywhere",
    ),
    Quantizer("ours, --placement tensorrt", "ours", {"placement": "tensorrt"}),
    Quantizer("onnxruntime, its defaults", "onnxruntime", {}, "asymmetric activations"),
    Quantizer("onnxruntime, QInt8 symmetric", "onnxruntime", {"extra": SYMMETRIC}, "bias in INT32"),
    Quantizer("onnxruntime, QInt8, float bias", "onnxruntime", {"extra": FLOAT_BIAS}, "all operators"),
    Quantizer("onnxruntime, inputs only", "onnxruntime", {"extra": FLOAT_BIAS, "inputs": INPUTS}, "MinMax"),
    Quantizer(
        "onnxruntime, inputs only, entropy",
        "onnxruntime",
        {"extra": FLOAT_BIAS, "inputs": INPUTS, "method": "Entropy"},
    ),
    Quantizer(
        "onnxruntime, inputs only, percentile",
        "onnxruntime",
        {"extra": FLOAT_BIAS, "inputs": INPUTS, "method": "Percentile"},
    ),
    Quantizer(
        "onnxruntime, inputs + residual",
        "onnxruntime",
        {"extra": FLOAT_BIAS, "inputs": [*INPUTS, "Add"]},
        "MinMax",
    ),
    Quantizer("modelopt max", "modelopt", {"method": "max"}),
    Quantizer("modelopt entropy", "modelopt", {"method": "entropy"}),
)


def ours(model, images, output, *, placement, without=()):
    import onnx

    from trt_int8 import QuantizationOptions, quantize_from_data
    from trt_int8.quantization import PLACEMENTS

    rules = PLACEMENTS[placement].without(*without)

    # What `trt-int8 build` does on the explicit route.
    def run():
        (name,) = inputs_of(model)
        batches = [{name: image[None]} for image in images]
        options = QuantizationOptions(placement=rules)
        made = quantize_from_data(onnx.load(model), batches, target="rtx:sm89", options=options)
        onnx.save(made.model, output)

    return run


def onnxruntime(model, images, output, *, extra=None, inputs=None, method="MinMax"):
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            (self.name,) = inputs_of(model)
            self.left = iter(images)

        def get_next(self):
            image = next(self.left, None)
            return None if image is None else {self.name: image[None]}

    def run():
        prepared = str(Path(output).with_suffix(".prepared.onnx"))
        quant_pre_process(model, prepared, skip_symbolic_shape=True)
        options = dict(extra or {})
        if inputs is not None:
            options["OpTypesToExcludeOutputQuantization"] = inputs
        symmetric = "ActivationSymmetric" in options
        quantize_static(
            prepared,
            output,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=inputs,
            nodes_to_exclude=constant_addends(prepared),
            per_channel=symmetric,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
            extra_options=options,
        )

    return run


def constant_addends(path):
    """Names of the Adds with a constant operand: TensorRT refuses quantized scalars."""
    import onnx

    graph = onnx.load(path).graph
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return [node.name for node in graph.node if node.op_type == "Add" and constants & set(node.input)]


def modelopt(model, images, output, *, method):
    from modelopt.onnx.quantization import quantize

    def run():
        (name,) = inputs_of(model)
        quantize(
            model,
            quantize_mode="int8",
            calibration_data={name: images},
            calibration_method=method,
            calibration_eps=["cpu"],
            high_precision_dtype="fp32",
            output_path=output,
        )

    return run


def inputs_of(path):
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [entry.name for entry in graph.input if entry.name not in constants]


def peak_mib():
    """Peak resident memory of this process; ru_maxrss would count that of the parent it was forked from."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(found[1]) / 1024)


def main():
    name, model, images, output = sys.argv[1:]
    (quantizer,) = [entry for entry in QUANTIZERS if entry.name == name]
    function = {"ours": ours, "onnxruntime": onnxruntime, "modelopt": modelopt}[quantizer.tool]
    run = function(model, np.load(images), output, **quantizer.options)
    start = time.perf_counter()
    run()
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_mib": peak_mib()}))


if __name__ == "__main__":
    main()
