"""The sample's network, calibrated and built by TensorRT-RTX."""

import onnx
import pytest

from trt_int8.calibration import calibrate
from trt_int8.engine import load
from trt_int8.pipeline.build import build_engine
from trt_int8.quantization import quantize


@pytest.fixture(scope="module")
def tensorrt():
    return load("tensorrt_rtx")


@pytest.fixture(scope="module")
def lenet_ranges(lenet_path, digits):
    return calibrate(lenet_path, [{"data": image[None]} for image in digits["calibration"][:20]]).ranges


@pytest.fixture(scope="module")
def built(lenet_path, lenet_ranges, tmp_path_factory):
    return build_engine(lenet_path, tmp_path_factory.mktemp("lenet") / "lenet.engine", ranges=lenet_ranges)


@pytest.fixture(scope="module")
def lenet_qdq_path(lenet_path, lenet_ranges, tmp_path_factory):
    path = tmp_path_factory.mktemp("qdq") / "lenet.qdq.onnx"
    onnx.save(quantize(lenet_path, lenet_ranges, placement="tensorrt").model, path)
    return path
