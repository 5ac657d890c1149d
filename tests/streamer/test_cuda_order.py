"""The streamer's order of loads, copies, events and hand-outs, on the real pycuda."""

import threading

import numpy as np

from streamer.batches import batch
from trt_int8.streamer.cuda import CudaDevice


def test_loads_the_next_batch_while_one_is_used(standin):
    """Load k + 1 begins before consume k ends: here consume k does not end until load k + 1 has begun."""
    begun = [threading.Event() for _ in range(6)]

    def load():
        for index, event in enumerate(begun):
            standin.mark(f"load {index}")
            event.set()
            yield batch(index)

    stream = CudaDevice().stream(load())
    for index in range(5):
        assert stream.next() is not None
        standin.mark(f"consume {index} begins")
        assert begun[index + 1].wait(timeout=30)
        standin.mark(f"consume {index} ends")
    stream.close()
    log = standin.log()
    for index in range(5):
        assert log.index(f"load {index + 1}") < log.index(f"consume {index} ends")


def test_the_next_copy_is_queued_while_one_batch_is_used(standin):
    staged = threading.Semaphore(0)

    def load():
        for index in range(4):
            yield {"x": np.full((1, 5), index, np.float32)}
            staged.release()

    stream = CudaDevice().stream(load())
    for index in range(3):
        stream.next()
        for _ in range(2 if index == 0 else 1):
            assert staged.acquire(timeout=30)
        standin.mark(f"in use {index}")
    stream.close()
    log = standin.log()
    copies = [line for line in log if line.startswith("cuMemcpyHtoDAsync 20 ")]
    assert len(copies) == 4
    for index in range(3):
        queued = [line for line in log[: log.index(f"in use {index}")] if line in copies]
        assert len(queued) == index + 2


def test_no_pointer_before_its_event(standin):
    """Between the record of a batch's event and the hand-out of its pointers lies a wait for that event."""
    length = len(standin.log())
    stream = CudaDevice(slots=3).stream(batch(start) for start in range(9))
    for index in range(9):
        stream.next()
        standin.mark(f"handed out {index}")
    stream.close()
    log = standin.log()[length:]
    records = [number for number, line in enumerate(log) if line.startswith("cuEventRecord")]
    assert len(records) == 9
    for index, record in enumerate(records):
        event = log[record].split()[1]
        until = log.index(f"handed out {index}")
        assert record < until
        assert f"cuEventSynchronize {event}" in log[record:until]
        # Both copies lie before the event on its stream.
        assert sum(line.startswith("cuMemcpyHtoDAsync") for line in log[:record]) >= 2 * (index + 1)


def test_copies_go_through_a_stream_of_their_own(standin):
    length = len(standin.log())
    CudaDevice().stream([batch(0)]).close()
    stream = CudaDevice().stream([batch(0)])
    stream.next()
    stream.close()
    log = standin.log()[length:]
    created = [line.split()[1] for line in log if line.startswith("cuStreamCreate")]
    assert [line.split()[3] for line in log if line.startswith("cuStreamCreate")] == [
        "1",
        "1",
    ]  # non-blocking
    used = {line.split()[-1] for line in log if line.startswith("cuMemcpyHtoDAsync")}
    assert used
    assert used <= set(created)


def test_waits_for_the_consumers_work_before_overwriting(standin):
    """A consumer that queues work on a batch and returns at once still reads that batch."""
    import pycuda.driver as driver

    class Consumer:
        def __init__(self):
            driver.init()
            self.context = driver.Device(0).retain_primary_context()
            self.context.push()
            self.stream = driver.Stream(1)
            self.copies = [driver.mem_alloc(24) for _ in range(4)]
            driver.Context.pop()

        def queue(self, index, pointer):
            self.context.push()
            driver.memcpy_dtod_async(self.copies[index], pointer, 24, self.stream)
            driver.Context.pop()

        def close(self):
            self.context.push()
            for allocation in self.copies:
                allocation.free()
            self.stream = None
            driver.Context.pop()

    consumer = Consumer()
    stream = CudaDevice(slots=1).stream(batch(start) for start in range(4))
    for index in range(4):
        consumer.queue(index, stream.next()["x"])
    assert stream.next() is None
    for index in range(4):
        np.testing.assert_array_equal(standin.read(int(consumer.copies[index]), (2, 3)), batch(index)["x"])
    consumer.close()
    # pycuda leaves its primary context on the driver's stack; see PrimaryContext.release.
    from trt_int8.streamer.context import PrimaryContext

    owner = PrimaryContext.__new__(PrimaryContext)
    owner._driver, owner._context = driver, consumer.context
    owner.release()
