"""Batches are made ahead, in order, and errors come where they belong."""

import threading

import pytest

from trt_int8.batches.prefetch import prefetched


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
