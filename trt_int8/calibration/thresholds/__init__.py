"""Threshold methods: histogram → amax, the absolute value that INT8 code 127 stands for.

Each module of this package is one method and registers it with `threshold_method` under its own name. To add
a method, add such a module: the command line, the messages, the header of a cache and the documentation take
it from here.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from trt_int8.calibration.histogram import Histogram

#: What the explicit route takes by itself. TensorRT's calibrators take entropy, and so do caches for them;
#: for Q/DQ nodes the squared error is the safer choice (docs/explicit-quality.md has the figures).
EXPLICIT = "mse"
#: The order of methods in lists, and among equals in ``auto``; others follow by name.
_ORDER = ("entropy", "minmax", "percentile", "mse")
_REGISTERED: dict[str, ThresholdMethod] = {}
Function = TypeVar("Function", bound=Callable[..., Any])


class Threshold(NamedTuple):
    """amax of one tensor, and the name of the method that found it."""

    amax: float
    method: str


@dataclass(frozen=True)
class ThresholdMethod:
    """A way to choose the range of a tensor.

    Attributes:
        name: on the command line and in Python.
        summary: what it chooses, for people.
        source: where it is published.
        calibrator: TensorRT's name for the calibrator that reads caches of such ranges.
        held_out: the method judges by batches that are held out.
        function: histogram → amax; with ``held_out``: two histograms (what the range may be fitted to, what
            was held out) → `Threshold`.
    """

    name: str
    summary: str
    source: str
    calibrator: str
    held_out: bool
    function: Callable[..., Any]

    def threshold(self, histogram: Histogram, held_out: Histogram | None = None) -> Threshold:
        """Return the threshold of one tensor.

        Raises:
            ValueError: the method needs ``held_out``, and there is none.
        """
        if not self.held_out:
            return Threshold(self.function(histogram), self.name)
        if held_out is None:
            raise ValueError(
                f"algorithm is {self.name!r}, which judges by batches that calibrate() holds out; here it "
                f"must be one of {', '.join(methods(held_out=False))}"
            )
        found: Threshold = self.function(histogram, held_out)
        return found


def threshold_method(
    name: str,
    summary: str,
    *,
    source: str = "",
    calibrator: str = "EntropyCalibration2",
    held_out: bool = False,
) -> Callable[[Function], Function]:
    """Register a function as a threshold method; see `ThresholdMethod` for the arguments."""

    def register(function: Function) -> Function:
        _REGISTERED[name] = ThresholdMethod(name, summary, source, calibrator, held_out, function)
        return function

    return register


def names() -> tuple[str, ...]:
    """Return the names of all methods; none of them is imported for that."""
    modules = {module.name for module in pkgutil.iter_modules(__path__)}
    return tuple(sorted(modules | set(_REGISTERED), key=_place))


def method(name: str) -> ThresholdMethod:
    """Return the method of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in _REGISTERED:
        if name not in names():
            raise ValueError(f"algorithm is {name!r}; it must be one of {', '.join(names())}")
        importlib.import_module(f"{__name__}.{name}")
    return _REGISTERED[name]


def methods(*, held_out: bool) -> dict[str, ThresholdMethod]:
    """Return the methods that do, or do not, judge by batches that are held out."""
    every = {name: method(name) for name in names()}
    return {name: found for name, found in every.items() if found.held_out is held_out}


def thresholds(
    histograms: Sequence[Histogram],
    *,
    algorithm: str,
    held_out: Sequence[Histogram] | None = None,
    threads: int | None = None,
) -> list[Threshold]:
    """Return the threshold of each histogram, in order.

    Args:
        histograms: of one tensor each.
        algorithm: a name in `names`.
        held_out: of the same tensors on batches that were held out, for a method that judges by them.
        threads: tensors searched at a time; None: as many as there are cores.

    Raises:
        ValueError: no such method, or one that needs ``held_out``.
    """
    from concurrent.futures import ThreadPoolExecutor

    from trt_int8.calibration.kernels import cores

    found = method(algorithm)
    others = [None] * len(histograms) if held_out is None else held_out
    with ThreadPoolExecutor(threads or cores(), thread_name_prefix="threshold") as pool:
        return list(pool.map(found.threshold, histograms, others))


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)
