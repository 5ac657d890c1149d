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
        held_back: the method judges by batches that are held back.
        function: histogram → amax; with ``held_back``: two histograms (what the range may be fitted to, what
            was held back) → `Threshold`.
    """

    name: str
    summary: str
    source: str
    calibrator: str
    held_back: bool
    function: Callable[..., Any]

    def threshold(self, histogram: Histogram, held_back: Histogram | None = None) -> Threshold:
        """Return the threshold of one tensor.

        Raises:
            ValueError: the method needs ``held_back``, and there is none.
        """
        if not self.held_back:
            return Threshold(self.function(histogram), self.name)
        if held_back is None:
            raise ValueError(
                f"algorithm is {self.name!r}, which judges by batches that calibrate() holds back; here it "
                f"must be one of {', '.join(methods(held_back=False))}"
            )
        found: Threshold = self.function(histogram, held_back)
        return found


def threshold_method(
    name: str,
    summary: str,
    *,
    source: str = "",
    calibrator: str = "EntropyCalibration2",
    held_back: bool = False,
) -> Callable[[Function], Function]:
    """Register a function as a threshold method; see `ThresholdMethod` for the arguments."""

    def register(function: Function) -> Function:
        _REGISTERED[name] = ThresholdMethod(name, summary, source, calibrator, held_back, function)
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


def methods(*, held_back: bool) -> dict[str, ThresholdMethod]:
    """Return the methods that do, or do not, judge by batches that are held back."""
    every = {name: method(name) for name in names()}
    return {name: found for name, found in every.items() if found.held_back is held_back}


def thresholds(
    histograms: Sequence[Histogram],
    *,
    algorithm: str,
    held_back: Sequence[Histogram] | None = None,
    threads: int | None = None,
) -> list[Threshold]:
    """Return the threshold of each histogram, in order.

    Args:
        histograms: of one tensor each.
        algorithm: a name in `names`.
        held_back: of the same tensors on batches that were held back, for a method that judges by them.
        threads: tensors searched at a time; None: as many as there are cores.

    Raises:
        ValueError: no such method, or one that needs ``held_back``.
    """
    from concurrent.futures import ThreadPoolExecutor

    from trt_int8.calibration.kernels import cores

    found = method(algorithm)
    others = [None] * len(histograms) if held_back is None else held_back
    with ThreadPoolExecutor(threads or cores(), thread_name_prefix="threshold") as pool:
        return list(pool.map(found.threshold, histograms, others))


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)
