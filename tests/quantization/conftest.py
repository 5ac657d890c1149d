"""What the tests of this folder build engines with."""

import pytest

from trt_int8.engine import load


@pytest.fixture(scope="module")
def tensorrt():
    return load("tensorrt_rtx")
