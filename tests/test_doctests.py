"""The examples in docstrings run, in a folder that holds what they name."""

import doctest
import importlib
import pkgutil
import shutil

import numpy as np
import onnx
import pytest
from places import SAMPLE

import trt_int8

#: Importing these needs a TensorRT that is not on PyPI, or runs the command line.
LEFT_OUT = {"trt_int8.__main__", "trt_int8.engine.implicit.calibrators"}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(trt_int8.__path__, "trt_int8.")
    if module.name not in LEFT_OUT
]
#: What the README calls the library has an example each.
WITH_EXAMPLES = [
    "trt_int8",
    "trt_int8.pipeline.build",
    "trt_int8.calibration.calibration",
    "trt_int8.evaluation.evaluation",
    "trt_int8.graph.shapes",
    "trt_int8.quantization.check.check",
    "trt_int8.quantization.migration.from_qdq",
    "trt_int8.quantization.migration.migrate",
    "trt_int8.quantization.quantized",
    "trt_int8.ranges.cache",
    "trt_int8.report.report",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("examples")
    shutil.copy(SAMPLE / "lenet.onnx", folder / "model.onnx")
    np.save(folder / "samples.npy", digits["calibration"][:20])
    calibration = trt_int8.calibrate(folder / "model.onnx", [i[None] for i in digits["calibration"][:20]])
    trt_int8.CalibrationCache.from_ranges(calibration.ranges).write(folder / "model.cache")
    onnx.save(
        trt_int8.quantize(folder / "model.onnx", calibration.ranges, placement="tensorrt").model,
        folder / "model.qdq.onnx",
    )
    trt_int8.build_engine(folder / "model.onnx", folder / "model.engine", ranges=calibration.ranges)
    return folder


def run(name):
    return doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)


@pytest.mark.parametrize("name", ["trt_int8", *MODULES])
def test_examples(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    failed, attempted = run(name)
    assert failed == 0
    assert attempted > 0 or name not in WITH_EXAMPLES
