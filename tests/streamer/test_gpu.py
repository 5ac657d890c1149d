"""Which GPUs there are, and what is said where there is none."""

import ctypes
import importlib

import pytest

from trt_int8.errors import MissingDependencyError
from trt_int8.evaluation.engine import EngineSession
from trt_int8.streamer import context
from trt_int8.streamer.gpu import LIBRARY, NoGpu, find_gpus


def missing(name):
    raise OSError(f"{name}: cannot open shared object file")


NO_DRIVER = NoGpu(
    f"no NVIDIA driver ({LIBRARY} is not found)",
    "install the driver of this machine's GPU, start the container with --gpus all, or use a machine "
    "that has a GPU",
    driver=False,
)


class FakeCuda:
    """libcuda with ``count`` devices, as far as it is called."""

    def __init__(self, init=0, count=1):
        self.init, self.count = init, count

    def cuInit(self, flags):
        return self.init

    def cuDeviceGetCount(self, out):
        out._obj.value = self.count
        return 0

    def cuDeviceGet(self, out, index):
        out._obj.value = index
        return 0

    def cuDeviceGetName(self, buffer, size, device):
        buffer.value = f"GPU {device.value}".encode()
        return 0

    def cuDeviceGetAttribute(self, out, attribute, device):
        out._obj.value = {75: 8, 76: 9}[attribute]
        return 0

    def cuDriverGetVersion(self, out):
        out._obj.value = 12040
        return 0


class TestGpus:
    def test_names_and_versions(self):
        gpus, problem = find_gpus(lambda name: FakeCuda(count=2))
        assert problem is None
        assert [(g.name, g.capability, g.cuda) for g in gpus] == [
            ("GPU 0", "sm89", "12.4"),
            ("GPU 1", "sm89", "12.4"),
        ]

    def test_why_there_is_none(self, monkeypatch):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        assert find_gpus(missing) == ((), NO_DRIVER)
        elsewhere = "start the container with --gpus all, or use a machine that has a GPU"
        hidden = NoGpu("the NVIDIA driver shows no GPU to this process", elsewhere)
        assert find_gpus(lambda name: FakeCuda(init=100)) == ((), hidden)
        assert find_gpus(lambda name: FakeCuda(count=0)) == ((), hidden)
        assert find_gpus(lambda name: FakeCuda(init=999)) == (
            (),
            NoGpu(
                "the NVIDIA driver does not start (CUDA error 999)",
                "check the output of nvidia-smi; after an update of the driver, restart the machine",
            ),
        )

    @pytest.mark.parametrize("value", ["", "-1", "GPU-0"])
    def test_the_variable_that_hides_gpus_is_named(self, value, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
        remedy = find_gpus(lambda name: FakeCuda(init=100))[1].remedy
        assert remedy.startswith(f"unset CUDA_VISIBLE_DEVICES (now '{value}'), start the container")
        assert find_gpus(missing) == ((), NO_DRIVER)

    def test_ctypes_calls_fit_a_real_library(self, tmp_path):
        """The calls go through real ctypes: a library in C in place of the driver."""
        import shutil
        import subprocess

        if shutil.which("cc") is None:
            pytest.skip("no C compiler")
        (tmp_path / "cuda.c").write_text(
            "#include <string.h>\n"
            "int cuInit(unsigned f) { return 0; }\n"
            "int cuDeviceGetCount(int *n) { *n = 1; return 0; }\n"
            "int cuDeviceGet(int *d, int i) { *d = i; return 0; }\n"
            'int cuDeviceGetName(char *s, int n, int d) { strncpy(s, "Stub", n); return 0; }\n'
            "int cuDeviceGetAttribute(int *v, int a, int d) { *v = a == 75 ? 12 : 1; return 0; }\n"
            "int cuDriverGetVersion(int *v) { *v = 13000; return 0; }\n"
        )
        library = tmp_path / "libcuda.so.1"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "cuda.c"], check=True)
        (gpu,), problem = find_gpus(lambda name: ctypes.CDLL(str(library)))
        assert (gpu.name, gpu.capability, gpu.cuda, problem) == ("Stub", "sm121", "13.0", None)


class TestLoadDriver:
    """Where ``pycuda.driver`` cannot be imported."""

    NOT_INSTALLED = ModuleNotFoundError("No module named 'pycuda'", name="pycuda")

    @pytest.fixture
    def message(self, tmp_path, monkeypatch):
        """What evaluating an engine says, by the error of the import and why there is no GPU."""
        engine = tmp_path / "m.engine"
        engine.write_bytes(b"engine")

        def message(error, problem):
            def fails(name):
                assert name == "pycuda.driver"
                raise error

            monkeypatch.setattr(importlib, "import_module", fails)
            monkeypatch.setattr(context, "find_gpus", lambda: ((), problem))
            with pytest.raises(MissingDependencyError) as caught:
                EngineSession(engine)
            return str(caught.value).replace(str(engine), "ENGINE")

        return message

    def test_without_a_gpu_that_comes_first_and_both_are_named(self, message):
        assert message(self.NOT_INSTALLED, NO_DRIVER) == (
            f"running ENGINE needs a GPU: {NO_DRIVER.reason}; {NO_DRIVER.remedy}. pycuda is not installed "
            "either: pip install pycuda"
        )

    def test_a_driver_that_shows_no_gpu_is_not_installed_again(self, message):
        said = message(self.NOT_INSTALLED, find_gpus(lambda name: FakeCuda(count=0))[1])
        assert "the NVIDIA driver shows no GPU to this process; " in said
        assert "--gpus all" in said
        assert "install the driver" not in said

    def test_with_a_gpu_pycuda_alone(self, message):
        assert message(self.NOT_INSTALLED, None) == (
            "running ENGINE needs pycuda.driver, which is not installed: pip install pycuda"
        )

    def test_pycuda_that_finds_no_libcuda(self, message):
        error = ImportError("libcuda.so.1: cannot open shared object file: No such file or directory")
        assert message(error, NO_DRIVER) == (
            f"running ENGINE needs a GPU: {NO_DRIVER.reason}; {NO_DRIVER.remedy}"
        )

    def test_pycuda_that_is_broken_where_there_is_a_gpu(self, message):
        error = ImportError("libstdc++.so.6: version `GLIBCXX_3.4.32' not found")
        assert "pycuda.driver, which fails to import: libstdc++" in message(error, None)
