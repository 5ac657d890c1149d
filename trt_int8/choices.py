"""The values of arguments with choices, for types, checks, and the options of the command line.

This module imports no other one, so that ``--help`` is quick.
"""

from __future__ import annotations

from typing import Literal, get_args

#: Rules for Q/DQ pairs: `trt_int8.quantization.placement.PLACEMENTS` holds them.
PlacementName = Literal["tensorrt", "rtx"]
PLACEMENTS: tuple[PlacementName, ...] = get_args(PlacementName)
#: Type of the layers that are not INT8, and of the scales of a model in FP16.
FloatType = Literal["fp32", "fp16"]
FLOAT_TYPES: tuple[FloatType, ...] = get_args(FloatType)
#: The route to INT8: TensorRT chooses the layers (implicit), or Q/DQ nodes do (explicit).
Mode = Literal["auto", "implicit", "explicit"]
MODES: tuple[Mode, ...] = get_args(Mode)
#: ``obey``: the build fails if TensorRT has no such kernel; ``prefer``: it warns and uses another.
Constraints = Literal["obey", "prefer"]
CONSTRAINTS: tuple[Constraints, ...] = get_args(Constraints)
#: Handling of a short last batch: keep it, drop it, or pad it by repeating its last sample.
Last = Literal["keep", "drop", "pad"]
LAST: tuple[Last, ...] = get_args(Last)
#: Named preprocessing of images, see `trt_int8.batches.PRESETS`.
Preset = Literal["imagenet", "yolo"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
#: How an image is resized, see `trt_int8.batches.preprocess.resized`.
Resize = Literal["stretch", "letterbox", "crop", "none"]
RESIZE: tuple[Resize, ...] = get_args(Resize)
#: Order of an image's channels, and position of the channel axis.
Color = Literal["rgb", "bgr", "grey"]
COLORS: tuple[Color, ...] = get_args(Color)
Layout = Literal["nchw", "nhwc"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
#: Formats of a file of ranges, see `trt_int8.ranges.files.RangeFile`.
RangeForm = Literal["tensorrt", "json", "yaml", "ort-json", "ort-tensors", "ort-flatbuffers", "ort-cache"]
RANGE_FORMS: tuple[RangeForm, ...] = get_args(RangeForm)
#: The range of a tensor that two caches have, see `trt_int8.ranges.compare.MERGES`.
Merge = Literal["max", "min", "left", "right"]
MERGES: tuple[Merge, ...] = get_args(Merge)
