"""Metrics of accuracy: differences between two streams of arrays, top-k, and the user's own metric."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trt_int8.batches.entry import load_entry
from trt_int8.errors import DataError


@dataclass
class Difference:
    """Sums in float64 over a reference x and an approximation y of it, accumulated batch by batch.

    An element that is equally ±inf in both has no error; if it is ±inf in one, the error is infinite. ±inf
    does not add to the signal.
    """

    signal: float = 0.0
    noise: float = 0.0
    other: float = 0.0
    product: float = 0.0
    max_abs: float = 0.0

    def add(self, reference: npt.NDArray[np.generic], approximation: npt.NDArray[np.generic]) -> None:
        """Add one batch; both arrays have the same shape."""
        x, y = reference.astype(np.float64).ravel(), approximation.astype(np.float64).ravel()
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are results
            error = np.where(x == y, 0.0, y - x)
            x, y = (np.where(np.isfinite(values), values, 0.0) for values in (x, y))
            self.signal += float(x @ x)
            self.noise += float(error @ error)
            self.other += float(y @ y)
            self.product += float(x @ y)
            self.max_abs = max(self.max_abs, float(np.abs(error).max(initial=0.0)))

    def merge(self, other: Difference) -> None:
        """Add the sums of ``other``."""
        self.signal += other.signal
        self.noise += other.noise
        self.other += other.other
        self.product += other.product
        self.max_abs = max(self.max_abs, other.max_abs)

    @property
    def sqnr_db(self) -> float:
        """Signal-to-quantization-noise ratio, 10·log10(Σx² / Σ(y − x)²) dB; inf if equal."""
        if self.noise == 0:
            return math.inf
        if not self.signal or math.isinf(self.noise):
            return -math.inf
        return 10 * (math.log10(self.signal) - math.log10(self.noise))

    @property
    def cosine(self) -> float:
        """Cosine of the angle between x and y; 1.0 if both are 0, 0.0 if only one is, NaN beyond float64."""
        norms = math.sqrt(self.signal) * math.sqrt(self.other)
        if not math.isfinite(norms):
            return math.nan
        if norms == 0:
            return 1.0 if self.signal == self.other else 0.0
        return self.product / norms


def topk(scores: npt.NDArray[np.generic], k: int) -> npt.NDArray[np.int64]:
    """Return the k classes with the highest scores: [n, classes] → int64 [n, k]; of equals the lower one."""
    return np.asarray(np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :k], np.int64)


Outputs = Mapping[str, npt.NDArray[np.generic]]
Labels = npt.NDArray[np.generic] | None
#: (outputs of all samples, labels or None[, the float model's outputs]) → a number, higher is better.
Metric = Callable[[Outputs, Labels], float] | Callable[[Outputs, Labels, Outputs], float]


def measure(metric: Metric, outputs: Outputs, labels: Labels, *, reference: Outputs) -> float:
    """Return the value of ``metric``.

    The float model's outputs, ``reference``, are given to a metric whose third parameter has no default.

    Args:
        metric: the function.
        outputs: name → array of all samples, of the model that is measured.
        labels: as the user gave them.
        reference: likewise, of the float model.

    Examples:
        >>> def same(outputs, labels, float_outputs):
        ...     return float((outputs["y"] == float_outputs["y"]).mean())
        >>> measure(same, {"y": np.ones(2)}, None, reference={"y": np.array([1, 0])})
        0.5
    """
    function: Callable[..., float] = metric
    return function(outputs, labels, reference) if _takes_reference(function) else function(outputs, labels)


def _takes_reference(function: Callable[..., float]) -> bool:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a builtin without a signature
        return False
    given = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(given) > 2 and given[2].default is inspect.Parameter.empty


def load_metric(source: str) -> Metric:
    """Load the function that ``source`` names, a `Metric`.

    Raises:
        DataError: no such file, module or function.
    """
    function = load_entry(source)

    def metric(outputs: Outputs, labels: Labels, reference: Outputs) -> float:
        try:
            value = float(measure(function, outputs, labels, reference=reference))
        except Exception as error:
            raise DataError(f"the metric {source} raised {type(error).__name__}: {error}") from error
        if not math.isfinite(value):
            raise DataError(
                f"the metric {source} returned {value}; it must return a finite number, higher is better"
            )
        return value

    return metric
