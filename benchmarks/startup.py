"""What starting costs: ``import trt_int8`` and ``trt-int8 --help`` over a bare Python, in milliseconds."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from results import save

STATEMENTS = {
    "bare Python": "pass",
    "import trt_int8": "import trt_int8",
    "trt-int8 --help": "import sys; from trt_int8.cli import main; sys.argv = ['trt-int8', '--help']; main()",
    "trt-int8 calibrate --help": "import sys; from trt_int8.cli import main; "
    "sys.argv = ['trt-int8', 'calibrate', '--help']; main()",
}
ROUNDS = 15


def main() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in STATEMENTS}
    for _ in range(ROUNDS + 1):
        for name, statement in STATEMENTS.items():
            cpu, start = _children(), time.perf_counter()
            command = [sys.executable, "-c", statement]
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
            times[name].append((time.perf_counter() - start, _children() - cpu))
    bare = [statistics.median(column) for column in zip(*times["bare Python"][1:], strict=True)]
    print("| | wall ms over bare Python | CPU ms over bare Python |\n| --- | --- | --- |")
    rows = []
    for name, runs in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*runs[1:], strict=True))
        rows.append({"what": name, "wall_ms": (wall - bare[0]) * 1e3, "cpu_ms": (cpu - bare[1]) * 1e3})
        print(f"| {name} | {rows[-1]['wall_ms']:.0f} | {rows[-1]['cpu_ms']:.0f} |")
    save("startup", rows, rounds=ROUNDS)


def _children() -> float:
    used = os.times()
    return used.children_user + used.children_system


if __name__ == "__main__":
    main()
