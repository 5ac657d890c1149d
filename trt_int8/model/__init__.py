"""Reading ONNX models: the file, its inputs, its graph."""

from trt_int8.model.graph import GraphIndex
from trt_int8.model.inputs import InputSpec, input_specs
from trt_int8.model.load import load_model, save_model
from trt_int8.model.shape_range import ShapeRange
from trt_int8.model.shape_texts import parse_shapes

__all__ = ["GraphIndex", "InputSpec", "ShapeRange", "input_specs", "load_model", "parse_shapes", "save_model"]
