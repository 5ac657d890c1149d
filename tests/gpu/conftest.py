"""A GPU and pycuda, or a skip that says what is missing."""

import contextlib

import numpy as np
import pytest

from trt_int8.errors import TrtInt8Error
from trt_int8.streamer.context import PrimaryContext, load_driver


class Gpu:
    """The first GPU, in its primary context."""

    def __init__(self, driver):
        self.driver = driver
        self.context = PrimaryContext(driver, 0)
        self._allocations = []

    def read(self, pointer, shape, dtype="float32"):
        """A copy of GPU memory."""
        result = np.empty(shape, dtype)
        with self.context.current():
            self.driver.memcpy_dtoh(result, pointer)
        return result

    def free_bytes(self):
        with self.context.current():
            return self.driver.mem_get_info()[0]

    def allocate(self, nbytes):
        with self.context.current():
            self._allocations.append(self.driver.mem_alloc(nbytes))
        return int(self._allocations[-1])

    def close(self):
        with self.context.current():
            for allocation in self._allocations:
                allocation.free()
        self.context.release()


@pytest.fixture(scope="session")
def driver():
    try:
        driver = load_driver()
        if driver.Device.count() == 0:
            pytest.skip("the driver sees no GPU")
    except TrtInt8Error as error:
        pytest.skip(f"no GPU: {error}")
    return driver


@pytest.fixture
def gpu(driver):
    with contextlib.closing(Gpu(driver)) as gpu:
        yield gpu
