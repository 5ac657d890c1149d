"""Calibration data: arrays, images, or any iterable become checked batches ``{input name: array}``."""

from trt_int8.batches.arrays import open_arrays
from trt_int8.batches.batching import batched
from trt_int8.batches.check import Batch, checked
from trt_int8.batches.images import ImageSamples, open_images
from trt_int8.batches.opening import batches_from, open_data
from trt_int8.batches.preprocess import PRESETS, Preprocessing, preprocessing_for
from trt_int8.batches.samples import ArraySamples, Samples
from trt_int8.choices import LAST

__all__ = [
    "LAST",
    "PRESETS",
    "ArraySamples",
    "Batch",
    "ImageSamples",
    "Preprocessing",
    "Samples",
    "batched",
    "batches_from",
    "checked",
    "open_arrays",
    "open_data",
    "open_images",
    "preprocessing_for",
]
