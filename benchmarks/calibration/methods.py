"""Ways to calibrate a model, a process each: ``methods.py METHOD MODEL IMAGES COUNT OUTPUT``.

``IMAGES`` is an ``.npy`` of single images, fed one at a time and repeated from the start until there are
``COUNT``. The clock of the caller includes the start of the process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime is imported, without trt_int8


def batches(images: str, count: int, name: str) -> Iterator[dict]:
    import numpy as np

    stored = np.load(images)
    for i in range(count):
        yield {name: stored[i % len(stored)][None]}


def session(model: bytes):
    import onnxruntime

    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


def inference(model: str, images: str, count: int, output: str) -> None:
    """T0: plain inference."""
    with open(model, "rb") as file:
        runner = session(file.read())
    for batch in batches(images, count, runner.get_inputs()[0].name):
        runner.run(None, batch)


def activations(model: str, images: str, count: int, output: str) -> None:
    """T1: inference with every activation fetched, and nothing done with them."""
    import onnx

    loaded = onnx.load(model)
    known = {value.name for value in loaded.graph.output}
    loaded.graph.output.extend(
        onnx.ValueInfoProto(name=name)
        for node in loaded.graph.node
        if node.op_type != "Constant"
        for name in node.output
        if name and name not in known
    )
    runner = session(loaded.SerializeToString())
    for batch in batches(images, count, runner.get_inputs()[0].name):
        runner.run(None, batch)


def ours(model: str, images: str, count: int, output: str, **options) -> None:
    """Entropy calibration of all tensors, thresholds and cache written."""
    import onnx

    from trt_int8 import calibrate

    name = onnx.load(model).graph.input[0].name
    result = calibrate(model, batches(images, count, name), **options)
    result.cache().write(output)


def onnxruntime_peer(model: str, images: str, count: int, output: str, method: str) -> None:
    """onnxruntime's own calibrators, as `quantize_static` calls them."""
    import tempfile

    import onnx
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    name = onnx.load(model).graph.input[0].name

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = batches(images, count, name)

        def get_next(self) -> dict:
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as folder:
        calibrator = create_calibrator(
            model,
            [],
            augmented_model_path=os.path.join(folder, "augmented.onnx"),
            calibrate_method=CalibrationMethod[method],
        )
        calibrator.collect_data(Reader())
        calibrator.compute_data()


def modelopt_peer(model: str, images: str, count: int, output: str, method: str) -> None:
    """NVIDIA Model Optimizer: calibration, and the Q/DQ model it cannot do without."""
    import numpy as np
    import onnx
    from modelopt.onnx.quantization import quantize

    name = onnx.load(model).graph.input[0].name
    data = np.concatenate([batch[name] for batch in batches(images, count, name)])
    shapes = f"{name}:{'x'.join(map(str, (1, *data.shape[1:])))}"
    quantize(
        model,
        quantize_mode="int8",
        calibration_data={name: data},
        calibration_method=method,
        calibration_eps=["cpu"],
        calibration_shapes=shapes,
        output_path=output,
        high_precision_dtype="fp32",
    )


METHODS = {
    "T0": inference,
    "T1": activations,
    "ours": ours,
    "ours on 1 Dask worker": lambda *arguments: ours(*arguments, workers=1),
    "ours on 2 Dask workers": lambda *arguments: ours(*arguments, workers=2),
    "onnxruntime min-max": lambda *arguments: onnxruntime_peer(*arguments, "MinMax"),
    "onnxruntime entropy": lambda *arguments: onnxruntime_peer(*arguments, "Entropy"),
    "modelopt max": lambda *arguments: modelopt_peer(*arguments, "max"),
    "modelopt entropy": lambda *arguments: modelopt_peer(*arguments, "entropy"),
}

if __name__ == "__main__":
    METHODS[sys.argv[1]](sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
