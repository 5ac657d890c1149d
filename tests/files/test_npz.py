import io
import os
import resource
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trt_int8.files import npz
from trt_int8.files.npz import DAMAGE, ObjectsError, TooLargeError, read_members, read_npy

#: The folder of a test is used for all its examples.
SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
ARRAYS = hnp.arrays(
    st.sampled_from(["f4", "<f8", ">i2", "u1", "?", "f2", "c8", "U3"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
ORDERS = st.sampled_from([np.ascontiguousarray, np.asfortranarray, np.asarray])


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(text, *, values=b"", version=(1, 0)):
    """The bytes of an .npy with any header."""
    data = text.encode("latin1") + b"\n"
    length = struct.pack("<H" if version == (1, 0) else "<I", len(data))
    return b"\x93NUMPY" + bytes(version) + length + data + values


def described(shape, descr="<f4", fortran=False):
    return f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


@SHARED
@given(array=ARRAYS, order=ORDERS, saved=st.sampled_from([np.savez, np.savez_compressed]))
def test_what_numpy_writes_is_read(tmp_path, array, order, saved):
    array = order(array)
    path = tmp_path / "x.npz"
    saved(path, x=array)
    with zipfile.ZipFile(path) as archive:
        for mapped in (path, None):
            found = read_members(archive, ["x"], mapped=mapped)["x"]
            assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())
    path.write_bytes(npy(array))
    for mapped in (path, None):
        with path.open("rb") as stream:
            found = read_npy(stream, mapped=mapped)
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def read(path, mapped, *, one):
    with path.open("rb") as stream:
        if one:
            return read_npy(stream, mapped=mapped)
        with zipfile.ZipFile(stream) as archive:
            return read_members(archive, ["x"], mapped=mapped)["x"]


BYTES = st.tuples(st.integers(0, 2000), st.integers(0, 12), st.binary(max_size=6))


@SHARED
@given(change=BYTES, compressed=st.booleans(), one=st.booleans())
def test_damaged_files_are_read_or_refused(tmp_path, change, compressed, one):
    path, array = tmp_path / "x.npz", np.arange(40, dtype=np.float32).reshape(10, 4)
    if one:
        path.write_bytes(npy(array))
    else:
        (np.savez_compressed if compressed else np.savez)(path, x=array)
    data, (start, length, new) = path.read_bytes(), change
    start %= len(data)
    path.write_bytes(data[:start] + new + data[start + length :])
    for mapped in (path, None):
        try:
            read(path, mapped, one=one)
        except (*DAMAGE, KeyError, OSError):
            pass


#: header → the error; the values are 16 bytes
HEADERS = {
    "negative": (described("(-2, -2)"), r"shape \[-2, -2\]"),
    "one negative": (described("(-1, 4)"), r"shape \[-1, 4\]"),
    "too large": (described("(5,)"), "promises 20 bytes, and there are 16"),
    "too small": (described("(3,)"), "promises 12 bytes, and there are 16"),
    "overflow to 0": (described(f"({2**32}, {2**32})"), f"promises {2**66} bytes, and there are 16"),
    "no number": (described("('a',)"), "header of an array"),
    "float": (described("(4.0,)"), "header of an array"),
    "no tuple": (described("4"), "header of an array"),
    "no size": (described("(4,)", "|V0"), "shape .4., dtype .V0"),
    "empty text": (described("(4,)", "<U0"), "shape .4., dtype <U0"),
    "no dtype": (described("(4,)", "no"), "header of an array"),
    "objects": (described("(4,)", "|O"), "Python objects"),
    "objects in fields": (described("(4,)", [("a", "|O")]), "Python objects"),
    "call": ("__import__('os')", "header of an array"),
    "open bracket": ("(" * 5000, "header of an array"),
    "operators": ("-" * 5000 + "1", "header of an array"),
    "nested": ("[" * 3000 + "]" * 3000, "header of an array"),
    "text": ("'", "header of an array"),
    "NUL": ("\0", "header of an array"),
    "digits": (described(f"({'9' * 5000},)"), "header of an array"),
    "long": ("{" + " " * 60_000, "header of an array"),
    "more keys": ("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), 'x': 1}", "header of an array"),
}


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("place", ["npy", "stored", "deflated"])
def test_headers_that_lie(tmp_path, kind, place):
    text, message = HEADERS[kind]
    data, path = header(text, values=bytes(16), version=(2, 0)), tmp_path / "x"
    if place == "npy":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(
            path, "w", zipfile.ZIP_STORED if place == "stored" else zipfile.ZIP_DEFLATED
        ) as archive:
            archive.writestr("x.npy", data)
    for mapped in (path, None):
        with pytest.raises(ObjectsError if "objects" in kind else ValueError, match=message) as caught:
            read(path, mapped, one=place == "npy")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cut", range(0, 90, 5))
def test_headers_that_are_cut(tmp_path, cut):
    path = tmp_path / "x.npy"
    path.write_bytes(npy(np.ones(4, np.float32))[:cut])
    with path.open("rb") as stream, pytest.raises(DAMAGE):
        read_npy(stream, mapped=path)


def bomb(path, size):
    """An .npz with ``size`` bytes of zeros."""
    block = bytes(1 << 20)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(header(described(f"({size // 4},)")))
        for _ in range(size >> 20):
            member.write(block)


def test_a_member_larger_than_the_free_memory(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    bomb(path, 64 << 20)
    assert path.stat().st_size < 1 << 20
    monkeypatch.setattr(npz, "free_memory", lambda: 32 << 20)
    with zipfile.ZipFile(path) as archive, pytest.raises(TooLargeError) as caught:
        read_members(archive, ["x"], mapped=path)
    assert str(caught.value) == (
        "x.npy has 64 MiB when it is unpacked, and 32 MiB of memory are free; save it with numpy.savez, which "
        "is memory-mapped, or in smaller files"
    )


def test_a_header_that_promises_more_than_the_archive_says(tmp_path):
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header(described(f"({25 * 10**9},)"), values=bytes(9)))
    with zipfile.ZipFile(path) as archive, pytest.raises(ValueError, match="promises 100000000000 bytes, and there are 9"):  # fmt: skip
        read_members(archive, ["x"], mapped=path)


def test_a_process_that_may_take_little_memory(tmp_path):
    """As after ulimit -v: what is free in the machine does not help."""
    path = tmp_path / "x.npz"
    bomb(path, 512 << 20)
    program = (
        "import sys, zipfile, resource; from trt_int8.files.npz import *\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20),) * 2)\n"
        "read_members(zipfile.ZipFile(sys.argv[1]), ['x'])"
    )
    if not os.path.exists("/proc/self/statm") or not hasattr(resource, "RLIMIT_AS"):
        pytest.skip("no /proc")
    run = subprocess.run([sys.executable, "-c", program, path], capture_output=True, check=False, text=True)
    assert "TooLargeError: x.npy has 512 MiB when it is unpacked" in run.stderr
