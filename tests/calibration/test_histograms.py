import contextlib
import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trt_int8.calibration import collect
from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.histograms import (
    Histograms,
    from_bytes,
    load_histograms,
    load_histograms_and_extra,
    save_histograms,
    to_bytes,
)
from trt_int8.errors import CalibrationError


@pytest.fixture
def histograms(rng):
    tensors = {
        "a": Histogram.empty().add(rng.normal(size=1000)),
        "näme: with (odd) chars": Histogram.empty().add(np.array([0, np.inf, -3e-40], np.float32)),
        "zeros": Histogram.empty().add(np.zeros(5)),
        "unused": Histogram.empty(),
    }
    tensors["view of a"] = tensors["a"]
    return Histograms(tensors, ties={"view of a": "a"}, samples=17)


def equal(one: Histograms, other: Histograms) -> bool:
    return (
        list(one.tensors) == list(other.tensors)
        and (one.ties, one.samples) == (other.ties, other.samples)
        and all(
            np.array_equal(a.counts, b.counts)
            and (a.exponent, a.zeros, a.minimum, a.maximum, a.infinities)
            == (b.exponent, b.zeros, b.minimum, b.maximum, b.infinities)
            for a, b in zip(one.tensors.values(), other.tensors.values(), strict=True)
        )
    )


def test_round_trip(histograms, tmp_path):
    save_histograms(histograms, tmp_path / "h.npz", extra={"model": "abc"})
    loaded, extra = load_histograms_and_extra(tmp_path / "h.npz")
    assert equal(loaded, histograms)
    assert extra == {"model": "abc"}
    assert dict(loaded.ranges()) == dict(histograms.ranges())


def test_counts_beyond_32_bits(histograms):
    big = histograms.tensors["a"].counts * 2**40
    h = Histograms({"a": Histogram(big, 0, 0, -1.0, 1.0)})
    assert np.array_equal(from_bytes(to_bytes(h))[0].tensors["a"].counts, big)


def test_equal_histograms_give_equal_bytes(lenet_path, digits):
    import onnx

    model, images = onnx.load(lenet_path), [{"data": image[None]} for image in digits["calibration"][:40]]
    whole = collect(model, images)
    merged = collect(model, images[:13]).merge(collect(model, images[13:][::-1]))
    assert to_bytes(whole) == to_bytes(merged)
    assert len(to_bytes(whole)) < 40_000  # ten tensors of 4,096 bins


def test_merging_loaded_shards(histograms, tmp_path):
    save_histograms(histograms, tmp_path / "h.npz")
    twice = load_histograms(tmp_path / "h.npz").merge(histograms)
    assert twice.samples == 34
    assert twice.tensors["a"].total == 2000


def test_large_counts_come_back():
    """40,000 of one value need more than 16 bits, 3 billion more than 32."""
    many = Histogram.empty().add(np.full(40_000, 0.7))
    billions = Histogram(many.counts * 75_000, many.exponent, 0, many.minimum, many.maximum)
    for one in (many, billions):
        (back,) = from_bytes(to_bytes(Histograms({"x": one}, samples=1)))[0].tensors.values()
        assert (back.counts == one.counts).all()


FIX = "; give what trt-int8 calibrate --histograms wrote, or calibrate again"
REFUSED = {
    "missing": "cannot be read: No such file or directory; check the path of the histogram file",
    "text": f"not a histogram file (.npz){FIX}",
    "empty": f"the file is empty{FIX}",
    "cut": f"a damaged histogram file, or one of another format{FIX}",
    "deflate": f"a damaged histogram file, or one of another format{FIX}",
    "other npz": f"an .npz file, but not one of histograms{FIX}",
    "newer": f"version 99 is newer than this package reads (1){FIX}",
    "bins": f"a damaged histogram file, or one of another format{FIX}",
}


@pytest.mark.parametrize("damage", REFUSED)
def test_files_that_are_none(histograms, tmp_path, damage):
    path = tmp_path / "h.npz"
    if damage == "text":
        path.write_text("hello")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "deflate":
        data = bytearray(to_bytes(histograms))
        data[60:90] = b"\xff" * 30  # within the compressed bytes of the first member
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(to_bytes(histograms)[:500])
    elif damage == "other npz":
        np.savez(path, x=np.ones(3))
    elif damage in ("newer", "bins"):
        save_histograms(histograms, path)
        with np.load(path) as file:
            columns = dict(file)
        header = json.loads(columns["header"].tobytes())
        if damage == "newer":
            header["version"] = 99
        else:
            columns["counts"] = columns["counts"][:, :100]
        columns["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
        np.savez(path, **columns)
    with pytest.raises(CalibrationError) as caught:
        load_histograms(path)
    assert str(caught.value) == f"{path}: {REFUSED[damage]}"


def test_damaged_bytes_never_show_another_error(histograms, tmp_path, rng):
    """Cut short, overwritten here and there, or noise altogether."""
    whole = to_bytes(histograms)
    for _ in range(300):
        data = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
        (tmp_path / "h.npz").write_bytes(data if rng.random() < 0.8 else rng.bytes(200))
        with contextlib.suppress(CalibrationError):
            load_histograms(tmp_path / "h.npz")


def test_nothing_is_pickled(histograms, tmp_path):
    save_histograms(histograms, tmp_path / "h.npz")
    with zipfile.ZipFile(tmp_path / "h.npz") as archive:
        assert len(archive.namelist()) == 8


#: The folder of a test is used for all its examples.
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES = hnp.arrays(st.sampled_from([np.float32, np.float64]), st.integers(0, 6), elements=st.floats(width=32, allow_nan=False))  # fmt: skip


@SHARED
@given(tensors=st.dictionaries(TEXT, VALUES.map(Histogram.empty().add), max_size=4), samples=st.integers(0, 2**40), extra=st.dictionaries(TEXT, TEXT))  # fmt: skip
def test_what_is_written_is_read(tensors, samples, extra):
    names = list(tensors)
    written = Histograms(tensors, {names[1]: names[0]} if len(names) > 1 else {}, samples)
    found, more = from_bytes(to_bytes(written, extra=extra))
    assert equal(found, written)
    assert more == extra


#: column → other values for the histograms of the fixture
WRONG = {
    "row": [[0, 1, 2, 3, 99], [0, 1, 2, 3, -1], [0.0, 1, 2, 3, 0], [[0]] * 5, [0]],
    "exponent": [[2**40] * 5, [-5000] * 5, [0.5] * 5, [-(2**31)] * 5, [0] * 5],
    "zeros": [[-1] * 5, [2**62] * 5, ["a"] * 5, [0.5] * 5],
    "infinities": [[-1] * 5, [True] * 5],
    "minimum": [[np.nan] * 5, [-np.inf] * 5, [1e300] * 5, ["a"] * 5],
    "maximum": [[np.nan] * 5, [np.inf] * 5, [-1e300] * 5],
    "counts": [-np.ones((4, 4096), int), np.full((4, 4096), 2**62), np.ones((4, 4096)) * np.nan, np.zeros((0, 4096)), [1]],
}  # fmt: skip


@pytest.mark.parametrize(("column", "number"), [(name, i) for name in WRONG for i in range(len(WRONG[name]))])
def test_columns_with_other_values_are_refused(histograms, tmp_path, column, number):
    save_histograms(histograms, tmp_path / "h.npz")
    with np.load(tmp_path / "h.npz") as file:
        columns = dict(file) | {column: np.array(WRONG[column][number])}
    np.savez(tmp_path / "h.npz", **columns)
    with pytest.raises(CalibrationError, match="a damaged histogram file"):
        load_histograms(tmp_path / "h.npz")


HEADERS = [
    {"names": ["a", "a", "b", "c", "d"]},
    {"names": [1, 2, 3, 4, 5]},
    {"names": "abcde"},
    {"names": ["a"]},
    {"ties": {"view of a": "no"}},
    {"ties": {"no": "a"}},
    {"ties": {"view of a": "a", "a": "zeros"}},
    {"ties": ["a"]},
    {"ties": {"view of a": ["a"]}},
    {"samples": "17"},
    {"samples": -1},
    {"samples": 1.5},
    {"extra": [1]},
    {"version": "1"},
    {"version": None},
    {"names": None},
]


@pytest.mark.parametrize("change", HEADERS, ids=str)
def test_headers_with_other_values_are_refused(histograms, tmp_path, change):
    save_histograms(histograms, tmp_path / "h.npz")
    with np.load(tmp_path / "h.npz") as file:
        columns = dict(file)
    header = json.loads(columns["header"].tobytes()) | change
    columns["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(tmp_path / "h.npz", **columns)
    with pytest.raises(CalibrationError, match="a damaged histogram file"):
        load_histograms(tmp_path / "h.npz")
