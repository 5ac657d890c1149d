"""The loops of calibration: nanoseconds to count a value, milliseconds to search a threshold.

    python benchmarks/kernels.py

Values are normal numbers behind a ReLU, 4 MB of them (which a cache may hold) and 64 MB (which it does not);
numpy's ``min`` and ``max`` of the same array are the limit that memory sets. Medians of 5 rounds, on one
core. What numba costs a process is measured in processes of their own, with a copy of the package: with what
numba stored before, at the first compilation, and where numba can write to no folder.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from results import save

from trt_int8.calibration.histogram import Histogram, add_by_numpy, add_compiled, new_slots
from trt_int8.calibration.kernels import COUNT, SEARCH, new_scratch
from trt_int8.calibration.thresholds import thresholds
from trt_int8.calibration.thresholds.entropy import searched

TENSORS = 200
ROUNDS = 5
#: Wall and processor time of importing numba, and of having both loops ready to be called.
MAKE_READY = """
import time
import numpy
from trt_int8.calibration.kernels import load_all
def now(): return time.perf_counter(), time.process_time()
start = now()
import numba
imported = now()
load_all()
ready = now()
print(*(b - a for a, b in zip(start, imported)), *(b - a for a, b in zip(start, ready)))
"""


def seconds(function, *arguments, **options):
    """Median of 5 calls, after one."""
    function(*arguments, **options)
    found = []
    for _ in range(5):
        start = time.perf_counter()
        function(*arguments, **options)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def make_ready(install, home):
    """Seconds, wall and CPU, in a new process: to import numba, and until both loops are ready."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
    environment = {**kept, "PYTHONPATH": str(install), "HOME": str(home)}
    command = [sys.executable, "-c", MAKE_READY]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=True)
    return [float(figure) for figure in done.stdout.split()]


def cost_of_numba():
    """Return the medians of `make_ready` by name of the measurement, and the number of processes."""
    package = Path(__file__).parents[1] / "trt_int8"
    with tempfile.TemporaryDirectory() as folder:
        install, home = Path(folder, "install"), Path(folder, "home")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, install / "trt_int8", ignore=ignored)
        found = {"at the first compilation, which is stored": [make_ready(install, home)]}
        found["with what was stored"] = [make_ready(install, home) for _ in range(ROUNDS)]
        # A file where the folder would be: not even root can write there.
        shutil.rmtree(install / "trt_int8" / "calibration" / "__pycache__")
        (install / "trt_int8" / "calibration" / "__pycache__").touch()
        nowhere = [make_ready(install, "/proc/no/home") for _ in range(3)]
        found["where numba can write to no folder"] = nowhere
    return {what: [statistics.median(c) for c in zip(*runs, strict=True)] for what, runs in found.items()}


def main():
    rows = []
    scale = {"ns": 1e9, "ms": 1e3, "s": 1}

    def show(step, took, unit):
        rows.append({"step": step, "seconds": took})
        print(f"| {step} | {took * scale[unit]:.2f} {unit} |", flush=True)

    loop, search, scratch = COUNT.now(), SEARCH.now(), new_scratch()
    if loop is None or search is None:
        sys.exit("numba is not installed: pip install 'trt_int8[fast]'")
    print("| step | measured |")
    print("| --- | --- |")
    values = np.maximum(np.random.default_rng(0).normal(size=1 << 24), 0).astype(np.float32)
    for array in (values[: 1 << 20], values):
        for name, function in (
            ("min and max of", lambda a: (a.min(), a.max())),
            ("counting, compiled,", lambda a: add_compiled(loop, new_slots(), a, -8, scratch)),
            ("counting, numpy,", lambda a: add_by_numpy(new_slots(), a, -8)),
        ):
            size = f"{array.nbytes >> 20} MB"
            show(f"{name} a float32 of {size}", seconds(function, array) / array.size, "ns")
    some = values[: 1 << 20]
    histograms = [Histogram.empty().add(some[i * 4096 :][:100_000] * (1 + i)) for i in range(TENSORS)]
    for name, chosen in (("compiled", search), ("numpy", None)):
        took = seconds(lambda used=chosen: [searched(h, used) for h in histograms[:20]]) / 20
        show(f"entropy search of a tensor, {name}", took, "ms")
    took = seconds(thresholds, histograms, algorithm="entropy") / TENSORS
    show(f"entropy search of a tensor, among {TENSORS}", took, "ms")
    for what, (import_wall, import_cpu, wall, cpu) in cost_of_numba().items():
        rows.append(
            {"step": what, "seconds": wall, "cpu_s": cpu, "import_s": import_wall, "import_cpu_s": import_cpu}
        )
        print(f"| numba ready, {what} | {wall:.2f} s ({cpu:.2f} s CPU), {import_wall:.2f} s of it import |")
    save("kernels", rows)


if __name__ == "__main__":
    main()
