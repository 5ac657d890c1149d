import io
import zipfile

import numpy as np
import pytest

from trt_int8.batches import open_arrays
from trt_int8.errors import DataError


@pytest.fixture
def images(rng):
    return rng.normal(size=(5, 3, 4)).astype(np.float32)


def test_npy_is_memory_mapped(tmp_path, images):
    np.save(tmp_path / "x.npy", images)
    samples = open_arrays(tmp_path / "x.npy", inputs=["x"])
    assert isinstance(samples.arrays["x"], np.memmap)
    assert np.array_equal(samples.fetch(np.array([3, 0]))["x"], images[[3, 0]])
    assert len(samples) == 5


@pytest.mark.parametrize("order", ["C", "F"])
def test_uncompressed_npz_is_memory_mapped(tmp_path, images, order):
    ids = np.arange(5)
    np.savez(tmp_path / "a.npz", ids=ids, x=np.asarray(images, order=order), labels=np.array(["a"] * 5))
    samples = open_arrays(tmp_path / "a.npz", inputs=["x", "ids"])
    assert all(isinstance(array, np.memmap) for array in samples.arrays.values())
    fetched = samples.fetch(np.array([4, 1]))
    assert np.array_equal(fetched["x"], images[[4, 1]])
    assert np.array_equal(fetched["ids"], [4, 1])


def test_compressed_npz_gives_the_same(tmp_path, images):
    np.savez_compressed(tmp_path / "c.npz", x=images)
    samples = open_arrays(tmp_path / "c.npz", inputs=["x"])
    assert not isinstance(samples.arrays["x"], np.memmap)
    assert np.array_equal(samples.arrays["x"], images)


def npz_with_object(path):
    np.savez(path, x=np.array([{"a": 1}], dtype=object))


def npy_with_object(path):
    np.save(path, np.array([{"a": 1}], dtype=object))


def truncated(path):
    buffer = io.BytesIO()
    np.save(buffer, np.ones((100, 3), np.float32))
    path.write_bytes(buffer.getvalue()[:300])


def truncated_npz(path):
    buffer = io.BytesIO()
    np.savez(buffer, x=np.ones((100, 3), np.float32))
    path.write_bytes(buffer.getvalue()[:600])


def unknown_method(path):
    np.savez_compressed(path, x=np.ones(3))
    path.write_bytes(path.read_bytes().replace(b"\x08\x00\x00\x00\x21\x00", b"\x63\x00\x00\x00\x21\x00"))


def encrypted(path):
    np.savez(path, x=np.ones(3))
    data = bytearray(path.read_bytes())
    data[6] |= 1  # general purpose flag of the local header
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(bytes(data))


def flipped(path):
    np.savez_compressed(path, x=np.arange(1000.0))
    data = bytearray(path.read_bytes())
    for i in range(100, 200):
        data[i] ^= 0xFF
    path.write_bytes(bytes(data))


def other_key(path):
    np.savez(path, image=np.ones(3))


def unequal(path):
    np.savez(path, x=np.ones(3), y=np.ones(4))


def number(path):
    np.save(path, np.float32(1))


def not_a_member(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"no array")


@pytest.mark.parametrize(
    ("name", "make", "inputs", "message"),
    [
        ("o.npz", npz_with_object, ["x"], r"o\.npz: 'x' holds Python objects .*never unpickled"),
        ("o.npy", npy_with_object, ["x"], r"o\.npy: holds Python objects .*never unpickled"),
        ("t.npy", truncated, ["x"], r"t\.npy: damaged or cut short"),
        ("t.npz", truncated_npz, ["x"], r"t\.npz: damaged or cut short"),
        ("m.npz", not_a_member, ["x"], r"m\.npz: damaged or cut short"),
        ("z.npz", unknown_method, ["x"], r"z\.npz: damaged or cut short"),
        ("p.npz", encrypted, ["x"], r"p\.npz: damaged or cut short"),
        ("f.npz", flipped, ["x"], r"f\.npz: damaged or cut short"),
        ("k.npz", other_key, ["x"], r"k\.npz: has no key 'x' .*\(keys: image\)"),
        ("u.npz", unequal, ["x", "y"], r"u\.npz: inputs have different numbers of samples \(x 3, y 4\)"),
        ("n.npy", number, ["x"], r"n\.npy: 'x' is a single number"),
        ("two.npy", number, ["x", "y"], r"the model has 2 inputs \(x, y\); save an \.npz"),
        ("j.txt", lambda path: path.write_text("hello"), ["x"], r"neither an \.npy nor an \.npz file"),
        ("e.npy", lambda path: path.write_bytes(b""), ["x"], r"neither an \.npy nor an \.npz file"),
        ("d", lambda path: path.mkdir(), ["x"], r"d is a folder; give an \.npy or \.npz file"),
        ("missing.npy", lambda path: None, ["x"], r"missing\.npy: no such file"),
    ],
)
def test_bad_files(tmp_path, name, make, inputs, message):
    make(tmp_path / name)
    with pytest.raises(DataError, match=message):
        open_arrays(tmp_path / name, inputs=inputs)
