"""Run a command and measure it: wall time, processor time, anonymous memory of it and its children."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """Seconds and megabytes of one run."""

    wall: float
    cpu: float
    rss_anon: float


def measure(
    command: Sequence[str], *, environment: dict[str, str] | None = None, folder: Path | None = None
) -> Measured:
    """Run ``command`` in ``folder`` to its end; the memory is looked at 50 times a second."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, cwd=folder
    )
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    peak, messages = 0.0, b""
    while True:
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
        messages += process.stderr.read() or b""
        if done:
            break
        peak = max(peak, _anonymous(process.pid))
        time.sleep(0.02)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise RuntimeError(
            f"{' '.join(command)}: exit code {process.returncode}\n{messages.decode()[-3000:]}"
        )
    return Measured(wall, usage.ru_utime + usage.ru_stime, peak)


def _anonymous(pid: int) -> float:
    """Anonymous resident megabytes of a process and all its children; 0 once it has ended."""
    total = 0.0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1]) / 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += _anonymous(int(child))
    except (OSError, ValueError):
        pass
    return total
