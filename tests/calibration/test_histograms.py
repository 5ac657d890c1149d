import contextlib
import json
import zipfile

import numpy as np
import pytest

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
