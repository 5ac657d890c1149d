"""Calibration against plain inference (T0), inference with every activation fetched (T1), and peers.

    python benchmarks/calibrate.py [--images 16,64] [--models det,cls,lenet] [--methods T0,T1,ours]

Every method runs in a process of its own, start included, and the methods take turns within each round, so
that a slow minute of the machine hits all. Beyond 256 images only T1 and ours are run: for the memory. What
would need more memory than there is, by the runs before with fewer images, is left out. Models come from
PyPI; so does modelopt, into an environment of its own under ``build``. Prints a table and writes it as JSON
(``--json``) after each group. All of it takes half an hour.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
#: Where the comparison of quality keeps modelopt, too.
PEERS = HERE.parent / "build" / "explicit-quality"
sys.path[:0] = [str(HERE / "calibration"), str(HERE.parent)]

from methods import METHODS  # noqa: E402 - behind the path
from process import Measured, measure  # noqa: E402 - behind the path
from quality.environment import Environment  # noqa: E402 - behind the path
from results import CACHE, save, write  # noqa: E402 - behind the path

from trt_int8.calibration.kernels import load_all  # noqa: E402 - behind the path

WHEEL = "rapidocr-onnxruntime==1.4.4"
#: Images up to which all methods are run.
MOST = 256
#: Methods that keep the activations of all images.
KEEPS_ALL = ("onnxruntime entropy",)
#: Name → file in the wheel, shape of an image.
MODELS = {
    "det": ("rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx", (3, 320, 320)),
    "cls": ("rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", (3, 48, 192)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", default="16,64,256,1024")
    parser.add_argument("--models", default="lenet,cls,det")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", default=CACHE / "calibrate.json")
    options = parser.parse_args()
    CACHE.mkdir(exist_ok=True)
    counts = sorted({int(count) for count in options.images.split(",")})
    load_all()  # compiled here once; the processes that are measured load what numba stored
    results: list[dict] = []
    for model in options.models.split(","):
        path, images = prepared(model)
        for count in counts:
            methods = [m for m in options.methods.split(",") if count <= MOST or m in ("T1", "ours")]
            before = [entry for entry in results if entry["model"] == model]
            left_out = {m: need for m in methods if (need := needed(m, count, before)) > available()}
            runs = measured(path, images, count, [m for m in methods if m not in left_out], options.rounds)
            rows = [row(model, count, method, runs) for method in runs]
            results += rows
            if rows:
                print_table(rows)
                write("calibrate", results, path=options.json, rounds=options.rounds)
            for method, need in left_out.items():
                print(f"{model}, {count} images, {method}: not run, would need some {need / 1024:.0f} GB")
    save("calibrate", results, path=options.json, rounds=options.rounds)


def needed(method: str, count: int, before: list[dict]) -> float:
    """Megabytes a method will need, if they grow as they did so far; 0 if that is not known.

    ``before``: the rows so far, of fewer images each. One row tells enough of a method that keeps all.
    """
    seen = [entry for entry in before if entry["method"] == method]
    if method in KEEPS_ALL:
        seen.insert(0, {"rss_anon_mb": 0, "images": 0})
    if len(seen) < 2:
        return 0
    last, first = seen[-1], seen[-2]
    growth = (last["rss_anon_mb"] - first["rss_anon_mb"]) / (last["images"] - first["images"])
    return last["rss_anon_mb"] + max(growth, 0) * (count - last["images"])


def available() -> float:
    """Megabytes of memory, nine tenths of all."""
    return 0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20


def measured(
    model: Path, images: Path, count: int, methods: list[str], rounds: int
) -> dict[str, list[Measured]]:
    runs: dict[str, list[Measured]] = {method: [] for method in methods}
    root = str(HERE.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    for number in range(rounds + 1):
        for method in methods:
            command = [interpreter(method), str(HERE / "calibration" / "methods.py"), method]
            arguments = [str(model), str(images), str(count if number else 1), str(CACHE / "out")]
            result = measure([*command, *arguments], environment=environment)
            if number:  # the first round fills the disk's caches
                runs[method].append(result)
    return runs


def row(model: str, count: int, method: str, runs: dict[str, list[Measured]]) -> dict:
    def median(name: str, field: str) -> float:
        return statistics.median(getattr(run, field) for run in runs[name])

    base = "T1" if "T1" in runs else next(iter(runs))
    ratios = [a.wall / b.wall for a, b in zip(runs[method], runs[base], strict=True)]
    return {
        "model": model,
        "images": count,
        "method": method,
        "wall_s": round(median(method, "wall"), 2),
        "cpu_s": round(median(method, "cpu"), 2),
        "rss_anon_mb": round(median(method, "rss_anon")),
        "base": base,
        "wall_ratio": round(statistics.median(ratios), 2),
        "cpu_ratio": round(median(method, "cpu") / median(base, "cpu"), 2),
    }


def print_table(rows: list[dict]) -> None:
    print(f"\n{rows[0]['model']}, {rows[0]['images']} images")
    print(f"| method | wall / {rows[0]['base']} | CPU / {rows[0]['base']} | wall s | CPU s | RssAnon MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for entry in rows:
        fields = ("method", "wall_ratio", "cpu_ratio", "wall_s", "cpu_s", "rss_anon_mb")
        print("| " + " | ".join(str(entry[field]) for field in fields) + " |")
    wall = {entry["method"]: entry["wall_s"] for entry in rows}
    for peer in ("onnxruntime entropy", "modelopt entropy"):
        if peer in wall and "ours" in wall:
            print(f"ours is {wall[peer] / wall['ours']:.1f} times as fast as {peer}")
    sys.stdout.flush()


def prepared(model: str) -> tuple[Path, Path]:
    """The model's file, and a file of images for it: digits, or smooth noise."""
    if model == "lenet":
        with np.load(HERE.parent / "samples" / "mnist" / "digits.npz") as data:
            images = data["calibration_images"][:64, None] / np.float32(256)
        path = HERE.parent / "samples" / "mnist" / "lenet.onnx"
    else:
        name, shape = MODELS[model]
        path = CACHE / Path(name).name
        if not path.exists():
            download = ["download", "--quiet", "--no-deps", "--dest", str(CACHE), WHEEL]
            subprocess.run([sys.executable, "-m", "pip", *download], check=True)
            with zipfile.ZipFile(next(CACHE.glob("rapidocr*.whl"))) as archive:
                path.write_bytes(archive.read(name))
        coarse = np.random.default_rng(0).normal(size=(8, shape[0], shape[1] // 8, shape[2] // 8))
        images = np.clip(np.kron(coarse, np.ones((1, 1, 8, 8))), -1, 1).astype(np.float32)
    np.save(CACHE / f"{model}.npy", images)
    return path, CACHE / f"{model}.npy"


def interpreter(method: str) -> str:
    """The Python that runs a method: modelopt has an environment of its own."""
    return str(Environment(PEERS).python("modelopt")) if method.startswith("modelopt") else sys.executable


if __name__ == "__main__":
    main()
