"""What an iterable of batches may hold."""

import numpy as np
import pytest

from trt_int8.batches.items import as_batch, to_numpy
from trt_int8.calibration import calibrate
from trt_int8.errors import DataError

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
        ((X,), ["x", "m"], "a tuple of 1 for the 2 inputs x, m; give one array an input"),
        ((X, M, M), ["x", "m"], "a tuple of 3 for the 2 inputs x, m, so it is open which are meant"),
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
    with pytest.raises(DataError, match="batch 7, 'x': no array can be made of this list"):
        to_numpy([[1, 2], [3]], place="batch 7, 'x'")


def test_a_real_dataloader(lenet_path, digits):
    torch = pytest.importorskip("torch", reason="torch is not installed (pip install torch)")
    images = torch.from_numpy(digits["calibration"][:12])
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(images, torch.arange(12)), batch_size=1
    )
    expected = calibrate(lenet_path, [{"data": image[None]} for image in digits["calibration"][:12]]).ranges
    assert calibrate(lenet_path, loader).ranges == expected
