"""Build the real pycuda, once per machine, and the libcuda stand-in it runs on.

Needs gcc, g++, nm and a package index; neither a GPU nor the CUDA toolkit. What is built stays in
``~/.cache/trt_int8-tests`` (or ``$TRT_INT8_TEST_CACHE``). As a script: prints the environment to set.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parents[2] / "trt_int8"
PYCUDA = "pycuda==2026.1"
HEADERS = "nvidia-cuda-runtime-cu12==12.9.79"


class CannotBuild(Exception):
    """A tool or a package is missing; the message holds what failed and the end of its output."""


@dataclass(frozen=True)
class Standin:
    """Where things lie: the folder of ``libcuda.so.1`` and the folder to import pycuda from."""

    libraries: Path
    packages: Path

    def environment(self) -> dict[str, str]:
        """``os.environ`` for a process in which ``import pycuda.driver`` works."""
        return {
            **os.environ,
            "LD_LIBRARY_PATH": _prepend(self.libraries, "LD_LIBRARY_PATH"),
            "PYTHONPATH": _prepend(self.packages, "PYTHONPATH"),
            "TRT_INT8_STANDIN": str(self.libraries),
        }


def _prepend(folder: Path, variable: str) -> str:
    # An empty entry would mean the current folder.
    return os.pathsep.join(part for part in (str(folder), os.environ.get(variable)) if part)


def build() -> Standin:
    """Build what is not in the cache yet (pycuda: about two minutes; the stand-in: a second).

    Raises:
        CannotBuild: no compiler, no package index, or the build failed.
    """
    for tool in ("gcc", "g++", "nm"):
        if shutil.which(tool) is None:
            raise CannotBuild(f"{tool} is not installed")
    headers = _once("headers", HEADERS, _fetch_headers)
    packages = _once("pycuda", PYCUDA + HEADERS, lambda to: _build_pycuda(to, headers))
    sources = (HERE / "libcuda.c", HERE / "host_kernels.cpp", PACKAGE / "streamer" / "normalize.cu")
    code = b"".join(source.read_bytes() for source in sources)
    libraries = _once("libcuda", code.hex(), lambda to: _build_libraries(to, headers, packages))
    return Standin(libraries, packages)


def cache() -> Path:
    """The folder that keeps the builds."""
    return Path(os.environ.get("TRT_INT8_TEST_CACHE") or Path.home() / ".cache" / "trt_int8-tests")


def _once(name: str, key: str, make: Callable[[Path], None]) -> Path:
    platform = f"{sys.implementation.cache_tag}-{sysconfig.get_platform()}"
    digest = hashlib.sha256(f"{key} {platform}".encode()).hexdigest()[:12]
    target = cache() / f"{name}-{platform}-{digest}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as folder:
        made = Path(folder) / "made"
        made.mkdir()
        make(made)
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster
                raise
    return target


def _fetch_headers(to: Path) -> None:
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", to, HEADERS])


def _include(headers: Path) -> Path:
    return headers / "nvidia" / "cuda_runtime" / "include"


def _build_pycuda(to: Path, headers: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pip = [sys.executable, "-m", "pip"]
        _run([*pip, "download", "--quiet", "--no-deps", "--no-binary", "pycuda", PYCUDA, "--dest", work])
        with tarfile.open(next(work.glob("pycuda-*.tar.gz"))) as archive:
            archive.extractall(work, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        source = next(path for path in work.glob("pycuda-*") if path.is_dir())
        # To link against, some of the symbols are enough: a shared library may leave the others open.
        soname = "-Wl,-soname,libcuda.so.1"
        link = ["-I", _include(headers), HERE / "libcuda.c", "-o", work / "libcuda.so"]
        _run(["gcc", "-std=gnu11", "-shared", "-fPIC", soname, *link])
        settings = {
            "CUDA_ROOT": str(work),
            "CUDA_INC_DIR": [str(_include(headers)), str(HERE)],
            "CUDADRV_LIB_DIR": [str(work)],
            "CUDA_ENABLE_CURAND": False,
            "CXXFLAGS": ["-O0", "-g0", "-w"],  # half the time to compile
        }
        lines = [f"{name} = {value!r}\n" for name, value in settings.items()]
        (source / "siteconf.py").write_text("".join(lines), encoding="utf-8")
        _run([*pip, "install", "--quiet", "--target", to, source])


def _build_libraries(to: Path, headers: Path, packages: Path) -> None:
    include = ["-I", _include(headers), "-I", HERE]
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
    work = to / "libcuda.so.1"
    soname = "-Wl,-soname,libcuda.so.1"
    sources = [HERE / "libcuda.c"]
    _run(["gcc", "-std=gnu11", *flags, soname, *include, *sources, "-o", work, "-lpthread"])
    driver = next((packages / "pycuda").glob("_driver*.so"))
    missing = sorted(_symbols(driver, "--undefined-only") - _symbols(work, "--defined-only"))
    stubs = to / "stubs.c"
    body = [f'int {name}(void) {{ return standin_unsupported("{name}"); }}\n' for name in missing]
    stubs.write_text("int standin_unsupported(const char *);\n" + "".join(body), encoding="utf-8")
    _run(["gcc", "-std=gnu11", *flags, soname, *include, *sources, stubs, "-o", work, "-lpthread"])
    # The kernel's own source, compiled for the CPU; no fused multiply-add, as on the GPU.
    kernels = HERE / "host_kernels.cpp"
    _run(
        [
            "g++",
            *flags,
            "-ffp-contract=off",
            "-I",
            PACKAGE / "streamer",
            kernels,
            "-o",
            to / "host_kernels.so",
        ]
    )


def _symbols(library: Path, which: str) -> set[str]:
    lines = _run(["nm", "-D", which, library]).splitlines()
    names = {line.split()[-1].split("@")[0] for line in lines}
    return {name for name in names if name.startswith("cu") and name[2:3].isupper()}


def _run(command: list[str | Path]) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        shown = " ".join(str(part) for part in command[:6])
        raise CannotBuild(f"{shown} … failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


if __name__ == "__main__":
    built = build().environment()
    for name in ("LD_LIBRARY_PATH", "PYTHONPATH", "TRT_INT8_STANDIN"):
        print(f"export {name}={built[name]}")
