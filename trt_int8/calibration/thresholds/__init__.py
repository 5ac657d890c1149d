"""Histogram → amax, the absolute value that INT8 code 127 stands for. One method a file, all pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.kernels import cores
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

#: What the explicit route takes by itself. TensorRT's calibrators take entropy, and so do caches for them;
#: for Q/DQ nodes the squared error is the safer choice (docs/explicit-quality.md has the figures).
EXPLICIT = "mse"

__all__ = [
    "ALGORITHMS",
    "EXPLICIT",
    "entropy_amax",
    "minmax_amax",
    "mse_amax",
    "percentile_amax",
    "require_algorithm",
    "thresholds",
]


def require_algorithm(algorithm: str, *, more: Sequence[str] = ()) -> None:
    """Raise ValueError for a name that is not in `ALGORITHMS`; ``more`` are other names to list."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm is {algorithm!r}; it must be one of {', '.join([*ALGORITHMS, *more])}")


def thresholds(histograms: Sequence[Histogram], *, algorithm: str, threads: int | None = None) -> list[float]:
    """amax of each histogram, in order.

    Args:
        histograms: of one tensor each.
        algorithm: a name in `ALGORITHMS`.
        threads: tensors searched at a time; None: as many as there are cores.
    """
    threshold = ALGORITHMS[algorithm]
    if algorithm == "minmax":
        return [threshold(histogram) for histogram in histograms]
    with ThreadPoolExecutor(threads or cores(), thread_name_prefix="threshold") as pool:
        return list(pool.map(threshold, histograms))
