"""Batches are made ahead, in order, and errors come where they belong."""

import threading

import numpy as np
import pytest

from trt_int8.batches import ArraySamples, batched
from trt_int8.batches.batching import prefetched
from trt_int8.errors import DataError

SEVEN = ArraySamples({"x": np.arange(7), "y": np.arange(7) * 10})


def rows(batches):
    return [batch["x"].tolist() for batch in batches]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("keep", [[0, 1, 2], [3, 4, 5], [6]]),
        ("drop", [[0, 1, 2], [3, 4, 5]]),
        ("pad", [[0, 1, 2], [3, 4, 5], [6, 6, 6]]),
    ],
)
def test_short_last_batch(last, expected):
    assert rows(batched(SEVEN, 3, last=last)) == expected


def test_limit_and_inputs_stay_together():
    batches = list(batched(SEVEN, 2, limit=3, shuffle=5))
    assert [len(batch["x"]) for batch in batches] == [2, 1]
    for batch in batches:
        assert np.array_equal(batch["x"] * 10, batch["y"])


def test_shuffle_is_a_permutation_fixed_by_its_seed():
    first, again, other = (np.concatenate(rows(batched(SEVEN, 3, shuffle=seed))) for seed in (1, 1, 2))
    assert sorted(first) == list(range(7))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert first.tolist() != list(range(7))


def test_nothing_to_batch():
    with pytest.raises(DataError, match="holds no samples"):
        batched(ArraySamples({"x": np.empty((0, 3))}, "empty.npy"), 2)
    with pytest.raises(DataError, match="only 7 samples for a batch size of 8"):
        batched(SEVEN, 8, last="drop")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"last": "wrap"}, "last is 'wrap'"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        batched(SEVEN, **{"batch_size": 2, **arguments})


def test_order_and_end():
    assert list(prefetched(range(20))) == list(range(20))
    assert list(prefetched([])) == []


def test_the_next_ones_are_made_while_one_is_in_use():
    made = [threading.Event() for _ in range(5)]

    def batches():
        for number, event in enumerate(made):
            event.set()
            yield number

    iterator = prefetched(batches(), ahead=2)
    assert next(iterator) == 0
    assert made[1].wait(10)
    assert made[2].wait(10)
    assert not made[4].is_set()  # and no more than that
    iterator.close()


def test_an_error_comes_in_its_place():
    def batches():
        yield 0
        yield 1
        raise ValueError("third")

    iterator = prefetched(batches())
    assert [next(iterator), next(iterator)] == [0, 1]
    with pytest.raises(ValueError, match="third"):
        next(iterator)


def test_closing_stops_the_thread():
    iterator = prefetched(iter(range(1000)))
    next(iterator)
    iterator.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
