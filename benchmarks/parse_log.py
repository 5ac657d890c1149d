"""Parsing speed and memory: a real log, repeated, streamed through a pipe of bytes, with full candidates.

``python benchmarks/parse_log.py [--log FILE] [--megabytes N]``. Beside it, in the same run and on the first
part of the same bytes: a plain parser that tries one ``re.match`` per line and keeps nothing but times.
Each runs in a process of its own, so that the peak memory is its own. Times are CPU seconds of one core,
medians of ``--rounds``.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import re
import resource
import statistics
import time
from pathlib import Path

from results import save

from trt_int8.report.explain.build import explain
from trt_int8.report.read.log_file import split_lines
from trt_int8.report.read.verbose_log import observe

HERE = Path(__file__).parent
CORPUS = HERE.parents[1] / "shared/corpus/logs"
LOGS = [
    CORPUS / "trt8502_trex_yolo_qat_int8_trtexec.log",  # INT8, an engine of 86 layers every 2 MB
    CORPUS / "trt101600_cookbook_mnist_trtexec.log",  # Myelin's tables
    HERE.parent / "tests/report/logs/rtx_lenet_qdq.log",  # no tuning: an engine every 40 kB
]
LINE = re.compile(
    r"(?:\[[^\]]*\] )?(?:\[[VIWE]\] )?(?:\[TRT\] )?(?:\[[VIWE]\] )?(?:"
    r"Tactic(?: Name: (?P<name>\S+) Tactic)?: (?P<tactic>\S+) Time: (?P<time>\S+)"
    r"|-+ Timing Runner: (?P<layer>.*) \((?P<runner>[^()]*)\)"
    r"|\*+ Autotuning (?:format combination|Reformat): (?P<formats>.*?) \*+"
    r"|Layer\((?P<type>\w+)\): (?P<engine>.*), Tactic: "
    r")"
)


def blocks(data, total):
    """``data`` again and again, in blocks of 1 MiB, until ``total`` bytes have passed."""
    passed = 0
    rest = b""
    for _ in itertools.count():
        rest += data
        while len(rest) >= 1 << 20:
            yield rest[: 1 << 20]
            rest = rest[1 << 20 :]
            passed += 1 << 20
            if passed >= total:
                return


def report(data, total):
    layers = candidates = 0
    for build in map(explain, observe(split_lines(blocks(data, total)))):
        layers += len(build.layers)
        candidates += sum(len(layer.candidates) for layer in build.layers)
    return f"{layers} layers, {candidates} candidates"


def baseline(data, total):
    matched = 0
    for lines in split_lines(blocks(data, total)):
        for line in lines:
            matched += LINE.match(line.decode("utf-8", "replace")) is not None
    return f"{matched} lines matched"


def measure(work, path, total, queue):
    data = path.read_bytes()
    started = time.process_time()
    found = work(data, total)
    seconds = time.process_time() - started
    queue.put((total / 1e6 / seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, found))


def main():
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--log", type=Path, help="a verbose log; else the real ones at hand")
    arguments.add_argument("--megabytes", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    rows = []
    for path in [options.log] if options.log else [path for path in LOGS if path.is_file()]:
        print(f"{path.name}, repeated to {options.megabytes} MB")
        runs = {report: [], baseline: []}
        for _ in range(options.rounds):
            runs[report].append(apart(report, path, options.megabytes * 1_000_000))
            runs[baseline].append(apart(baseline, path, options.megabytes * 200_000))
        speeds = {}
        for work, measured in runs.items():
            speed = speeds[work.__name__] = statistics.median(run[0] for run in measured)
            memory, found = max(run[1] for run in measured), measured[0][2]
            rows.append(
                {
                    "log": path.name,
                    "what": work.__name__,
                    "mb_per_s": speed,
                    "peak_mb": memory,
                    "found": found,
                }
            )
            print(f"  {work.__name__:8} {speed:7.1f} MB/s, peak {memory:5.0f} MB resident; {found}")
        print(f"  report / baseline: {speeds['report'] / speeds['baseline']:.1f}", flush=True)
    save("parse_log", rows, rounds=options.rounds, megabytes=options.megabytes)


def apart(work, path, total):
    """MB/s, peak MB and what was found, of ``work`` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=measure, args=(work, path, total, queue))
    process.start()
    found = queue.get()
    process.join()
    return found


if __name__ == "__main__":
    main()
