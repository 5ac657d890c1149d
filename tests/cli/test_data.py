"""The data options of the command line, on the sample's network."""

import re

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image


@pytest.fixture
def run(invoke, tmp_path, monkeypatch):
    """In the folder; returns click's result."""
    monkeypatch.chdir(tmp_path)
    return invoke


@pytest.fixture
def folder(tmp_path, digits):
    """Twenty digits as .png files, and the same ones as samples.npz."""
    (tmp_path / "photos").mkdir()
    images = digits["calibration"][:20]
    for number, image in enumerate(images):
        Image.fromarray((image[0] * 256).astype(np.uint8)).save(tmp_path / "photos" / f"{number:02}.png")
    np.savez(tmp_path / "samples.npz", data=images)
    return tmp_path


def test_images_calibrate_as_the_arrays_they_came_from(run, folder, lenet_path):
    run("calibrate", lenet_path, "--data", "samples.npz", "-o", "arrays.cache")
    result = run("calibrate", lenet_path, "--data", "photos", "--scale", "1/256", "-o", "images.cache")
    assert (folder / "images.cache").read_bytes() == (folder / "arrays.cache").read_bytes()
    assert "photos: 20 images, stretch to 28x28, grey, pixels × 1/256, nchw float32" in result.stderr
    assert "20 samples" in result.stdout
    run("calibrate", lenet_path, "--data", "photos/*.png", "--scale", "0.00390625", "-o", "images.cache")
    assert (folder / "images.cache").read_bytes() == (folder / "arrays.cache").read_bytes()


def test_a_function_calibrates_as_the_arrays_it_yields(run, folder, lenet_path):
    (folder / "loader.py").write_text(
        "import numpy as np\n"
        "def digits():\n"
        "    for image in np.load('samples.npz')['data']:\n"
        "        yield image[None], 7  # and a label\n"
    )
    run("calibrate", lenet_path, "--data", "samples.npz", "-o", "arrays.cache", "--limit", 9)
    run("calibrate", lenet_path, "--data", "loader.py:digits", "-o", "function.cache", "--limit", 9)
    assert (folder / "function.cache").read_bytes() == (folder / "arrays.cache").read_bytes()


def test_bad_images_stop_the_run_or_are_listed(run, folder, lenet_path):
    path = folder / "photos" / "03.png"
    path.write_bytes(path.read_bytes()[:-40])
    (folder / "photos" / "readme.jpg").write_text("no image")
    arguments = ("calibrate", lenet_path, "--data", "photos", "--scale", "1/256", "-o", "c")
    assert "Error: photos/03.png: damaged image" in run(*arguments, code=1).stderr
    result = run(*arguments, "--skip-bad")
    assert "19 samples" in result.stdout
    skipped = re.findall("^skipped: (.*?):", result.stderr, re.MULTILINE)
    assert skipped == ["photos/03.png", "photos/readme.jpg"]


def test_links_that_lead_nowhere_are_bad_images(run, folder, lenet_path):
    """In a folder, by a pattern and alone: named, and left out only on request."""
    (folder / "photos" / "03.jpg").symlink_to("gone.jpg")
    rest = ("--scale", "1/256", "-o", "c")
    message = "Error: photos/03.jpg: a link to gone.jpg, which does not exist; fix or remove the link"
    for source in ("photos", "photos/0*.*", "photos/03.jpg"):
        assert message in run("calibrate", lenet_path, "--data", source, *rest, code=1).stderr
    result = run("calibrate", lenet_path, "--data", "photos", *rest, "--skip-bad")
    assert "20 samples" in result.stdout
    assert "skipped: photos/03.jpg: a link to gone.jpg" in result.stderr
    alone = run("calibrate", lenet_path, "--data", "photos/03.jpg", *rest, "--skip-bad", code=1)
    assert "none of its 1 samples can be read" in alone.stderr


def test_random_data_is_loud(run, folder, lenet_path):
    result = run("build", lenet_path, "--random", 3, "-o", "e")
    assert "WARNING: ranges come from random numbers" in result.stderr
    assert "4 of 4 Conv, Gemm and MatMul nodes run in INT8" in result.stdout
    assert "WARNING" not in run("calibrate", lenet_path, "--data", "samples.npz", "-o", "c").stderr


def test_random_data_is_for_build_alone(run, folder, lenet_path):
    for command in ("calibrate", "quantize", "sensitivity", "evaluate"):
        assert "No such option '--random'" in run(command, lenet_path, "--random", 3, code=2).stderr
    both = run("build", lenet_path, "--data", "samples.npz", "--random", 3, "-o", "e", code=2)
    assert "give either --data or --random" in both.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "photos"], 1, "the pixel scaling of the training is not given"),
        (["--data", "photos", "--scale", "1/0"], 2, "'1/0' is not a number; write 0.5 or 1/255"),
        (["--data", "photos", "--scale", "1/2/3"], 2, "'1/2/3' is not a number; write 0.5 or 1/255"),
        (["--data", "photos", "--scale", "1", "--mean", "a,b"], 2, "'a' is not a number"),
        (["--data", "photos", "--scale", "1", "--size", "224"], 2, "'224' is not a size; write HEIGHTxWIDTH"),
        (["--data", "photos", "--scale", "1", "--color", "rgb"], 1, "has 1 channels, which --color rgb does not fit"),
        (["--data", "samples.npz", "--preset", "yolo"], 2, "--preset is for images, and --data samples.npz has none"),
        ([], 2, "give the samples: --data SOURCE"),
        (["--data", ""], 2, "'--data': the name is empty; is a variable of your script unset?"),
        (["--data", "two.py"], 1, "two.py does not name a function; write two.py:first (it has: first, second); the function returns the batches"),
        (["--data", "two.py:"], 1, "two.py does not name a function; write two.py:first"),
        (["--data", "none.py"], 1, "none.py does not name a function; write none.py:function; the function returns the batches"),
        (["--data", "samples.npz:data"], 1, "samples.npz:data: no such file; give samples.npz alone"),
        (["--data", "gone/*.jpg"], 1, "gone/*.jpg: no file matches this pattern"),
        (["--data", "gone.jpg"], 1, "gone.jpg: no such file"),
        (["--data", "samples.npz", "--shapes", "1x2"], 2, "the name of the input is missing"),
        (["--data", "samples.npz", "--shapes", "a:1", "--optShapes", "a:1"], 2, "give either --shapes, or --minShapes"),
    ],
)  # fmt: skip
def test_mistakes(run, folder, lenet_path, arguments, code, message):
    (folder / "two.py").write_text(
        "def first(): pass\ndef _hidden(): pass\nasync def other(): pass\ndef second(): pass\n"
    )
    (folder / "none.py").write_text("def f(:")
    output = run("calibrate", lenet_path, *arguments, "-o", "c", code=code).output
    assert message in output
    assert not (folder / "c").exists()


@pytest.fixture
def dynamic(folder, make_model):
    """A model of images of any size, the folder's digits fit."""
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    weights = {"w": np.ones((2, 1, 3, 3), np.float32)}
    model = make_model(nodes, inputs={"x": ["n", 1, "h", "w_"]}, outputs=["y"], weights=weights)
    onnx.save(model, folder / "dynamic.onnx")
    np.savez(folder / "x.npz", x=np.ones((6, 1, 28, 28), np.float32))
    return "dynamic.onnx"


@pytest.mark.parametrize("command", ["calibrate", "quantize", "build"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "photos", "--scale", "1", "--size", "32x32", "--shapes", "x:4x1x28x28"], "size is 32x32, but --shapes x:4x1x28x28,4x1x28x28,4x1x28x28 takes images from 28x28 to 28x28; omit --size"),
        (["--data", "photos", "--scale", "1", "--size", "28x64", "--shapes", "x:1x1x28x28,4x1x32x32,4x1x48x48"], "size is 28x64, but --shapes"),
        (["--data", "photos", "--scale", "1", "--shapes", "y:4x1x28x28"], "shapes: the model has no input 'y'; its inputs are x"),
        (["--data", "x.npz", "--shapes", "x:4x1x28"], "shapes 4x1x28,4x1x28,4x1x28 do not fit input x"),
        (["--data", "x.npz", "--shapes", "x:4x1x32x32"], "shape [4, 1, 28, 28] is outside the optimization profile (axis 2: min 32, max 32)"),
        (["--data", "x.npz", "--batch-size", "5", "--shapes", "x:1x1x28x28,2x1x28x28,4x1x28x28"], "shape [5, 1, 28, 28] is outside the optimization profile (axis 0: min 1, max 4)"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_model_images_or_data(run, folder, dynamic, command, arguments, message):
    result = run(command, dynamic, *arguments, "-o", "c", code=1)
    assert f"Error: {message}" in result.stderr or f", input 'x': {message}" in result.stderr
    assert not (folder / "c").exists()


def test_a_size_within_the_shapes(run, folder, dynamic):
    shapes = "x:1x1x28x28,4x1x48x48,4x1x64x64"
    arguments = ("calibrate", dynamic, "--data", "photos", "--scale", "1/256", "--shapes", shapes, "-o", "c")
    assert "photos: 20 images, stretch to 48x48" in run(*arguments).stderr
    assert "photos: 20 images, stretch to 32x64" in run(*arguments, "--size", "32x64").stderr


@pytest.mark.parametrize(
    ("text", "factor"), [("1/127.5", 1 / 127.5), ("0.5", 0.5), (" 1 / 255", 1 / 255), ("1e-2", 0.01)]
)
def test_factors_as_people_write_them(text, factor):
    from trt_int8.cli.data_options import _number

    assert _number(text) == pytest.approx(factor, rel=1e-12)
