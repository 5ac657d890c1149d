"""Random data: of the right shapes and dtypes, the same every time."""

import numpy as np
import pytest

from trt_int8.batches import batched
from trt_int8.batches.samples import random_samples
from trt_int8.errors import ShapeError
from trt_int8.graph import InputSpec, parse_shapes

SPECS = {
    "x": InputSpec("x", np.dtype(np.float16), ("n", 3, "h", 5)),
    "ids": InputSpec("ids", np.dtype(np.int32), ("n", 7)),
}


def test_shapes_dtypes_and_values():
    shapes = parse_shapes(["x:1x3x2x5,2x3x4x5,8x3x8x5"])
    first, second = (list(batched(random_samples(SPECS, 3, shapes=shapes), 2)) for _ in range(2))
    assert [(b["x"].shape, b["ids"].shape) for b in first] == [((2, 3, 4, 5), (2, 7)), ((1, 3, 4, 5), (1, 7))]
    assert first[0]["x"].dtype == np.float16
    assert first[0]["ids"].dtype == np.int32
    assert set(np.unique(first[0]["ids"])) == {0, 1}
    assert -1 <= first[0]["x"].min() < -0.9
    assert 0.9 < first[0]["x"].max() <= 1
    assert (first[1]["x"] == second[1]["x"]).all()
    assert (first[0]["x"][0] != first[0]["x"][1]).any()


def test_open_shapes():
    with pytest.raises(ShapeError, match=r"x: float16 \[n, 3, h, 5\] is dynamic in 'h' \(axis 2\)"):
        random_samples(SPECS, 3)
