"""The error of INT8 on a density, integrated exactly."""

from __future__ import annotations

import math

import numpy as np

from trt_int8.analysis.density import Density, Floats

#: The codes of INT8.
LOWEST, HIGHEST = -128, 127


def noise(density: Density, scale: float, zero_point: int = 0) -> float:
    """Σ(x − x̂)² for x̂ = scale · (clip(round(x / scale) + zero_point, -128, 127) − zero_point).

    The antiderivative of the squared error is F(x) = n·scale³/12 + r³/3, with n the clipped rounded
    quotient and r = x − n·scale: a full step adds scale³/12, and what is left of it or lies beyond the last
    code adds a cubic. The mean over a cell is (F(high) − F(low)) / (high − low).
    """
    low, high = (LOWEST - zero_point, HIGHEST - zero_point)
    width = density.high - density.low
    middle = (density.low + density.high) / 2
    point = np.square(middle - scale * np.clip(np.rint(middle / scale), low, high))
    # Differences of F lose all digits where a cell is far narrower than its distance from zero.
    wide = width > 1e-9 * np.maximum(np.abs(middle), scale)
    integral = _antiderivative(density.high, scale, low, high) - _antiderivative(
        density.low, scale, low, high
    )
    mean = np.where(wide, integral / np.where(wide, width, 1), point)
    return float(np.maximum(mean, 0) @ density.weight)


def _antiderivative(x: Floats, scale: float, low: int, high: int) -> Floats:
    steps = np.clip(np.rint(x / scale), low, high)
    rest = x - steps * scale
    return np.asarray(steps * scale**3 / 12 + rest**3 / 3)


def sqnr_db(density: Density, scale: float, zero_point: int = 0) -> float:
    """10·log10(Σx² / Σ(x − x̂)²); inf without an error, NaN without a signal or a usable scale."""
    power = density.power
    if not power > 0 or not 0 < scale < math.inf:
        return math.nan
    error = noise(density, scale, zero_point)
    return 10 * math.log10(power / error) if error > 0 else math.inf
