"""Compiled loops on the disk: loaded without numba, never if damaged, made again if anything changed."""

import importlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from trt_int8.calibration import code_store, machine_code
from trt_int8.calibration.machine_code import Loop, address

ROOT = Path(__file__).parents[2]
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
    monkeypatch.setattr(code_store, "folders", lambda: (tmp_path / "first", tmp_path / "second"))
    return tmp_path / "first"


def stored(folder):
    return sorted(folder.glob("*.o"))


def compiled(function=weighted_sums, arguments=ARGUMENTS):
    loop = Loop(function, arguments)
    loop.compile()
    return loop


def test_what_was_compiled_is_loaded(folder):
    assert not Loop(weighted_sums, ARGUMENTS).load()
    assert result(compiled()) == [12, 8]
    assert [path.name[:14] for path in stored(folder)] == ["weighted_sums-"]
    assert {path.stat().st_mode & 0o777 for path in stored(folder)} == {0o644}
    assert list(folder.iterdir()) == stored(folder)
    loop = Loop(weighted_sums, ARGUMENTS)
    assert loop.load()
    assert result(loop) == [12, 8]


def test_what_is_stored_needs_no_numba(folder, monkeypatch):
    compiled()
    monkeypatch.setitem(sys.modules, "numba", None)  # importing it fails
    loop = Loop(weighted_sums, ARGUMENTS)
    assert loop.load()
    assert result(loop) == [12, 8]
    with pytest.raises(ImportError):
        Loop(with_scratch, ARGUMENTS).compile()


@pytest.mark.parametrize("damage", [b"", b"x", b"0" * 64 + b"\nsymbol\ncode"])
def test_damaged_code_is_replaced(damage, folder):
    compiled()
    (path,) = stored(folder)
    path.write_bytes(damage)
    assert not Loop(weighted_sums, ARGUMENTS).load()
    compiled()
    assert stored(folder) == [path]
    assert Loop(weighted_sums, ARGUMENTS).load()


def test_one_wrong_bit_is_damage(folder):
    compiled()
    (path,) = stored(folder)
    whole = bytearray(path.read_bytes())
    for position in (3, 70, len(whole) // 2, len(whole) - 1):
        whole[position] ^= 1
        path.write_bytes(whole)
        assert not Loop(weighted_sums, ARGUMENTS).load()
        whole[position] ^= 1
    path.write_bytes(whole)
    assert Loop(weighted_sums, ARGUMENTS).load()


@pytest.mark.parametrize("mode", [0o602, 0o620, 0o664])
def test_code_that_others_may_have_written_is_not_run(mode, folder):
    compiled()
    (path,) = stored(folder)
    path.chmod(mode)
    assert not Loop(weighted_sums, ARGUMENTS).load()
    path.chmod(0o600)
    assert Loop(weighted_sums, ARGUMENTS).load()


@pytest.mark.parametrize(("owner", "taken"), [(1000, True), (1001, False), (0, True)])
def test_code_of_another_user_is_not_run(owner, taken, folder, monkeypatch):
    compiled()
    original = os.fstat

    def owned(descriptor):
        values = list(original(descriptor))
        values[4] = owner
        return os.stat_result(values)

    monkeypatch.setattr(code_store.os, "getuid", lambda: 1000)
    monkeypatch.setattr(code_store.os, "fstat", owned)
    assert Loop(weighted_sums, ARGUMENTS).load() is taken


@pytest.mark.parametrize(
    "changed", ["arguments", "numba", "llvmlite", "triple", "processor", "settings", "linking"]
)
def test_code_of_something_else_is_not_used(changed, folder, monkeypatch):
    import llvmlite
    from llvmlite import binding

    compiled()
    arguments = ARGUMENTS
    if changed == "arguments":
        arguments = arguments.replace("float32**", "float64**")
    elif changed == "numba":
        monkeypatch.setattr(machine_code, "_numba_version", lambda: "0")
    elif changed == "llvmlite":
        monkeypatch.setattr(llvmlite, "__version__", "0")
    elif changed == "triple":
        monkeypatch.setattr(binding, "get_process_triple", lambda: "x86_64-pc-windows-msvc")
    elif changed == "processor":
        monkeypatch.setattr(binding, "get_host_cpu_name", lambda: "x86-64")
    elif changed == "settings":
        monkeypatch.setenv("NUMBA_OPT", "0")
    else:
        monkeypatch.setattr(machine_code, "__file__", code_store.__file__)
    assert not Loop(weighted_sums, arguments).load()


def test_where_the_code_is_does_not_matter(folder, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    compiled()
    for name, value in (("NUMBA_CACHE_DIR", "elsewhere"), ("NUMBA_NUM_THREADS", "2")):
        monkeypatch.setenv(name, value)
        assert Loop(weighted_sums, ARGUMENTS).load()


def test_the_source_counts_that_was_compiled(folder, tmp_path, monkeypatch):
    source = tmp_path / "loops.py"
    source.write_text("def fill(n, out):\n    for i in range(n):\n        out[i] = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import loops

    old = Loop(loops.fill, "int64 float64*")
    source.write_text("def fill(n, out):\n    for i in range(n):\n        out[i] = 22\n")
    old.compile()  # after the file has changed
    new = Loop(importlib.reload(loops).fill, "int64 float64*")
    assert not new.load()
    new.compile()
    out = np.zeros(2)
    for loop, expected in ((old, 1), (new, 22)):
        loop(2, address(out))
        assert out.tolist() == [expected] * 2
    del sys.modules["loops"]


def test_without_source_nothing_is_stored(folder, monkeypatch):
    code = weighted_sums.__code__.replace(co_filename="frozen loops")
    monkeypatch.setattr(weighted_sums, "__code__", code)
    assert result(compiled()) == [12, 8]
    assert not stored(folder)


@pytest.mark.parametrize("error", [RuntimeError, AttributeError])
def test_code_that_llvm_refuses_is_not_used(error, folder, monkeypatch):
    from llvmlite import binding

    def refuse(*arguments):
        raise error("LLVM refuses")

    compiled()
    monkeypatch.setattr(binding, "create_mcjit_compiler", refuse)
    assert not Loop(weighted_sums, ARGUMENTS).load()


def test_what_cannot_be_stored_is_compiled_all_the_same(folder, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no object code")

    monkeypatch.setattr(machine_code, "_free_standing", fail)
    assert result(compiled()) == [12, 8]
    assert not stored(folder)


def test_a_processor_without_a_list_of_features(folder, monkeypatch):
    from llvmlite import binding

    def unknown():
        raise RuntimeError("failed to get host cpu features")

    monkeypatch.setattr(binding, "get_host_cpu_features", unknown)
    compiled()
    assert Loop(weighted_sums, ARGUMENTS).load()


def test_what_needs_numba_is_not_stored(folder):
    assert result(compiled(with_scratch)) == [12, 8]
    assert not stored(folder)


def test_where_the_first_folder_cannot_be_written(folder):
    folder.write_text("no folder")
    assert result(compiled()) == [12, 8]
    assert len(stored(folder.parent / "second")) == 1
    assert Loop(weighted_sums, ARGUMENTS).load()


def test_where_what_was_written_cannot_be_trusted(folder, monkeypatch):
    """A disk on which every file is everybody's: the next folder is taken."""
    original = os.chmod

    def chmod(path, mode):
        original(path, 0o777 if str(path).startswith(str(folder)) else mode)

    monkeypatch.setattr(code_store.os, "chmod", chmod)
    compiled()
    assert len(stored(folder.parent / "second")) == 1
    assert Loop(weighted_sums, ARGUMENTS).load()


def test_where_nothing_can_be_written(folder):
    for name in ("first", "second"):
        (folder.parent / name).write_text("no folder")
    assert result(compiled()) == [12, 8]


def test_several_at_once(folder):
    with ThreadPoolExecutor(4) as pool:
        loops = list(pool.map(lambda _: compiled(), range(8)))
    assert [result(loop) for loop in loops] == [[12, 8]] * 8
    assert len(stored(folder)) == 1
    assert Loop(weighted_sums, ARGUMENTS).load()


def test_folders(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    package = Path(code_store.__file__).parent / "__pycache__"
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    assert code_store.folders() == (package, tmp_path / "trt_int8")
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "bytecode"))
    beside = tmp_path / "bytecode" / Path(code_store.__file__).parent.relative_to("/")
    assert code_store.folders() == (beside, tmp_path / "trt_int8")
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert code_store.folders() == (tmp_path / "trt_int8",)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user without a home
    assert code_store.folders() == (package,)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert code_store.folders() == (tmp_path,)


def test_calibration_compiles_once(tmp_path):
    """The first process compiles, the second loads: same counts, same thresholds, no numba."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import numpy as np\n"
        "from trt_int8.calibration.compiled import COUNT, COUNT_WIDE, SEARCH\n"
        "from trt_int8.calibration.histogram import Histogram\n"
        "from trt_int8.calibration.thresholds import entropy_amax\n"
        "loops = [loop.now() for loop in (COUNT, COUNT_WIDE, SEARCH)]\n"
        "values = np.random.default_rng(0).normal(size=(2, 50_000)).astype(np.float32)\n"
        "for factor in (1, 1e4):  # scales in float32, and in float64\n"
        "    histogram = Histogram.empty().add(values[0] * np.float32(factor)).add(values[1])\n"
        "    amax = entropy_amax(histogram, loop=loops[2])\n"
        "    print(amax, histogram.counts.sum(), histogram.exponent)\n"
        "print(None in loops, 'numba' in sys.modules)\n"
    )

    def run():
        arguments = [sys.executable, "-c", program, str(ROOT)]
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=True)
        return done.stdout.splitlines()

    first, second = run(), run()
    assert (first[-1], second[-1]) == ("False True", "False False")
    assert first[:-1] == second[:-1]
    assert len(stored(tmp_path)) == 3
