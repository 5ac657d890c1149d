import numpy as np
import pytest

from trt_int8.batches import checked
from trt_int8.batches.check import count_samples
from trt_int8.errors import DataError
from trt_int8.graph import InputSpec

SPECS = {
    "image": InputSpec("image", np.dtype(np.float32), (2, 3, 8, "w")),
    "mask": InputSpec("mask", np.dtype(np.int64), ("n",)),
}
IMAGE, MASK = np.zeros((2, 3, 8, 5), np.float32), np.zeros(4, np.int64)


def first(batch):
    return next(checked([batch], SPECS))


def test_passes_in_the_models_order():
    assert list(first({"mask": MASK, "image": IMAGE})) == ["image", "mask"]


def test_the_other_byte_order_is_taken():
    image = first({"mask": MASK, "image": (IMAGE + 3).astype(">f4")})["image"]
    assert image.dtype == np.float32
    assert (image == 3).all()


def test_contiguous():
    assert first({"mask": MASK, "image": IMAGE.transpose(0, 1, 3, 2)[:, :, :, ::1].swapaxes(2, 3)})[
        "image"
    ].flags.c_contiguous


def with_value(value):
    image = IMAGE.copy()
    image[1, 2, 3, 4] = value
    image[1, 2, 7, 4] = value  # the first one is named
    return image


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"mask": MASK}, "batch 0: input 'image' is missing; each batch needs image, mask"),
        ({"imge": IMAGE, "mask": MASK}, "'imge' is not an input of the model .*did you mean 'image'"),
        ({"image": IMAGE.astype(np.float64), "mask": MASK}, "dtype is float64 and the model takes float32"),
        ({"image": IMAGE, "mask": MASK.astype(np.int32)}, "input 'mask': dtype is int32 and .* int64"),
        (
            {"image": IMAGE[:1], "mask": MASK},
            r"shape is \[1, 3, 8, 5\] .* \[2, 3, 8, w\]; a short last batch",
        ),
        ({"image": IMAGE[0], "mask": MASK}, "the batch axis is missing"),
        ({"image": np.moveaxis(IMAGE, 1, 3), "mask": MASK}, "channels-last: transpose to NCHW"),
        ({"image": IMAGE, "mask": MASK[:0]}, "is empty"),
        (
            {"image": with_value(np.nan), "mask": MASK},
            r"batch 0, input 'image', index \[1, 2, 3, 4\]: value is nan",
        ),
        ({1, 2}, "is a set; each batch must be a dict"),
        ({"image": with_value(np.inf), "mask": MASK}, r"index \[1, 2, 3, 4\]: value is inf; .*such as -1e9"),
        ({"image": [[1, 2], [3]], "mask": MASK}, "input 'image': cannot convert list to an array"),
    ],
)
def test_each_mistake_is_named(batch, message):
    with pytest.raises(DataError, match=message):
        first(batch)


def test_the_batch_is_counted():
    good = {"image": IMAGE, "mask": MASK}
    with pytest.raises(DataError, match=r"photos\.npz, batch 2, input 'image'"):
        list(checked([good, good, {"image": with_value(np.nan), "mask": MASK}], SPECS, place="photos.npz"))


def test_samples_are_counted_along_the_batch_axis():
    def count(**shapes):
        specs = {name: InputSpec(name, np.dtype(np.float32), shape) for name, shape in shapes.items()}
        sizes = {name: [4 if size == "n" else size for size in shape] for name, shape in shapes.items()}
        return count_samples([{name: np.zeros(size) for name, size in sizes.items()}] * 3, specs)

    assert count(k=(1,), x=("n", 2)) == 12
    assert count(table=(100, 2), k=(), x=("n", 2)) == 12
    assert count(k=(1,), x=(4, 2)) == 12  # the batch size of the model is fixed
    assert count(k=()) == 3
