"""What an iterable of batches may hold."""

from pathlib import Path

import numpy as np
import pytest

from trt_int8.batches.items import as_batch, to_numpy
from trt_int8.calibration import calibrate
from trt_int8.engine.implicit.callbacks import CalibratorCallbacks
from trt_int8.errors import DataError
from trt_int8.evaluation import evaluate
from trt_int8.pipeline.build import build_engine


class Calibrator(CalibratorCallbacks):
    """The callbacks without TensorRT's class."""

    algorithm = "EntropyCalibration2"


X, M = np.ones((2, 3), np.float32), np.zeros((2, 1), np.int64)


def test_by_name_by_order_and_alone():
    assert as_batch({"x": X, "m": M}, ["x", "m"], place="")["m"] is M
    ordered = as_batch([X, M], ["x", "m"], place="")
    assert (ordered["x"] is X, ordered["m"] is M) == (True, True)
    assert as_batch(X, ["x"], place="")["x"] is X


def test_labels_behind_a_single_input_are_left_alone():
    assert list(as_batch((X, M), ["x"], place="")) == ["x"]


@pytest.mark.parametrize(
    ("item", "names", "message"),
    [
        ((X,), ["x", "m"], "a tuple of 1, but the model has 2 inputs \\(x, m\\); give one array per input"),
        (
            (X, M, M),
            ["x", "m"],
            "a tuple of 3, but the model has 2 inputs \\(x, m\\), so the assignment is ambiguous",
        ),
        ((), ["x"], "a tuple of 0"),
        (X, ["x", "m"], "is a ndarray; each batch must be a dict"),
        ("x.npz", ["x"], "is a str"),
    ],
)
def test_what_cannot_be_told(item, names, message):
    with pytest.raises(DataError, match=message):
        as_batch(item, names, place="batch 7")


class Tensor:
    """What is used of a torch tensor: it needs a gradient, and lives on another device."""

    def __init__(self, value, ready=False):
        self.value, self.ready = value, ready

    def detach(self):
        return Tensor(self.value)

    def cpu(self):
        return Tensor(self.value, ready=True)

    def __array__(self, dtype=None, copy=None):
        if not self.ready:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        return self.value


def test_tensors_of_torch_by_their_interface():
    tensor = Tensor(X)
    assert as_batch((tensor, Tensor(M)), ["x"], place="") == {"x": tensor}
    assert as_batch(tensor, ["x"], place="") == {"x": tensor}
    assert to_numpy(tensor, place="") is X
    with pytest.raises(DataError, match="batch 7, 'x': cannot convert list to an array"):
        to_numpy([[1, 2], [3]], place="batch 7, 'x'")


class Loader:
    """What `torch.utils.data.DataLoader` gives: a length, a new iterator each time, and *lists* of tensors."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __iter__(self):
        return iter([Tensor(image[None]), Tensor(np.array([7]))] for image in self.images)


def test_a_dataloader_by_its_interface(lenet_path, digits, tmp_path):
    """Read again for several passes, too; the real one is below, where torch is."""
    images = digits["calibration"][:12]
    expected = calibrate(lenet_path, [{"data": image[None]} for image in images]).ranges
    loader = Loader(images)
    assert calibrate(lenet_path, loader).ranges == expected
    assert calibrate(lenet_path, loader, checkpoint=tmp_path / "c").ranges == expected
    assert calibrate(lenet_path, loader, checkpoint=tmp_path / "c").ranges == expected


def test_a_real_dataloader(lenet_path, digits):
    torch = pytest.importorskip(
        "torch", reason="torch is not installed: on Linux it needs 5 GB of CUDA packages (pip install torch)"
    )
    images = torch.from_numpy(digits["calibration"][:12])
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, torch.arange(12)), batch_size=1
    )
    expected = calibrate(lenet_path, [{"data": image[None]} for image in digits["calibration"][:12]]).ranges
    assert calibrate(lenet_path, loader).ranges == expected


#: what people give instead of an iterable of batches → what the error says of it, and the fix
NO_BATCHES = {
    "None": (None, "the data is None; give an iterable of batches"),
    "a path": ("samples.npz", "the data is the path 'samples.npz'; read it first: "),
    "a Path": (Path("photos"), "the data is the path 'photos'; read it first: "),
    "one batch": ({"data": X}, r"one mapping \(data\); give an iterable of batches, \[batch\] if it is the only one"),
    "one array": (np.zeros((2, 1, 28, 28), np.float32), r"one array of shape \[2, 1, 28, 28\]; cut it into batches: \[array\[i : i \+ 1\] for i in range\(0, len\(array\), 1\)\]"),
    "a generator function": (test_by_name_by_order_and_alone, "the data is a function; call it"),
    "a class": (list, "the data is a type; call it"),
    "a number": (5, "the data is 5; give an iterable of batches"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_BATCHES)
def test_what_is_no_iterable_of_batches(kind, lenet_path, tmp_path):
    data, message = NO_BATCHES[kind]
    calls = {
        "calibrate": lambda: calibrate(lenet_path, data),
        "evaluate": lambda: evaluate(lenet_path, lenet_path, data),
        "build_engine": lambda: build_engine(lenet_path, tmp_path / "e.engine", batches=data),
        "calibrator": lambda: Calibrator(data, model=lenet_path),
    }
    for name, call in calls.items():
        error, wanted = DataError, message
        if data is None and name == "build_engine":  # for a model with Q/DQ nodes there is none
            error, wanted = ValueError, "a float model needs samples or ranges: give batches= or ranges="
        with pytest.raises(error, match=wanted):
            call()
    assert not list(tmp_path.iterdir())


def test_an_array_whose_items_are_batches_is_one(lenet_path, digits):
    images = digits["calibration"][:4]
    expected = calibrate(lenet_path, [image[None] for image in images]).ranges
    assert calibrate(lenet_path, images[:, None]).ranges == expected
