"""Bad input of many kinds ends in one clear line, and every file stays as it was. See also test_mistakes.py."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from trt_int8.cli import main

CLASSIFIER = {"images": ["n", 3, 32, 32]}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A convolution on RGB images of 32×32, with a dynamic batch."""
    weight = np.random.default_rng(0).normal(size=(8, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["images", "w"], ["y"], name="conv")],
        "classifier",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8, 30, 30])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path_factory.mktemp("classifier") / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def photo(path: Path, *, size=(40, 40), cut=0, mode="RGB") -> Path:
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    if cut:
        path.write_bytes(path.read_bytes()[:-cut])
    return path


def text(path: Path, content="hello") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    return path


def npz(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


def float_image(path: Path) -> Path:
    Image.fromarray(np.ones((32, 32), np.float32)).save(path)
    return path


X = np.zeros((2, 3, 32, 32), np.float32)
SCALE = ["--scale", "1/255"]

#: kind → (what stands behind --data and after, given a folder; exit code; what the line must say)
BAD_DATA = {
    "truncated JPEG": (lambda f: [photo(f / "a.jpg", cut=300), *SCALE], 1, "a.jpg: damaged image"),
    "truncated PNG": (lambda f: [photo(f / "a.png", cut=300), *SCALE], 1, "a.png: damaged image"),
    "text as JPEG": (lambda f: [text(f / "a.jpg"), *SCALE], 1, "a.jpg: not an image"),
    "empty JPEG": (lambda f: [text(f / "a.jpg", ""), *SCALE], 1, "a.jpg: not an image"),
    "floating-point TIFF": (lambda f: [float_image(f / "a.tif"), *SCALE], 1, "a.tif: pixels are 32-bit floats"),
    "one bad image among good ones": (lambda f: [(photo(f / "p" / "1.jpg"), text(f / "p" / "2.jpg"))[0].parent, *SCALE], 1, "2.jpg: not an image"),
    "nothing but bad images": (lambda f: [text(f / "p" / "2.jpg").parent, *SCALE, "--skip-bad"], 1, "none of its 1 samples can be read"),
    "empty folder": (lambda f: [(f / "p").mkdir() or f / "p", *SCALE], 1, "no image in this folder (it is empty)"),
    "folder of texts": (lambda f: [text(f / "p" / "a.txt").parent, *SCALE], 1, "only 1 other files, such as a.txt"),
    "pattern without a match": (lambda f: [f / "*.jpg", *SCALE], 1, "no file matches this pattern"),
    "missing image": (lambda f: [f / "no.jpg", *SCALE], 1, "no.jpg: no such file"),
    "no word on scaling": (lambda f: [photo(f / "a.jpg")], 1, "the pixel scaling of the training"),
    "std of 0": (lambda f: [photo(f / "a.jpg"), *SCALE, "--std", "0"], 1, "it divides, so it cannot be 0"),
    "two means for three channels": (lambda f: [photo(f / "a.jpg"), *SCALE, "--mean", "1,2"], 1, "mean has 2 numbers for 3 channels"),
    "grey for an RGB model": (lambda f: [photo(f / "a.jpg"), *SCALE, "--color", "grey"], 1, "has 3 channels, which --color grey does not fit"),
    "another size": (lambda f: [photo(f / "a.jpg"), *SCALE, "--resize", "none"], 1, "a.jpg: image is 40x40 and the model takes 32x32"),
    "a size for a fixed model": (lambda f: [photo(f / "a.jpg"), *SCALE, "--size", "64x64"], 1, "omit --size"),
    "image options for arrays": (lambda f: [npz(f / "x.npz", images=X), *SCALE], 2, "--scale is for images"),
    "name typo": (lambda f: [npz(f / "x.npz", image=X)], 1, "has no key 'images'"),
    "wrong rank": (lambda f: [npz(f / "x.npz", images=X[:, 0])], 1, "shape is [2, 32, 32] and the model takes [n, 3, 32, 32]"),
    "channels last": (lambda f: [npz(f / "x.npz", images=np.moveaxis(X, 1, 3))], 1, "it looks channels-last"),
    "float64": (lambda f: [npz(f / "x.npz", images=X.astype(float))], 1, "dtype is float64 and the model takes float32"),
    "objects": (lambda f: [npz(f / "x.npz", images=np.array([X, None], dtype=object))], 1, "Python objects"),
    "NaN": (lambda f: [npz(f / "x.npz", images=X * np.nan)], 1, "value is nan"),
    "infinity": (lambda f: [npz(f / "x.npz", images=X + np.inf)], 1, "value is inf"),
    "zero samples": (lambda f: [npz(f / "x.npz", images=X[:0])], 1, "holds no samples"),
    "different numbers of samples": (lambda f: [f"{text(f / 'l.py', 'def f(): return [{}]')}:f"], 1, "input 'images' is missing"),
    "truncated npz": (lambda f: [text(f / "x.npz", "PK\3\4 and no more")], 1, "x.npz: "),
    "text as npz": (lambda f: [text(f / "x.npz")], 1, "neither an .npy nor an .npz file"),
    "missing Python file": (lambda f: [f"{f}/no.py:f"], 1, "no.py: no such file"),
    "Python syntax error": (lambda f: [f"{text(f / 'l.py', 'def f(:')}:f"], 1, "SyntaxError"),
    "missing function": (lambda f: [f"{text(f / 'l.py', 'def data(): pass')}:date"], 1, "did you mean 'data'"),
    "function without result": (lambda f: [f"{text(f / 'l.py', 'def f(): pass')}:f"], 1, "returned a NoneType"),
    "failing function": (lambda f: [f"{text(f / 'l.py', 'def f(): return [][0]')}:f"], 1, "IndexError: list index out of range (l.py:1)"),
    "function that returns one batch": (lambda f: [f"{text(f / 'l.py', 'def f(): return {1: 2}')}:f"], 1, "l.py:f returned one mapping (1); give an iterable of batches"),
    "function that returns a path": (lambda f: [f"{text(f / 'l.py', 'def f(): return 5 * str(5)')}:f"], 1, "l.py:f returned the path '55555'; read it first"),
    "no batches": (lambda f: [f"{text(f / 'l.py', 'def f(): return []')}:f"], 1, "holds no batches"),
    "unknown preset": (lambda f: [photo(f / "a.jpg"), "--preset", "coco"], 2, "'coco' is not one of"),
    "shapes for another input": (lambda f: [npz(f / "x.npz", images=X), "--shapes", "x:1x3x32x32"], 1, "shapes: the model has no input 'x'; its inputs are images"),
    "shapes of another rank": (lambda f: [npz(f / "x.npz", images=X), "--shapes", "images:1x3x32"], 1, "do not fit input images"),
    "shapes out of order": (lambda f: [npz(f / "x.npz", images=X), "--shapes", "images:8x3x32x32,4x3x32x32,1x3x32x32"], 2, "axis 0 goes 8 → 4 → 1"),
    "data outside the shapes": (lambda f: [npz(f / "x.npz", images=np.repeat(X, 9, 0)), "--batch-size", "18", "--shapes", "images:1x3x32x32,2x3x32x32,4x3x32x32"], 1, "outside the optimization profile (axis 0: min 1, max 4)"),
}  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data(kind, classifier, tmp_path, monkeypatch):
    make, code, message = BAD_DATA[kind]
    monkeypatch.chdir(tmp_path)
    source, *options = make(tmp_path)
    (tmp_path / "old.engine").write_bytes(b"precious")
    (tmp_path / "old.log").write_text("precious")
    before = tree(tmp_path)
    line = ["build", str(classifier), "--data", str(source), "-o", "old.engine", *map(str, options)]
    result = CliRunner().invoke(main, line)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    (error,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert message in error
    assert tree(tmp_path) == before


#: unusual, and right → the first value of the red channel as the model gets it
GOOD_IMAGES = {
    "RGBA": (lambda p: Image.fromarray(np.dstack([np.full((32, 32, 3), 51, np.uint8), np.zeros((32, 32), np.uint8)])).save(p), 0.2),
    "16-bit grey": (lambda p: Image.fromarray(np.full((32, 32), 51 * 257, np.uint16)).save(p), 0.2),
    "palette": (lambda p: Image.fromarray(np.full((32, 32, 3), 51, np.uint8)).convert("P").save(p), 0.2),
    "one bit": (lambda p: Image.fromarray(np.full((32, 32), 255, np.uint8)).convert("1").save(p), 1.0),
}  # fmt: skip


@pytest.mark.parametrize("kind", GOOD_IMAGES)
def test_unusual_images_are_read_right(kind, classifier, tmp_path):
    make, value = GOOD_IMAGES[kind]
    make(tmp_path / "a.png")
    result = CliRunner().invoke(
        main, ["calibrate", str(classifier), "--data", str(tmp_path / "a.png"), *SCALE, "-o", str(tmp_path / "c"), "--algorithm", "minmax"]
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    import trt_int8

    assert trt_int8.CalibrationCache.read(tmp_path / "c").ranges()["images"].amax == pytest.approx(
        value, rel=1e-3
    )


def test_names_that_are_not_utf_8(classifier, tmp_path):
    """In a process of its own: what reaches a terminal matters."""
    folder = os.fsencode(tmp_path)
    photo(tmp_path / "a.jpg")
    os.rename(tmp_path / "a.jpg", folder + b"/caf\xe9.jpg")
    command = [sys.executable, "-m", "trt_int8", "calibrate", str(classifier), "--data", os.fsdecode(folder + b"/caf\xe9.jpg"), *SCALE, "-o", os.fsdecode(folder + b"/\xe9.cache")]  # fmt: skip
    run = subprocess.run(command, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert Path(os.fsdecode(folder + b"/\xe9.cache")).exists()
    os.truncate(folder + b"/caf\xe9.jpg", 500)
    run = subprocess.run(command, capture_output=True, check=False)
    assert run.returncode == 1
    assert b"Traceback" not in run.stderr
    assert b"damaged image" in run.stderr


def test_results_that_cannot_be_written(classifier, tmp_path):
    data = npz(tmp_path / "x.npz", images=X + 1)
    for output, message in (
        ("/proc/engine", "/proc"),
        ("/dev/null/e", "does not exist"),
        (tmp_path, "it is a folder"),
    ):
        result = CliRunner().invoke(main, ["build", str(classifier), "--data", str(data), "-o", str(output)])
        assert result.exit_code == 1
        assert message in result.output
        assert "cannot write" in result.output


#: command line that names a file "" → what it stands for in the message
EMPTY_NAMES = {
    "model": (["build", "", "--data", "x.npz", "-o", "e"], "'MODEL'"),
    "result": (["build", "m.onnx", "--data", "x.npz", "-o", ""], "'-o' / '--output'"),
    "log": (["build", "m.onnx", "--data", "x.npz", "-o", "e", "--log", ""], "'--log'"),
    "one of several": (["build", "m.onnx", "-o", "e", "--ranges", "a", "--ranges", ""], "'--ranges'"),
    "one of a pair": (["report", "--diff", "a", ""], "'--diff'"),
    "cache": (["cache", "show", ""], "'FILE'"),
    "configuration": (["doctor", "--config", ""], "'--config'"),
}


@pytest.mark.parametrize("kind", EMPTY_NAMES)
def test_empty_names_are_no_files(kind):
    """As an unset variable of a script gives them: "" is not the current folder, nor left out."""
    arguments, name = EMPTY_NAMES[kind]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == (
        f"Error: Invalid value for {name}: the name is empty; is a variable of your script unset?"
    )


def test_a_report_overwrites_nothing_it_reads(tmp_path):
    log = tmp_path / "lenet.log"
    log.write_bytes((Path(__file__).parents[1] / "report" / "logs" / "rtx_lenet_qdq.log").read_bytes())
    before = tree(tmp_path)
    for arguments in (["report", str(log)], ["report", "--diff", str(log), str(log)]):
        result = CliRunner().invoke(main, [*arguments, "-o", str(log)])
        assert result.exit_code == 1
        assert "Error: the report would overwrite the " in result.output
    assert tree(tmp_path) == before


def test_a_log_replaces_no_device_or_pipe(classifier, tmp_path):
    """Renaming the log over it would destroy it: /dev/null, for root."""
    os.mkfifo(tmp_path / "pipe")
    data = npz(tmp_path / "x.npz", images=X + 1)
    line = ["build", str(classifier), "--data", str(data), "-o", str(tmp_path / "e"), "--log", str(tmp_path / "pipe")]  # fmt: skip
    result = CliRunner().invoke(main, line)
    assert result.exit_code == 1
    assert "pipe: it must be a regular file, because it is read after the build" in result.output
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipe", "x.npz"]


def test_a_folders_name_is_no_result(classifier, tmp_path):
    data = npz(tmp_path / "x.npz", images=X + 1)
    result = CliRunner().invoke(
        main, ["calibrate", str(classifier), "--data", str(data), "-o", f"{tmp_path}/a/"]
    )
    assert result.exit_code == 1
    assert "a/: it is a folder; give a file name" in result.output
    assert not (tmp_path / "a").exists()


def test_tensors_that_are_always_zero_are_told(classifier, tmp_path):
    zeros = npz(tmp_path / "x.npz", images=X)
    result = CliRunner().invoke(
        main, ["calibrate", str(classifier), "--data", str(zeros), "-o", str(tmp_path / "c")]
    )
    assert result.exit_code == 0
    assert (
        "note: these tensors are always 0: images, y; their consumers stay float; check the data"
        in result.stderr
    )


@pytest.fixture
def small_disk(tmp_path):
    """256 KiB of memory as a disk."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"cannot mount a small tmpfs (needs root): {mount.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("command", ["build", "quantize", "calibrate"])
def test_a_full_disk(small_disk, lenet_path, digits, tmp_path, command):
    """Result and log are too large for what is left: the old files stay, and nothing new."""
    data = npz(tmp_path / "x.npz", data=digits["calibration"][:3])
    (small_disk / "old").write_bytes(b"precious")
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "ballast").write_bytes(b"x" * free)
    before = tree(small_disk)
    result = CliRunner().invoke(
        main, [command, str(lenet_path), "--data", str(data), "-o", str(small_disk / "old")]
    )
    assert result.exit_code == 1, result.output
    assert "No space left on device" in result.output
    after = tree(small_disk)
    assert {
        name: content for name, content in after.items() if not name.endswith((".failed", ".partial"))
    } == before
