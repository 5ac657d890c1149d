"""Read ONNX models: the file, its inputs, its graph.

Names are imported on first use, so that facts about operators are available without onnx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trt_int8.graph.index import GraphIndex as GraphIndex
    from trt_int8.graph.inputs import InputSpec as InputSpec
    from trt_int8.graph.inputs import input_specs as input_specs
    from trt_int8.graph.load import load_model as load_model
    from trt_int8.graph.load import save_model as save_model
    from trt_int8.graph.model import Model as Model
    from trt_int8.graph.model import ModelLike as ModelLike
    from trt_int8.graph.shapes import ShapeRange as ShapeRange
    from trt_int8.graph.shapes import parse_shapes as parse_shapes

#: Public name → module that defines it.
_PUBLIC = {
    "GraphIndex": "index",
    "InputSpec": "inputs",
    "Model": "model",
    "ModelLike": "model",
    "ShapeRange": "shapes",
    "input_specs": "inputs",
    "load_model": "load",
    "parse_shapes": "shapes",
    "save_model": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
