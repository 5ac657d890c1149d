"""Build engines with TensorRT and TensorRT-RTX: from a model to a serialized engine and a verbose log."""

from trt_int8.engine.builder import SerializedEngine
from trt_int8.engine.explicit import build_explicit
from trt_int8.engine.log import BuildLog
from trt_int8.engine.tensorrt import TensorRT, load

__all__ = ["BuildLog", "SerializedEngine", "TensorRT", "build_explicit", "load"]
