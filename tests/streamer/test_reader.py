"""Reading ahead, without CUDA."""

import threading

import pytest

from trt_int8.streamer import reader
from trt_int8.streamer.reader import ReadAhead


def ahead_of(items, *, ahead=2, borrows=False, stage=lambda index, item: (index, item)):
    return ReadAhead(iter(items), stage, borrows=lambda _: borrows, ahead=ahead)


def test_items_in_order_then_none():
    read = ahead_of("abc")
    assert [read.next() for _ in range(5)] == [(0, "a"), (1, "b"), (2, "c"), None, None]
    read.close()


@pytest.mark.parametrize("ahead", [1, 2, 4])
def test_never_stages_more_than_asked(ahead):
    staged = []
    more = threading.Semaphore(0)

    def stage(index, item):
        staged.append(index)
        more.release()
        return item

    read = ahead_of(range(1, 20), ahead=ahead, stage=stage)
    for taken in range(5):
        read.next()
        for _ in range(ahead if taken == 0 else 1):
            assert more.acquire(timeout=30)
        assert staged == list(range(taken + ahead))
        assert not more.acquire(blocking=False)
    read.close()


def test_borrowed_items_stop_the_loader():
    loaded = []

    def load():
        for index in range(1, 5):
            loaded.append(index)
            yield index

    read = ahead_of(load(), borrows=True, stage=lambda _, item: item)
    for index in range(1, 5):
        assert read.next() == index
        assert loaded == list(range(1, index + 1))
    assert read.next() is None
    read.close()


def test_an_error_of_stage_is_raised_where_it_belongs():
    def stage(index, item):
        if index == 2:
            raise ValueError("third")
        return item

    read = ahead_of("abcd", stage=stage)
    assert [read.next(), read.next()] == ["a", "b"]
    for _ in range(2):
        with pytest.raises(ValueError, match="third"):
            read.next()
    read.close()


def test_close_ends_the_loader_and_its_thread():
    ended = threading.Event()

    def load():
        try:
            while True:
                yield 1
        finally:
            ended.set()

    read = ahead_of(load())
    read.next()
    read.close()
    assert ended.is_set()
    assert not read._thread.is_alive()


@pytest.mark.parametrize("borrows", [False, True])
def test_close_before_anything_is_taken(borrows):
    read = ahead_of(range(1, 100), borrows=borrows)
    read.close()
    assert not read._thread.is_alive()


def test_close_does_not_wait_for_ever_for_a_hanging_loader(monkeypatch):
    monkeypatch.setattr(reader, "PATIENCE", 0.01)
    hanging, staged = threading.Event(), []

    def load():
        yield 0
        hanging.wait(timeout=30)
        yield 1

    read = ahead_of(load(), stage=lambda index, _: staged.append(index) or "item")
    read.next()
    read.close()
    assert read._thread.is_alive()
    hanging.set()
    read._thread.join(timeout=30)
    assert not read._thread.is_alive()
    assert staged == [0]  # nothing is staged after close


def test_an_error_while_the_loader_ends_is_not_lost():
    class Loader:
        def __iter__(self):
            return self

        def __next__(self):
            raise StopIteration

        def close(self):
            raise OSError("cannot unmount")

    read = ahead_of(Loader())
    with pytest.raises(OSError, match="cannot unmount"):
        read.next()
    read.close()
