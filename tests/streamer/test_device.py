import ctypes

import numpy as np
import pytest

from trt_int8.errors import CalibrationError, DataError
from trt_int8.streamer.device import BatchStream, Device, HostDevice


def floats_at(address: int, count: int) -> list[float]:
    return list((ctypes.c_float * count).from_address(address))


def batch(start: float) -> dict[str, np.ndarray]:
    return {
        "x": np.arange(start, start + 6, dtype=np.float32).reshape(2, 3),
        "mask": np.array([[start], [start + 1]], np.float32),
    }


def test_is_a_device():
    device: Device = HostDevice()
    stream: BatchStream = device.stream([])
    assert stream.next() is None


def test_hands_out_the_bytes_of_each_batch_in_order():
    stream = HostDevice().stream(batch(start) for start in (0, 10, 20))
    assert stream.batch_size is None
    seen = []
    while (pointers := stream.next()) is not None:
        assert list(pointers) == ["x", "mask"]
        seen.append((floats_at(pointers["x"], 6), floats_at(pointers["mask"], 2)))
    assert stream.batch_size == 2
    assert seen == [([s, s + 1, s + 2, s + 3, s + 4, s + 5], [s, s + 1]) for s in (0.0, 10.0, 20.0)]
    assert stream.next() is None


def test_owns_what_it_hands_out():
    source = np.zeros((1, 4), np.float32)
    pointers = HostDevice().stream([{"x": source}]).next()
    assert pointers["x"] != source.ctypes.data


def test_copies_a_strided_array_densely():
    source = np.arange(12, dtype=np.float32).reshape(3, 4).T
    stream = HostDevice().stream([{"x": source}])
    assert floats_at(stream.next()["x"], 12) == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]


def test_raises_what_the_loader_raises_and_ends():
    def loader():
        yield batch(0)
        raise KeyboardInterrupt("from the loader")

    stream = HostDevice().stream(loader())
    assert stream.next() is not None
    with pytest.raises(KeyboardInterrupt, match="from the loader"):
        stream.next()
    assert stream.next() is None


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"x": np.zeros((2, 4), np.float32)}, r"batch 1, input x is float32\[2, 4\].*float32\[2, 3\]"),
        ({"x": np.zeros((2, 3), np.float64)}, r"batch 1, input x is float64\[2, 3\]"),
        ({"y": np.zeros((2, 3), np.float32)}, "batch 1 has the inputs y, but batch 0 has x"),
    ],
)
def test_refuses_a_batch_unlike_the_first(second, message):
    stream = HostDevice().stream([{"x": np.zeros((2, 3), np.float32)}, second])
    stream.next()
    with pytest.raises(DataError, match=message):
        stream.next()


def test_close_ends_the_loader_and_is_idempotent():
    ended = []

    def loader():
        try:
            yield batch(0)
            yield batch(1)
        finally:
            ended.append(True)

    stream = HostDevice().stream(loader())
    stream.next()
    stream.close()
    stream.close()
    assert ended == [True]
    with pytest.raises(CalibrationError, match="closed"):
        stream.next()
