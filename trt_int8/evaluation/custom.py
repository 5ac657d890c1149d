"""A metric of the user's own: ``module:function`` or ``file.py:function``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from trt_int8.batches.entry import load_entry
from trt_int8.errors import DataError

Outputs = Mapping[str, npt.NDArray[np.generic]]
#: (outputs of all samples, labels or None) → a figure, higher is better.
Metric = Callable[[Outputs, npt.NDArray[np.generic] | None], float]


def load_metric(source: str) -> Metric:
    """The function that ``source`` names.

    It is called as ``function(outputs, labels)`` with ``{output name: array of all samples}`` and the
    labels (None without ``--labels``), and returns a number; higher is better.

    Raises:
        DataError: no such file, module or function.
    """
    function = load_entry(source)

    def metric(outputs: Outputs, labels: npt.NDArray[np.generic] | None) -> float:
        try:
            value = float(function(outputs, labels))
        except Exception as error:
            raise DataError(f"the metric {source} raised {type(error).__name__}: {error}") from error
        if not math.isfinite(value):
            raise DataError(
                f"the metric {source} returned {value}; it must return a finite number, higher is better"
            )
        return value

    return metric
