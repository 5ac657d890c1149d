"""What the builder may do on the implicit route."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields

from trt_int8.choices import Constraints
from trt_int8.engine.implicit.rule_files import Source
from trt_int8.model.shape_range import GivenShapes
from trt_int8.streamer.device import Device


@dataclass(frozen=True, kw_only=True)
class ImplicitOptions:
    """What the builder may do.

    Attributes:
        fp16, bf16: other precisions it may choose; without them a layer is INT8 or FP32.
        tf32: whether FP32 layers may use TF32.
        keep_fp16, keep_fp32: names or globs of layers to keep out of INT8. fp16 needs ``fp16``.
        constraints: ``obey`` these or fail; or ``prefer`` them and warn.
        ranges: dynamic ranges set by hand, see `trt_int8.engine.implicit.rule_files`; they win over
            calibration, later ones over earlier ones.
        shapes: min, opt and max shape of each input that is dynamic.
        batch_size: instead of ``shapes`` where only the first axis is dynamic: from 1 to this.
        workspace: limit of the layers' scratch memory in bytes; None for TensorRT's own.
        timing_cache: file of kernel timings, shared by builds.
        cache: file of TensorRT's calibration cache; it is used if it fits model and data, else written.
        reuse_cache: use that cache whatever it was made from.
        device: where the calibrator puts batches, see `trt_int8.streamer.device`; None: the CUDA device.
    """

    fp16: bool = False
    bf16: bool = False
    tf32: bool = True
    keep_fp16: Sequence[str] = ()
    keep_fp32: Sequence[str] = ()
    constraints: Constraints = "obey"
    ranges: Sequence[Source] = ()
    shapes: GivenShapes | None = None
    batch_size: int | None = None
    workspace: int | None = None
    timing_cache: str | os.PathLike[str] | None = None
    cache: str | os.PathLike[str] | None = None
    reuse_cache: bool = False
    device: Device | None = None

    def asked_for(self) -> list[str]:
        """Names of the options that differ from the defaults."""
        return [field.name for field in fields(self) if getattr(self, field.name) != field.default]
