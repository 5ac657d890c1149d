import numpy as np
import pytest
from device_arrays import OnDevice

from trt_int8.engine.implicit.feed import Feed
from trt_int8.errors import CalibrationError, DataError
from trt_int8.graph import InputSpec


class OnDeviceDlpack:
    def __init__(self, device):
        self.shape, self.dtype, self._device = (2, 3), "torch.float32", device

    def __dlpack_device__(self):
        return (self._device, 0)


def test_arrays_on_the_device_pass_through_untouched():
    for value in (OnDevice((2, 3)), OnDeviceDlpack(2), OnDeviceDlpack(13)):
        feed = Feed([{"x": value}])
        assert feed.batch_size == 2
        assert feed.shapes == {"x": (2, 3)}
        (batch,) = feed
        assert batch["x"] is value
        assert feed.data_id() is None


class Bfloat16:
    """A bfloat16 tensor of torch's on the GPU, of a version whose array interface has no such type."""

    shape, dtype = (2, 3), "torch.bfloat16"

    def __dlpack_device__(self):
        return (2, 0)

    @property
    def __cuda_array_interface__(self):
        raise KeyError("torch.bfloat16")


class LaterBfloat16(Bfloat16):
    """Of a version that calls it two bytes."""

    __cuda_array_interface__ = OnDevice((2, 3), "<V2").__cuda_array_interface__


@pytest.mark.parametrize("value", [Bfloat16(), LaterBfloat16()])
def test_bfloat16_of_torch_passes_through(value):
    specs = {"x": InputSpec("x", np.dtype(np.float32), ("n", 3))}
    with pytest.raises(DataError, match=r"the batch is bfloat16\[2, 3\], but the model expects x: float32"):
        list(Feed([{"x": value}], specs=specs))
    assert [batch["x"] is value for batch in Feed([{"x": value}])] == [True]


def test_arrays_on_the_device_are_held_against_the_first_one_too():
    with pytest.raises(
        DataError, match=r"batch 1, input 'x' is float32\[2, 4\], but batch 0 is float32\[2, 3\]"
    ):
        list(Feed([{"x": OnDevice((2, 3))}, {"x": OnDevice((2, 4))}]))
    with pytest.raises(DataError, match="1 samples, but batch 0 has 2"):
        list(Feed([{"x": OnDevice((2, 3))}, {"x": OnDevice((1, 3))}]))
    with pytest.raises(DataError, match="float64"):
        list(Feed([{"x": OnDevice((2, 3), "<f8")}]))


def test_lists_become_arrays():
    (batch,) = Feed([{"ids": np.array([[1, 2]], np.int32)}])
    assert batch["ids"].dtype == np.int32
    (batch,) = Feed([{"ids": [[1, 2]]}])
    assert isinstance(batch["ids"], np.ndarray)


def test_the_hash_is_of_samples_not_of_batches_or_layout():
    data = np.arange(24, dtype=np.float32).reshape(8, 3)
    whole = Feed([{"x": data}]).data_id()
    assert Feed([{"x": data[:4]}, {"x": data[4:]}]).data_id() == whole
    assert Feed([{"x": data[::-1]}]).data_id() == whole
    assert Feed([{"x": np.asfortranarray(data)}]).data_id() == whole
    assert len(whole) == 64


@pytest.mark.parametrize(
    "other",
    [
        {"x": np.arange(24, dtype=np.float32).reshape(8, 3) + 1},
        {"x": np.arange(24, dtype=np.int32).reshape(8, 3)},
        {"x": np.arange(24, dtype=np.float32).reshape(8, 3, 1)},
        {"y": np.arange(24, dtype=np.float32).reshape(8, 3)},
        {"x": np.arange(21, dtype=np.float32).reshape(7, 3)},
        {"x": np.concatenate([np.arange(24, dtype=np.float32).reshape(8, 3)] * 2)},
    ],
)
def test_other_data_has_another_hash(other):
    data = {"x": np.arange(24, dtype=np.float32).reshape(8, 3)}
    assert Feed([other]).data_id() != Feed([data]).data_id()


def test_pairs_of_inputs_belong_together():
    a, b = np.arange(2, dtype=np.float32)[:, None], np.arange(2, 4, dtype=np.float32)[:, None]
    assert Feed([{"a": a, "b": b}]).data_id() != Feed([{"a": a, "b": b[::-1]}]).data_id()


def test_the_hash_is_known_after_reading():
    data = [{"x": np.ones((2, 3), np.float32)}] * 2
    feed = Feed(iter(data))
    assert len(list(feed)) == 2
    assert feed.data_id() == Feed(data).data_id()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (None, "batch 0 is a NoneType; each"),
        (
            [np.zeros((1, 2))],
            "batch 0 is a list; each batch must be a dict .*; arrays and tuples need the model for the names",
        ),
        ({}, "batch 0 is an empty dict"),
        ({"x": np.float32(1)}, r"input 'x' has shape \[\]; the first axis must be the batch axis"),
        ({"x": np.zeros((0, 3), np.float32)}, r"has shape \[0, 3\]"),
        ({"a": np.zeros((2, 1), "f4"), "b": np.zeros((3, 1), "f4")}, r"different batch sizes \(a 2, b 3\)"),
    ],
)
def test_what_is_no_batch(batch, message):
    with pytest.raises(DataError, match=message):
        list(Feed([batch]))


def test_other_inputs_in_a_later_batch():
    x = np.zeros((1, 1), np.float32)
    with pytest.raises(DataError, match="batch 1 has the inputs x, y, but batch 0 has x"):
        list(Feed([{"x": x}, {"x": x, "y": x}]))


def as_float_nchw(name, shape, dtype):
    """A device that normalizes images, and passes the rest on."""
    if name != "x":
        return shape, dtype
    n, h, w, c = shape
    return (n, c, h, w), "float32"


SPECS = {"x": InputSpec("x", np.dtype(np.float32), ("n", 3, 8, 4))}


def test_images_that_the_device_normalizes_are_held_against_the_model_as_they_arrive_there():
    images = np.zeros((2, 8, 4, 3), np.uint8)
    feed = Feed([{"x": images}], specs=SPECS, staged=as_float_nchw)
    assert feed.shapes == {"x": (2, 3, 8, 4)}
    (batch,) = feed
    assert batch["x"].dtype == np.uint8
    wrong = np.zeros((2, 3, 8, 4), np.uint8)
    with pytest.raises(
        DataError, match=r"the batch is float32\[2, 4, 3, 8\], but the model expects x: float32"
    ):
        list(Feed([{"x": wrong}], specs=SPECS, staged=as_float_nchw))


def test_arrays_on_the_device_are_held_against_the_model():
    assert len(list(Feed([{"x": OnDevice((2, 3, 8, 4))}], specs=SPECS))) == 1
    with pytest.raises(DataError, match="the batch is float16"):
        list(Feed([{"x": OnDevice((2, 3, 8, 4), "<f2")}], specs=SPECS))
    with pytest.raises(DataError, match="the model has no input 'y'; its inputs are x"):
        list(Feed([{"y": OnDevice((2, 3, 8, 4))}], specs=SPECS))


def test_values_on_the_host_are_checked_against_the_model():
    batches = [{"x": np.full((2, 3, 8, 4), value, np.float32)} for value in (0, np.nan)]
    with pytest.raises(DataError, match=r"batch 1, input 'x', index \[0, 0, 0, 0\]: value is nan"):
        list(Feed(batches, specs=SPECS))


def test_data_can_be_read_once():
    feed = Feed([{"x": np.zeros((2, 3), np.float32)}] * 3)
    assert len(list(feed)) == 3
    with pytest.raises(CalibrationError, match="was already consumed"):
        next(iter(feed))


def test_data_on_the_device_is_not_read_for_a_hash_that_it_cannot_have():
    def only_one():
        yield {"x": OnDevice((2, 3))}
        raise AssertionError("more than the first batch was read")

    assert Feed(only_one()).data_id() is None


def test_data_that_moves_to_the_device_has_no_hash():
    feed = Feed([{"x": np.zeros((2, 3), np.float32)}, {"x": OnDevice((2, 3))}])
    assert feed.data_id() is None


def test_tuples_and_arrays_where_the_model_names_the_inputs():
    """What `calibrate` takes; a tuple's second item for a model with one input is a label."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    specs = {"x": InputSpec("x", np.dtype(np.float32), ("n", 3))}
    expected = Feed([{"x": x}], specs=specs).data_id()
    for batch in (x, (x, np.zeros(2, np.int64)), [x]):
        feed = Feed([batch], specs=specs)
        assert feed.shapes == {"x": (2, 3)}
        assert feed.data_id() == expected
    (kept,) = Feed([(OnDevice((2, 3)),)], specs=specs)
    assert isinstance(kept["x"], OnDevice)
    with pytest.raises(DataError, match="batch 1 is a NoneType; each batch must be a dict"):
        list(Feed([x, None], specs=specs))
