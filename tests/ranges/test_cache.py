import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import corpus_files, requires_corpus

from trt_int8.errors import CacheError
from trt_int8.ranges import CalibrationCache, Ranges, TensorRange

HEADER = "TRT-8601-EntropyCalibration2\n"
TRT_CACHES = corpus_files("caches", exclude="ort_*")


@requires_corpus
def test_the_corpus_is_read():
    assert len(TRT_CACHES) >= 25


@pytest.mark.parametrize("path", TRT_CACHES)
def test_real_caches_round_trip_bit_for_bit(path, tmp_path):
    cache = CalibrationCache.read(path)
    cache.write(tmp_path / "copy.cache")
    assert (tmp_path / "copy.cache").read_bytes() == path.read_bytes()
    # through ranges as well: amax and back gives the very lines
    lines = [line for line in path.read_text().splitlines()[1:] if line]
    assert CalibrationCache.from_ranges(cache.ranges()).text.splitlines()[1:] == lines
    assert len(cache.scales) == len(lines)


@pytest.mark.parametrize("path", corpus_files("caches", "ort_*"))
def test_onnxruntime_tables_are_refused(path):
    with pytest.raises(CacheError, match=r"not the header of a TensorRT calibration cache|a binary file"):
        CalibrationCache.read(path)


def test_tensorrts_own_lenet_table():
    # Printed by TensorRT 6.0.1; thresholds at half bins.
    text = "TRT-6001-EntropyCalibration2\ndata: 3c008912\nprob: 3c010a14\n"
    ranges = CalibrationCache.parse(text).ranges()
    assert ranges["data"].amax == pytest.approx(2040.5 / 2048, rel=1e-7)
    assert ranges["prob"].amax == pytest.approx(1 + 1 / 4096, rel=1e-7)


@pytest.mark.parametrize(
    ("line", "name", "scale"),
    [
        (
            "(Unnamed Layer* 4) [Fully Connected]_output: 3dc6a9ed",
            "(Unnamed Layer* 4) [Fully Connected]_output",
            None,
        ),
        ("a::b:0: 3f800000", "a::b:0", 1.0),
        ("odd: name: 3F800000", "odd: name", 1.0),
        (" : 3f800000", " ", 1.0),
        ("zero: 0", "zero", 0.0),
        ("inf: 7f800000", "inf", np.inf),
        ("unpadded: 800000", "unpadded", 2.0**-126),
        ("trailing: 3f800000  ", "trailing", 1.0),
    ],
)
def test_odd_lines(line, name, scale):
    scales = CalibrationCache.parse(f"{HEADER}{line}\n").scales
    assert list(scales) == [name]
    if scale is not None:
        assert scales[name] == scale


@pytest.mark.parametrize(
    ("header", "algorithm"),
    [
        ("TRT-8601-EntropyCalibration2", "EntropyCalibration2"),
        ("TRT-8XXX-MinMaxCalibration", "MinMaxCalibration"),
        ("1", "EntropyCalibration"),
        ("0 3fefae147ae147ae 3fefae147ae147ae", "LegacyCalibration"),
    ],
)
def test_headers(header, algorithm):
    cache = CalibrationCache.parse(f"{header}\nx: 3f800000\n")
    assert (cache.header, cache.algorithm) == (header, algorithm)


@pytest.mark.parametrize("text", [HEADER + "x: 3f800000", HEADER.replace("\n", "\r\n") + "x: 3f800000\r\n"])
def test_crlf_and_missing_final_newline(text, tmp_path):
    path = tmp_path / "c.cache"
    path.write_bytes(text.encode())
    cache = CalibrationCache.read(path)
    assert dict(cache.scales) == {"x": 1.0}
    cache.write(path)
    assert path.read_bytes() == text.encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "c:1: '' is not the header"),
        ("data: 3c008912\n", "c:1: 'data: 3c008912' is not the header"),
        (HEADER + "x: 3f800000\nconv1 3f800000\n", "c:3: 'conv1 3f800000' is not 'tensor name: scale'"),
        (HEADER + "x: 0.0078\n", "c:2: scale '0.0078' of tensor 'x' is not a float32 in hexadecimal"),
        (HEADER + "x: 3f8000001\n", "c:2: scale '3f8000001'"),
        (HEADER + "x: \n", "c:2: scale ''"),
        (HEADER + "x: 7fc00000\n", "c:2: scale 7fc00000 of tensor 'x' is nan"),
        (HEADER + "x: bf800000\n", "c:2: scale bf800000 of tensor 'x' is -1"),
        (HEADER + "x: 3f800000\nx: 3f800000\n", "c:3: tensor 'x' is listed twice"),
        (HEADER + "x: 3f800000\ny: 3f80", "c:3: the scale of tensor 'y' has fewer than 8 digits"),
        (HEADER + "x: 9122\ny: 3f800000\n", "c:2: the scale of tensor 'x' has fewer than 8 digits"),
    ],
)
def test_bad_lines_are_named(text, message):
    with pytest.raises(CacheError, match=f"^{message}"):
        CalibrationCache.parse(text, source="c")


def test_files_that_are_none(tmp_path):
    with pytest.raises(CacheError, match="no such file"):
        CalibrationCache.read(tmp_path / "none.cache")
    with pytest.raises(CacheError, match="is a folder"):
        CalibrationCache.read(tmp_path)
    (tmp_path / "b.cache").write_bytes(b"TRT-8601-EntropyCalibration2\n\xff\xfe")
    with pytest.raises(
        CacheError, match=r"b.cache: a binary file \(byte 29\), not a TensorRT .* cache convert FILE"
    ):
        CalibrationCache.read(tmp_path / "b.cache")


names = st.text(min_size=1).filter(lambda name: "\n" not in name and "\r" not in name and name.strip())


@given(st.dictionaries(names, st.integers(0, 0x7F800000), min_size=1))
def test_every_scale_survives(bits):
    lines = "".join(f"{name}: {value:08x}\n" if value else f"{name}: 0\n" for name, value in bits.items())
    cache = CalibrationCache.parse(HEADER + lines)
    assert {
        name: struct.unpack(">I", struct.pack(">f", scale))[0] for name, scale in cache.scales.items()
    } == bits
    assert CalibrationCache.from_ranges(cache.ranges()).text == HEADER + lines


def test_header_names_the_calibrator():
    ranges = Ranges({"x": TensorRange(127.0, source="minmax")})
    text = CalibrationCache.from_ranges(ranges, calibrator="MinMaxCalibration").text
    assert text == "TRT-8601-MinMaxCalibration\nx: 3f800000\n"
    assert CalibrationCache.from_ranges(ranges).text == "TRT-8601-EntropyCalibration2\nx: 3f800000\n"


def test_names_with_line_breaks_cannot_be_written():
    with pytest.raises(CacheError, match="line break"):
        CalibrationCache.from_ranges(Ranges({"a\nb": TensorRange(1.0, source="t")}))


def test_impossible_ranges():
    for amax in (float("nan"), -1.0):
        with pytest.raises(ValueError, match="it must be 0 or more"):
            TensorRange(amax, source="t")
    assert not TensorRange(0.0, source="t").usable
    assert not TensorRange(float("inf"), source="t").usable
    assert not TensorRange(1e-44, source="t").usable  # its scale underflows float32
    assert TensorRange(3e38, source="t").usable
