import numpy as np
import pytest

from trt_int8.errors import DataError
from trt_int8.model.inputs import InputSpec
from trt_int8.remedies.split import split

SPECS = {"x": InputSpec("x", np.dtype(np.float32), ("n", 2))}


def batches(count, size=1):
    return [np.full((size, 2), i, np.float32) for i in range(count)]


def numbers(items):
    return [int(np.asarray(b["x"] if isinstance(b, dict) else b)[0, 0]) for b in items]


def test_every_fourth_batch_is_held_out():
    parts = split(batches(10), SPECS)
    assert numbers(parts.held_out) == [1, 5, 9]
    assert numbers(parts.first) == numbers(parts) == [0, 2, 3, 4, 6, 7, 8]
    assert numbers(parts) == numbers(parts)  # it is read again
    assert parts.text.startswith("remedies are judged on 3 samples that nothing was fitted to; so few")


def test_no_more_is_held_out_than_is_judged_by():
    """All batches that are not held out are fitted to, and only so many stay in memory."""
    parts = split(batches(40, size=4), SPECS, samples=16)
    assert numbers(parts.held_out) == [1, 5, 9, 13]
    assert numbers(parts.first) == [0, 2, 3, 4]
    assert numbers(parts) == [i for i in range(40) if i not in (1, 5, 9, 13)]
    assert parts.text == "remedies are judged on 16 samples that nothing was fitted to"


def test_a_single_batch_is_all_there_is():
    parts = split(batches(1, size=20), SPECS)
    assert parts.held_out == ()
    assert numbers(parts.judging) == numbers(parts) == [0]
    assert "on the 20 samples that all was fitted to, for want of a second batch" in parts.text


def test_bad_data():
    with pytest.raises(DataError, match="the data: holds no batches"):
        split([], SPECS)
    with pytest.raises(DataError, match="batch 1"):
        split([*batches(1), np.zeros((1, 3), np.float32)], SPECS)
