"""Compiled loops on the disk: loaded without numba, never if damaged, made again if anything changed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trt_int8.calibration import machine_code
from trt_int8.calibration.machine_code import Loop, address

ARGUMENTS = "int64 float64 float32** int64* float64*"


def weighted_sums(number, factor, arrays, sizes, sums):
    for k in range(number):
        sums[k] = 0.0
        for i in range(sizes[k]):
            sums[k] += factor * arrays[k][i]


def with_scratch(number, factor, arrays, sizes, sums):
    """Calls numba's allocator: no code that stands alone."""
    scratch = np.zeros(number)
    for k in range(number):
        for i in range(sizes[k]):
            scratch[k] += factor * arrays[k][i]
        sums[k] = scratch[k]


def result(loop):
    """Sums of 2 · [1, 2, 3] and 2 · [4]."""
    arrays = [np.array([1, 2, 3], np.float32), np.array([4], np.float32)]
    addresses, sizes = np.array([address(a) for a in arrays]), np.array([3, 1])
    sums = np.empty(2)
    loop(2, 2.0, address(addresses), address(sizes), address(sums))
    return sums.tolist()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_code, "_folders", lambda: (tmp_path / "first", tmp_path / "second"))
    return tmp_path / "first"


def stored(folder):
    return sorted(folder.glob("*.o"))


def test_what_was_compiled_is_stored(folder):
    loop = Loop(weighted_sums, ARGUMENTS)
    assert not loop.stored
    assert result(loop) == [12, 8]
    assert [path.name[:14] for path in stored(folder)] == ["weighted_sums-"]
    assert Loop(weighted_sums, ARGUMENTS).stored


def test_what_is_stored_needs_no_numba(folder, monkeypatch):
    Loop(weighted_sums, ARGUMENTS).load()
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it fails
    assert result(Loop(weighted_sums, ARGUMENTS)) == [12, 8]
    with pytest.raises(ImportError):
        Loop(with_scratch, ARGUMENTS).load()


@pytest.mark.parametrize("damage", [b"", b"x", b"0" * 64 + b"\nsymbol\ncode"])
def test_damaged_code_is_compiled_again(damage, folder):
    Loop(weighted_sums, ARGUMENTS).load()
    (path,) = stored(folder)
    path.write_bytes(damage)
    assert result(Loop(weighted_sums, ARGUMENTS)) == [12, 8]
    assert machine_code._read(path) is not None


def test_one_wrong_bit_is_damage(folder):
    Loop(weighted_sums, ARGUMENTS).load()
    (path,) = stored(folder)
    whole = bytearray(path.read_bytes())
    for position in (70, len(whole) // 2, len(whole) - 1):
        whole[position] ^= 1
        path.write_bytes(whole)
        assert machine_code._read(path) is None
        whole[position] ^= 1
    path.write_bytes(whole)
    assert machine_code._read(path) is not None


@pytest.mark.parametrize("mode", [0o602, 0o666])
def test_code_that_others_may_have_written_is_not_run(mode, folder):
    Loop(weighted_sums, ARGUMENTS).load()
    (path,) = stored(folder)
    path.chmod(mode)
    assert machine_code._read(path) is None
    path.chmod(0o664)
    assert machine_code._read(path) is not None


def test_code_of_another_user_is_not_run(folder, monkeypatch):
    Loop(weighted_sums, ARGUMENTS).load()
    (path,) = stored(folder)
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    assert (machine_code._read(path) is None) == (path.stat().st_uid != 0)


@pytest.mark.parametrize("changed", ["source", "arguments", "version", "processor"])
def test_code_of_something_else_is_not_used(changed, folder, tmp_path, monkeypatch):
    import llvmlite
    from llvmlite import binding

    source = tmp_path / "loops.py"
    source.write_text("def sums(n, out):\n    for i in range(n):\n        out[i] = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import loops

    Loop(loops.sums, "int64 float64*").load()
    arguments = "int64 float64*"
    if changed == "source":
        source.write_text(source.read_text().replace("= 1", "= 2"))
    elif changed == "arguments":
        arguments = "int64 int64*"
    elif changed == "version":
        monkeypatch.setattr(llvmlite, "__version__", "0")
    else:
        monkeypatch.setattr(binding, "get_host_cpu_name", lambda: "x86-64")
    Loop(loops.sums, arguments).load()
    assert len(stored(folder)) == 2
    del sys.modules["loops"]


def test_code_that_llvm_refuses_is_left_to_numba(folder, monkeypatch):
    from llvmlite import binding

    def refuse(*arguments):
        raise RuntimeError("LLVM refuses")

    Loop(weighted_sums, ARGUMENTS).load()
    monkeypatch.setattr(binding.ObjectFileRef, "from_data", refuse)
    assert result(Loop(weighted_sums, ARGUMENTS)) == [12, 8]
    for path in stored(folder):
        path.unlink()
    assert result(Loop(weighted_sums, ARGUMENTS)) == [12, 8]
    assert not stored(folder)


def test_a_processor_without_a_list_of_features(folder, monkeypatch):
    from llvmlite import binding

    def unknown():
        raise RuntimeError("failed to get host cpu features")

    monkeypatch.setattr(binding, "get_host_cpu_features", unknown)
    for _ in range(2):
        assert result(Loop(weighted_sums, ARGUMENTS)) == [12, 8]
    assert len(stored(folder)) == 1


def test_what_needs_numba_is_not_stored(folder):
    assert result(Loop(with_scratch, ARGUMENTS)) == [12, 8]
    assert not stored(folder)


def test_where_the_first_folder_cannot_be_written(folder):
    folder.write_text("no folder")
    assert result(Loop(weighted_sums, ARGUMENTS)) == [12, 8]
    assert len(stored(folder.parent / "second")) == 1
    assert Loop(weighted_sums, ARGUMENTS).stored


def test_where_nothing_can_be_written(folder):
    for name in ("first", "second"):
        (folder.parent / name).write_text("no folder")
    assert result(Loop(weighted_sums, ARGUMENTS)) == [12, 8]


def test_calibration_does_not_import_numba_twice(tmp_path):
    """The first process compiles, the second loads: same counts, same thresholds, no numba."""
    root = Path(__file__).parents[2]
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "from trt_int8.calibration import machine_code\n"
        "machine_code._folders = lambda: (pathlib.Path(sys.argv[2]),)\n"
        "import numpy as np\n"
        "from trt_int8.calibration.compiled import kernels\n"
        "from trt_int8.calibration.histogram import Histogram\n"
        "from trt_int8.calibration.thresholds import entropy_amax\n"
        "loaded = kernels()\n"
        "values = np.random.default_rng(0).normal(size=(2, 50_000)).astype(np.float32)\n"
        "for factor in (1, 1e4):  # scales in float32, and in float64\n"
        "    histogram = Histogram.empty().add(values[0] * np.float32(factor)).add(values[1])\n"
        "    amax = entropy_amax(histogram, kernels=loaded)\n"
        "    print(amax, histogram.counts.sum(), histogram.exponent)\n"
        "print('numba' in sys.modules)\n"
    )

    def run():
        arguments = [sys.executable, "-c", program, str(root), str(tmp_path)]
        done = subprocess.run(arguments, capture_output=True, text=True, env={**os.environ}, check=True)
        return done.stdout.splitlines()

    first, second = run(), run()
    assert (first[-1], second[-1]) == ("True", "False")
    assert first[:-1] == second[:-1]
    assert len(stored(tmp_path)) == 3
