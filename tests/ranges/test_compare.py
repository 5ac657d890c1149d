import math

import pytest

from trt_int8.errors import RangeError
from trt_int8.ranges import Ranges, TensorRange
from trt_int8.ranges.compare import diff, merge, set_ranges


def ranges(**amax):
    return Ranges({name: TensorRange(value, source="test") for name, value in amax.items()})


def amax(found):
    return {name: entry.amax for name, entry in found.items()}


def test_diff():
    result = diff(ranges(a=1.0, b=2.0, c=0.0, d=0.0, e=5.0), ranges(a=1.5, b=1.0, c=0.0, d=1.0, f=5.0))
    assert [(c.name, c.ratio) for c in result.changes] == [("d", math.inf), ("b", 2), ("a", 1.5), ("c", 1)]
    assert (result.only_left, result.only_right) == (("e",), ("f",))
    assert [c.name for c in result.above(1.5)] == ["d", "b"]
    assert result.to_dict()["tensors"][0]["ratio"] is None


def test_merge():
    left, right = ranges(a=1.0, b=2.0, c=3.0), ranges(a=2.0, b=1.0, d=4.0)
    assert amax(merge(left, right)) == {"a": 2, "b": 2, "c": 3, "d": 4}
    assert amax(merge(left, right, how="min")) == {"a": 1, "b": 1, "c": 3, "d": 4}
    assert amax(merge(left, right, how="left")) == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert amax(merge(left, right, how="right")) == {"a": 2, "b": 1, "c": 3, "d": 4}
    assert list(merge(right, left)) == ["a", "b", "d", "c"]


def test_set():
    before = Ranges({n: TensorRange(1.0, source="t") for n in ("relu1", "relu2", "fc [x]", "fc x")})
    after = set_ranges(before, {"relu*": 6.0, "relu2": 3.0, "fc [x]": 2.0}, unset=["fc x"])
    assert amax(after) == {"relu1": 6, "relu2": 3, "fc [x]": 2}
    assert amax(before)["relu1"] == 1
    with pytest.raises(RangeError, match="'rulu' matches none of the 4 tensors; nearest names: relu"):
        set_ranges(before, {"rulu": 1.0})
