"""Histogram → amax, the absolute value that INT8 code 127 stands for. One method a file, all pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.thresholds.entropy import entropy_amax
from trt_int8.calibration.thresholds.minmax import minmax_amax
from trt_int8.calibration.thresholds.mse import mse_amax
from trt_int8.calibration.thresholds.percentile import percentile_amax

#: Name on the command line and in the API → function.
ALGORITHMS: dict[str, Callable[[Histogram], float]] = {
    "entropy": entropy_amax,
    "minmax": minmax_amax,
    "percentile": percentile_amax,
    "mse": mse_amax,
}

__all__ = ["ALGORITHMS", "entropy_amax", "minmax_amax", "mse_amax", "percentile_amax", "require_algorithm"]


def require_algorithm(algorithm: str, *, more: Sequence[str] = ()) -> None:
    """Raise ValueError for a name that is not in `ALGORITHMS`; ``more`` are other names to list."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm is {algorithm!r}; it must be one of {', '.join([*ALGORITHMS, *more])}")
