"""Models with calibration data: the sample's LeNet, and PP-OCR's classifier and detector as they ship."""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from quality import data
from quality.models import DIGITS, RAPIDOCR

ROOT = Path(__file__).parents[2]
#: Wheels to download: the models, and photographs behind the text.
WHEELS = ("rapidocr", "sklearn", "skimage")


@dataclass(frozen=True)
class Subject:
    """A model that both commits work on.

    Attributes:
        name: in the table.
        model: the float ONNX model.
        samples: what it is calibrated with, by input: float32, axis 0 counts samples.
        options: of every command that reads data, shapes and batch size.
        log: log of an implicit build of it, for ``migrate --log``.
    """

    name: str
    model: Path
    samples: dict = field(repr=False)
    options: tuple[str, ...]
    log: Path | None = None

    def save(self, folder, *, count=None):
        """Write the samples as .npz, the first ones again where ``count`` asks for more; the file."""
        path = Path(folder) / f"{self.name}-{count or 'all'}.npz"
        if not path.exists():
            arrays = self.samples.items()
            taken = {name: np.arange(count or len(array)) % len(array) for name, array in arrays}
            np.savez(path, **{name: array[taken[name]] for name, array in arrays})
        return path


def lenet():
    """The sample's network with 500 digits."""
    with np.load(DIGITS) as digits:
        images = (digits["calibration_images"][:, None] / np.float32(256)).astype(np.float32)
    log = ROOT / "tests/quantization/migration/lenet_implicit.log"
    return Subject("LeNet", DIGITS.with_name("lenet.onnx"), {"data": images}, (), log)


def subjects(wheels, folder, *, images=32, side=416):
    """LeNet, cls and det.

    Args:
        wheels: see `quality.models.fetch_wheels`.
        folder: where models go.
        images: how many the classifier gets; the detector gets a quarter.
        side: of the detector's images.
    """
    found = [lenet()]
    for name, member, shape, batch in (
        ("cls", "ch_ppocr_mobile_v2.0_cls_infer.onnx", (3, 48, 192), 8),
        ("det", "ch_PP-OCRv4_det_infer.onnx", (3, side, side), 4),
    ):
        path = Path(folder) / f"{name}.onnx"
        with zipfile.ZipFile(wheels["rapidocr"]) as archive:
            path.write_bytes(archive.read(f"{RAPIDOCR}/{member}"))
        renderer = data.Renderer("calibration", wheels)
        if name == "cls":
            drawn = data.upside_down(renderer, images, *shape[1:])
        else:
            drawn = data.pages(renderer, max(images // 4, 4), side)
        sizes = ",".join("x".join(map(str, (n, *shape))) for n in (1, batch, batch))
        options = ("--shapes", f"x:{sizes}", "--batch-size", str(batch))
        found.append(Subject(name, path, {"x": drawn.images}, options))
    return found
