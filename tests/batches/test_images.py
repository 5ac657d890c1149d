"""Image files as samples: decoding, preprocessing with numbers, folders, files that cannot be read."""

import contextlib
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image
from places import ROOT

from trt_int8.batches import Preprocessing, batched, open_images, preprocessing_for
from trt_int8.batches.images import SUFFIXES, decode_image, find_images, means_images
from trt_int8.batches.preprocess import resized
from trt_int8.errors import DataError
from trt_int8.graph import InputSpec

FLOAT = np.dtype(np.float32)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path, **options)
    return path


def solid(red, green, blue, height=4, width=6):
    return np.full((height, width, 3), (red, green, blue), np.uint8)


def truncated(path):
    rng = np.random.default_rng(0)
    save(path, rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-900])
    return path


class TestDecoding:
    def test_rgb_and_grey(self, tmp_path):
        assert np.asarray(decode_image(save(tmp_path / "a.png", solid(1, 2, 3))))[0, 0].tolist() == [1, 2, 3]
        grey = np.full((2, 3), 77, np.uint8)
        assert (
            np.asarray(decode_image(save(tmp_path / "g.png", grey))).tolist()
            == np.full((2, 3, 3), 77).tolist()
        )

    def test_transparency_is_dropped(self, tmp_path):
        rgba = np.dstack([solid(10, 20, 30), np.zeros((4, 6), np.uint8)])
        assert np.asarray(decode_image(save(tmp_path / "a.png", rgba)))[1, 1].tolist() == [10, 20, 30]
        palette = Image.fromarray(solid(10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
        palette.info["transparency"] = b"\x00" * 3
        palette.save(tmp_path / "p.png")
        assert np.asarray(decode_image(tmp_path / "p.png"))[1, 1].tolist() == [10, 20, 30]

    def test_16_bit_grey_is_scaled_not_clipped(self, tmp_path):
        values = np.array([[0, 257, 257 * 100, 65535, 300]], np.uint16)
        pixels = np.asarray(decode_image(save(tmp_path / "deep.png", values)))
        assert pixels[0, :, 0].tolist() == [0, 1, 100, 255, 1]

    @pytest.mark.parametrize("pixels", [np.ones((2, 2), np.float32), np.ones((2, 2), np.int32)])
    def test_pixels_without_a_known_scale(self, tmp_path, pixels):
        path = save(tmp_path / "x.tif", pixels)
        with pytest.raises(
            DataError, match=r"x\.tif: pixels are 32-bit .* of unknown value range; save .* \.npz"
        ):
            decode_image(path)

    def test_orientation(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6  # stored lying on its side: turn it clockwise
        path = save(tmp_path / "t.jpg", np.zeros((8, 16), np.uint8), exif=exif)
        assert decode_image(path).size == (8, 16)
        assert decode_image(path, orientation=False).size == (16, 8)

    def test_damaged_files_are_named(self, tmp_path):
        with pytest.raises(DataError, match=r"cut\.jpg: damaged image \(.*truncated.*skip_bad=True"):
            decode_image(truncated(tmp_path / "cut.jpg"))
        (tmp_path / "t.jpg").write_text("no image")
        with pytest.raises(DataError, match=r"t\.jpg: not an image in a format that is read"):
            decode_image(tmp_path / "t.jpg")
        with pytest.raises(DataError, match=r"no\.jpg: no such file"):
            decode_image(tmp_path / "no.jpg")
        png = save(tmp_path / "x.png", np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
        png.write_bytes(png.read_bytes()[:200] + b"\0" * 500)
        with pytest.raises(DataError, match=r"x\.png: damaged image"):
            decode_image(png)

    def test_nothing_is_given_to_another_program(self, tmp_path, monkeypatch):
        """Pillow knows an EPS by its content, and starts Ghostscript."""
        (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (tmp_path / "gs").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
        path = tmp_path / "a.png"
        path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
        with pytest.raises(DataError) as caught:
            decode_image(path)
        assert not (tmp_path / "started").exists()
        assert str(caught.value) == (
            f"{path}: not an image in a format that is read (BMP, GIF, JPEG, JPEG2000, PNG, PPM, TIFF, WEBP); convert or "
            "remove it, or skip such files with skip_bad=True"
        )
        with contextlib.suppress(OSError), Image.open(path) as image:
            image.load()
        assert (tmp_path / "started").exists()

    @pytest.mark.parametrize("suffix", sorted(SUFFIXES))
    def test_what_is_found_in_folders_is_decoded(self, tmp_path, suffix):
        pixels = solid(200, 200, 200)
        path = save(tmp_path / f"a{suffix}", pixels[:, :, 0] if suffix == ".pgm" else pixels)
        assert abs(np.asarray(decode_image(path)).astype(int) - 200).max() < 3

    def test_a_photograph_with_a_second_one_in_it(self, tmp_path):
        """Pillow calls the JPEG files of some phones MPO."""
        other = Image.fromarray(solid(9, 9, 9))
        Image.fromarray(solid(200, 200, 200)).save(
            tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[other]
        )
        assert np.asarray(decode_image(tmp_path / "a.jpg"))[0, 0].tolist() == [200, 200, 200]

    def test_a_file_of_a_few_bytes_with_too_many_pixels(self, tmp_path, monkeypatch):
        path = save(tmp_path / "a.png", np.zeros((100, 100), np.uint8))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4999)
        with pytest.raises(DataError) as caught:
            decode_image(path)
        assert str(caught.value).startswith(
            f"{path}: the image is too large to be decoded (Image size (10000 pixels)"
        )
        assert str(caught.value).endswith(
            "; make it smaller, remove it, or skip such files with skip_bad=True"
        )

    def test_every_place_that_opens_images_names_the_formats(self):
        calls = [
            (path, call)
            for folder in ("trt_int8", "benchmarks", "samples", "docs")
            for path in (ROOT / folder).rglob("*")
            if path.suffix in (".py", ".md")
            for call in re.findall(r"(?:Image|pillow)\.open\(.*", path.read_text())
        ]
        assert len(calls) >= 4
        assert [(path, call) for path, call in calls if "formats=" not in call] == []


class TestResizing:
    def test_crop_is_that_of_torchvision(self):
        """Resize(256), CenterCrop(224) of 300×200: to 384×256, then 224×224 from (80, 16)."""
        image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8))
        expected = image.resize((384, 256), Image.Resampling.BILINEAR).crop((80, 16, 304, 240))
        assert resized(image, 224, 224, "crop").tobytes() == expected.tobytes()
        upright = image.transpose(Image.Transpose.ROTATE_90)  # 200×300: to 256×384, from (16, 80)
        expected = upright.resize((256, 384), Image.Resampling.BILINEAR).crop((16, 80, 240, 304))
        assert resized(upright, 224, 224, "crop").tobytes() == expected.tobytes()
        # the shorter side is 256 for every width, whatever the rounding of a ratio would give
        for width in range(1, 400, 7):
            assert resized(Image.new("RGB", (width, 400)), 224, 224, "crop").size == (224, 224)

    @pytest.mark.parametrize(
        ("height", "width", "rows"), [(200, 400, (160, 480)), (201, 400, (159, 481)), (199, 400, (161, 479))]
    )
    def test_letterbox_keeps_the_aspect_and_pads_with_114(self, height, width, rows):
        pixels = np.asarray(resized(Image.new("RGB", (width, height), (9, 9, 9)), 640, 640, "letterbox"))
        inside = np.flatnonzero((pixels == 9).all(axis=(1, 2)))
        assert (inside[0], inside[-1] + 1) == rows
        assert (np.delete(pixels, inside, axis=0) == 114).all()

    def test_an_odd_margin_has_its_extra_line_below(self):
        pixels = np.asarray(resized(Image.new("RGB", (10, 5)), 10, 10, "letterbox"))[:, 0, 0]
        assert pixels.tolist() == [114, 114, 0, 0, 0, 0, 0, 114, 114, 114]

    def test_stretch_and_none(self):
        assert resized(Image.new("RGB", (7, 9)), 4, 6, "stretch").size == (6, 4)
        with pytest.raises(DataError, match="image is 9x7 and the model takes 4x6 with resize='none'"):
            resized(Image.new("RGB", (7, 9)), 4, 6, "none")


class TestPreprocessing:
    spec = InputSpec("x", FLOAT, ("n", 3, 4, 6))

    def test_imagenet(self):
        array = preprocessing_for(self.spec, preset="imagenet")(Image.fromarray(solid(124, 51, 255, 5, 9)))
        assert array.shape == (3, 4, 6)
        assert array.dtype == np.float32
        # (124/255 − 0.485)/0.229, (51/255 − 0.456)/0.224, (1 − 0.406)/0.225
        np.testing.assert_allclose(array[:, 0, 0], [0.00557, -1.14286, 2.64], atol=1e-5)

    def test_yolo(self):
        array = preprocessing_for(self.spec, preset="yolo")(Image.fromarray(solid(0, 51, 255, 4, 4)))
        np.testing.assert_allclose(array[:, 0, 0], [114 / 255] * 3, rtol=1e-6)
        np.testing.assert_allclose(array[:, 0, 1], [0, 0.2, 1], rtol=1e-6)

    def test_bgr_with_its_own_mean_and_std(self):
        how = preprocessing_for(self.spec, color="bgr", scale=1.0, mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0))
        array = how(Image.fromarray(solid(11, 12, 13)))
        assert array[:, 0, 0].tolist() == [12, 5, 2]

    def test_grey_and_channels_last(self):
        how = preprocessing_for(InputSpec("x", FLOAT, (1, 4, 6, 1)), scale=1.0)
        array = how(Image.fromarray(solid(100, 150, 50)))
        assert (array.shape, how.color, how.layout) == ((4, 6, 1), "grey", "nhwc")
        assert array[0, 0, 0] == round(0.299 * 100 + 0.587 * 150 + 0.114 * 50)

    def test_pixels_for_an_integer_input(self):
        how = preprocessing_for(InputSpec("x", np.dtype(np.uint8), (1, 4, 6, 3)))
        array = how(Image.fromarray(solid(1, 2, 255)))
        assert array.dtype == np.uint8
        assert array[0, 0].tolist() == [1, 2, 255]

    def test_options_win_over_the_preset_and_the_text_says_all(self):
        how = preprocessing_for(self.spec, preset="imagenet", resize="stretch", std=(1.0,))
        assert str(how) == "stretch to 4x6, rgb, pixels × 1/255 − (0.485, 0.456, 0.406), nchw float32"

    def test_open_sizes(self):
        spec = InputSpec("x", FLOAT, ("?", 3, "?", "?"))
        assert (preprocessing_for(spec, scale=1.0, size=(48, 192)).height, 192) == (48, 192)
        with pytest.raises(
            DataError,
            match=r"has dynamic height and width; give size= to calibrate, or shapes='\w+:1x3x224x224,8x3x224x224,32x3x224x224' to build",
        ):
            preprocessing_for(spec, scale=1.0)

    @pytest.mark.parametrize(
        ("shape", "options", "message"),
        [
            (
                ("n", 3, 4, 6),
                {},
                r"the pixel scaling of the training is not given.*preset='imagenet'.*scale=1/255",
            ),
            (
                ("n", 3, 4, 6),
                {"preset": "imagnet"},
                "preset 'imagnet' is not known; choose one of imagenet, yolo",
            ),
            (("n", 3, 4), {"scale": 1.0}, "has 3 axes, but images need 4"),
            ((1, 3, 4, 3), {"scale": 1.0}, "add layout='nchw' or layout='nhwc'"),
            (("n", "c", 4, 6), {"scale": 1.0}, "add layout='nchw' or layout='nhwc'"),
            (
                ("n", 1, 4, 6),
                {"scale": 1.0, "color": "rgb"},
                "has 1 channels, which color='rgb' does not fit",
            ),
            (("n", 3, 4, 6), {"scale": 1.0, "size": (8, 8)}, r"size is 8x8, but input .* is fixed"),
            (("n", 3, 4, 6), {"mean": (1.0, 2.0)}, "mean has 2 numbers for 3 channels"),
            (("n", 3, 4, 6), {"std": (0.0,)}, "it divides, so it cannot be 0"),
        ],
    )
    def test_what_has_to_be_said(self, shape, options, message):
        with pytest.raises(DataError, match=message):
            preprocessing_for(InputSpec("x", FLOAT, shape), **options)


class TestFiles:
    def test_a_folder_with_folders_in_order(self, tmp_path):
        for name in ("b/2.PNG", "a.jpg", "b/10.png", "notes.txt", ".hidden.png"):
            save(tmp_path / "x" / "y.png", solid(0, 0, 0))
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b"")
        found = [str(path.relative_to(tmp_path)) for path in find_images(tmp_path)]
        assert found == ["a.jpg", "b/10.png", "b/2.PNG", "x/y.png"]

    def test_patterns(self, tmp_path):
        for name in ("a/1.png", "b/2.png", "b/3.jpg"):
            save(tmp_path / name, solid(0, 0, 0))
        assert [p.name for p in find_images(f"{tmp_path}/**/*.png")] == ["1.png", "2.png"]
        assert [p.name for p in find_images(f"{tmp_path}/b/[23].*")] == ["2.png", "3.jpg"]
        with pytest.raises(DataError, match=r"\*\.bmp: no file matches this pattern; quote it"):
            find_images(f"{tmp_path}/*.bmp")
        with pytest.raises(DataError, match=r"no\.png: no such file"):
            find_images(tmp_path / "no.png")

    def test_folders_without_images(self, tmp_path):
        with pytest.raises(DataError, match=r"no image in this folder \(it is empty\)"):
            find_images(tmp_path)
        (tmp_path / "a.npy").write_bytes(b"")
        with pytest.raises(DataError, match=r"only 1 other files, such as a\.npy"):
            find_images(tmp_path)

    def test_a_file_whose_name_looks_like_a_pattern(self, tmp_path):
        path = save(tmp_path / "a[1].png", solid(0, 0, 0))
        assert find_images(path) == (path,)

    def test_names_that_are_not_utf_8(self, tmp_path):
        path = Path(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9.png"))
        Image.fromarray(solid(1, 2, 3)).save(tmp_path / "x.png")
        os.rename(tmp_path / "x.png", path)
        assert find_images(tmp_path) == (path,)
        assert decode_image(path).size == (6, 4)

    def test_what_is_taken_for_images(self, tmp_path):
        assert means_images(str(tmp_path))
        assert means_images("x/*.jpg")
        assert means_images("no.JPEG")
        assert not means_images("samples.npz")


class TestSamples:
    how = Preprocessing(height=4, width=6)

    @pytest.fixture
    def folder(self, tmp_path):
        for number in range(10):
            save(tmp_path / f"{number}.png", solid(number, 0, 0))
        return tmp_path

    def reds(self, batches):
        return [batch["x"][:, 0, 0, 0].astype(int).tolist() for batch in batches]

    def test_batches_are_in_order(self, folder):
        samples = open_images(folder, name="x", preprocessing=self.how)
        assert len(samples) == 10
        assert self.reds(batched(samples, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert self.reds(batched(samples, 4, limit=5, last="pad")) == [[0, 1, 2, 3], [4, 4, 4, 4]]

    def test_a_bad_image_is_an_error_unless_it_may_be_skipped(self, folder):
        truncated(folder / "4.png")
        with pytest.raises(DataError, match=r"4\.png: damaged image"):
            list(batched(open_images(folder, name="x", preprocessing=self.how), 4))

    @pytest.mark.parametrize(
        ("last", "limit", "expected"),
        [
            ("keep", None, [[0, 1, 2, 3], [5, 7, 8, 9]]),
            ("keep", 5, [[0, 1, 2, 3], [5]]),
            ("drop", 7, [[0, 1, 2, 3]]),
            ("pad", 7, [[0, 1, 2, 3], [5, 7, 8, 8]]),
        ],
    )
    def test_skipped_images_leave_full_batches(self, folder, last, limit, expected):
        truncated(folder / "4.png")
        (folder / "6.png").write_text("no image")
        samples = open_images(folder, name="x", preprocessing=self.how, skip_bad=True)
        assert self.reds(batched(samples, 4, last=last, limit=limit)) == expected
        assert samples.skipped[folder / "4.png"].startswith(f"{folder / '4.png'}: damaged image")

    def test_nothing_but_bad_images(self, tmp_path):
        (tmp_path / "a.jpg").write_text("no image")
        (tmp_path / "b.jpg").write_text("no image")
        samples = open_images(tmp_path, name="x", preprocessing=self.how, skip_bad=True)
        with pytest.raises(DataError, match="none of its 2 samples can be read"):
            list(batched(samples, 4))

    def test_the_file_is_named_where_its_size_is_wrong(self, folder):
        save(folder / "7.png", solid(0, 0, 0, 9, 9))
        samples = open_images(folder, name="x", preprocessing=Preprocessing(height=4, width=6, resize="none"))
        with pytest.raises(DataError, match=r"7\.png: image is 9x9 and the model takes 4x6"):
            list(batched(samples, 4))
