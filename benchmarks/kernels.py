"""The loops of calibration: nanoseconds to count a value, milliseconds to search a threshold.

    python benchmarks/kernels.py

Values are normal numbers behind a ReLU. numpy's ``min`` and ``max`` over the same array are the limit that
memory sets. Medians of 5 rounds; all in one process, on one core but for the last line.
"""

import statistics
import time

import numpy as np
from results import save

from trt_int8.calibration.compiled import kernels
from trt_int8.calibration.counting import count_compiled, count_numpy
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.thresholds import entropy_amax, thresholds

TENSORS = 200


def seconds(function, *arguments, **options):
    """Median of 5 calls, after one."""
    function(*arguments, **options)
    found = []
    for _ in range(5):
        start = time.perf_counter()
        function(*arguments, **options)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def main():
    loaded = kernels()
    values = np.maximum(np.random.default_rng(0).normal(size=1 << 24), 0).astype(np.float32)
    some = values[: 1 << 20]

    rows = []

    def show(step, took, unit):
        rows.append({"step": step, "seconds": took})
        print(f"| {step} | {took * {'ns': 1e9, 'ms': 1e3}[unit]:.2f} {unit} |", flush=True)

    def extremes(array):
        return array.min(), array.max()

    print("| step | measured |")
    print("| --- | --- |")
    show("min and max of a float32 (numpy)", seconds(extremes, values) / values.size, "ns")
    for name, function in (
        ("compiled", lambda array: count_compiled(loaded, array, -8)),
        ("numpy", lambda array: count_numpy(array, -8)),
    ):
        show(f"counting a float32 ({name})", seconds(function, some) / some.size, "ns")
    histograms = [Histogram.empty().add(some[i * 4096 :][:100_000] * (1 + i)) for i in range(TENSORS)]
    for name, chosen in (("compiled", loaded), ("numpy", None)):
        took = seconds(lambda used=chosen: [entropy_amax(h, kernels=used) for h in histograms[:20]]) / 20
        show(f"entropy search of a tensor ({name})", took, "ms")
    took = seconds(thresholds, histograms, algorithm="entropy") / TENSORS
    show(f"entropy search of a tensor, {TENSORS} of them on all cores", took, "ms")
    save("kernels", rows)


if __name__ == "__main__":
    main()
