"""Options of the main job, grouped by what they decide."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from trt_int8.arguments import require_count
from trt_int8.graph.shapes import GivenShapes
from trt_int8.quantization.placement import Placement
from trt_int8.quantization.plan import PrecisionPlan
from trt_int8.quantization.selection import Selection


@dataclass(frozen=True, kw_only=True)
class QuantizationOptions:
    """What runs in INT8, with which ranges, and how its loss is corrected. Defaults are the strongest.

    Attributes:
        algorithm: calibration algorithm; None: ``mse`` for Q/DQ pairs, ``entropy`` for TensorRT's calibrator.
        placement: rules for Q/DQ pairs; None: those that fit the target.
        selection: nodes that may be quantized.
        plan: precision by node name.
        bias_correction: correct biases for the mean error of quantization. None: where there are samples;
            True: fail where there are none.
        recentred: names or patterns of tensors to quantize as x − μ, where that helps.
        high_precision: ``fp32`` or ``fp16``: the type of what is not INT8.
        scale_dtype: of an FP16 model: ``fp32`` scales (opset 23, exact) or ``fp16`` ones (opset 19).
    """

    algorithm: str | None = None
    placement: str | Placement | None = None
    selection: Selection = field(default_factory=Selection)
    plan: PrecisionPlan | None = None
    bias_correction: bool | None = None
    recentred: Sequence[str] = ()
    high_precision: str = "fp32"
    scale_dtype: str = "fp32"

    def __post_init__(self) -> None:
        if not isinstance(self.plan, PrecisionPlan | None):
            example = "(plan)" if isinstance(self.plan, dict) else ".read(path)"
            raise TypeError(
                f"plan is {self.plan!r:.40} ({type(self.plan).__name__}); give "
                f"trt_int8.quantization.PrecisionPlan{example}"
            )

    def asked_for(self) -> list[str]:
        """Names of the options that differ from the defaults. ``False`` and empty ones ask for nothing."""
        default = QuantizationOptions()
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return [name for name, value in values.items() if value and value != getattr(default, name)]


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """How calibration runs on the CPU; see `trt_int8.calibrate` for each.

    Attributes:
        threads: batches in flight.
        max_memory: bytes that the process may take.
        checkpoint: file to save to on the way.
        scheduler: address of a Dask scheduler.
        workers: so many Dask workers on this machine.
    """

    threads: int | None = None
    max_memory: int | None = None
    checkpoint: str | os.PathLike[str] | None = None
    scheduler: str | None = None
    workers: int | None = None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The optimization profile: shapes that the engine has to take.

    Attributes:
        shapes: min, opt and max shape of each dynamic input: a text or a list of them, as for
            `trt_int8.parse_shapes`, or ``{input name: ShapeRange}``.
        batch_size: the largest batch, where only the first axis is dynamic.
        rename_dims: give axes that share a symbolic name, and get different sizes, names of their own.
    """

    shapes: GivenShapes | None = None
    batch_size: int | None = None
    rename_dims: bool = False

    def __post_init__(self) -> None:
        require_count(self.batch_size, "batch_size")
