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
    """Options of quantization. The defaults give the best accuracy.

    Attributes:
        algorithm: calibration algorithm; None: ``mse`` for Q/DQ pairs, ``entropy`` for TensorRT's calibrator.
        placement: rules for Q/DQ pairs; None: the rules for the target.
        selection: nodes that may be quantized.
        plan: precision by node name.
        bias_correction: correct biases for the mean error of quantization. None: if there are samples; True:
            fail without samples.
        recentred: names or patterns of tensors to quantize as x − μ, if that raises SQNR.
        high_precision: ``fp32`` or ``fp16``: the type of all tensors that are not INT8.
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

        if isinstance(self.recentred, str):
            raise TypeError(f"recentred is {self.recentred!r} (str); give a list: [{self.recentred!r}]")

    def asked_for(self) -> list[str]:
        """Return the names of the options that differ from the default; ``False`` and empty ones do not."""
        default = QuantizationOptions()
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return [name for name, value in values.items() if value and value != getattr(default, name)]


@dataclass(frozen=True, kw_only=True)
class CalibrationOptions:
    """How calibration runs on the CPU; see `trt_int8.calibrate` for each.

    Attributes:
        threads: number of batches in flight.
        max_memory: limit for the memory of the process, in bytes.
        checkpoint: file to save progress to.
        scheduler: address of a Dask scheduler.
        workers: number of Dask workers to start on this machine.
    """

    threads: int | None = None
    max_memory: int | None = None
    checkpoint: str | os.PathLike[str] | None = None
    scheduler: str | None = None
    workers: int | None = None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The optimization profile: shapes that the engine must accept.

    Attributes:
        shapes: min, opt and max shape of each dynamic input: a text or a list of texts for
            `trt_int8.parse_shapes`, or ``{input name: ShapeRange}``.
        batch_size: the max batch, if only the first axis is dynamic.
        rename_dims: rename axes that share a symbolic name but get different sizes.
    """

    shapes: GivenShapes | None = None
    batch_size: int | None = None
    rename_dims: bool = False

    def __post_init__(self) -> None:
        require_count(self.batch_size, "batch_size")
