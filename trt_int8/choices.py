"""The words that an argument may take, in one list for types, checks, and the choices of CLI options.

It imports nothing, so that ``--help`` can show the choices without loading what they choose among.
"""

from __future__ import annotations

from typing import Literal, get_args

#: Rules for Q/DQ pairs: `trt_int8.quantization.placement.PLACEMENTS` holds them.
PlacementName = Literal["tensorrt", "rtx"]
PLACEMENTS: tuple[PlacementName, ...] = get_args(PlacementName)
#: Type of what is not INT8, and of the scales of a model in FP16.
FloatType = Literal["fp32", "fp16"]
FLOAT_TYPES: tuple[FloatType, ...] = get_args(FloatType)
#: The way to INT8: TensorRT's own choice of layers, or Q/DQ nodes.
Mode = Literal["auto", "implicit", "explicit"]
MODES: tuple[Mode, ...] = get_args(Mode)
#: ``obey``: the build fails where TensorRT has no such kernel; ``prefer``: it warns and takes another.
Constraints = Literal["obey", "prefer"]
CONSTRAINTS: tuple[Constraints, ...] = get_args(Constraints)
#: What becomes of a last batch that is short: pass it on, leave it out, or repeat its last sample.
Last = Literal["keep", "drop", "pad"]
LAST: tuple[Last, ...] = get_args(Last)
#: Ways of preparing images by name: `trt_int8.batches.PRESETS` holds them.
Preset = Literal["imagenet", "yolo"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
#: How an image gets the size that the network takes, see `trt_int8.batches.preprocess.resized`.
Resize = Literal["stretch", "letterbox", "crop", "none"]
RESIZE: tuple[Resize, ...] = get_args(Resize)
#: Order of an image's channels, and where they go.
Color = Literal["rgb", "bgr", "grey"]
COLORS: tuple[Color, ...] = get_args(Color)
Layout = Literal["nchw", "nhwc"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
#: Forms of a file of ranges, see `trt_int8.ranges.files.RangeFile`.
RangeForm = Literal["tensorrt", "json", "yaml", "ort-json", "ort-tensors", "ort-flatbuffers", "ort-cache"]
RANGE_FORMS: tuple[RangeForm, ...] = get_args(RangeForm)
#: The range that a tensor gets which two caches have: `trt_int8.ranges.compare.MERGES` holds the rules.
Merge = Literal["max", "min", "left", "right"]
MERGES: tuple[Merge, ...] = get_args(Merge)
