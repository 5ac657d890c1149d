"""What is installed: names, versions, and a wheel with all that the package reads at run time."""

import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata

import pytest
from places import ROOT

import trt_int8


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_version_is_in_one_place():
    (written,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert trt_int8.__version__ == metadata.version("trt_int8") == written
    assert "__version__" in dir(trt_int8)
    assert run(sys.executable, "-m", "trt_int8", "--version") == f"trt-int8, version {written}\n"


def test_the_version_is_looked_up_when_it_is_asked_for():
    code = "import sys, trt_int8; print('importlib.metadata' in sys.modules); trt_int8.__version__; " + (
        "print([name for name in ('importlib.metadata', 'numpy', 'onnx') if name in sys.modules])"
    )
    # Without site, which may import anything.
    assert run(sys.executable, "-S", "-c", code, cwd=ROOT) == "False\n['importlib.metadata']\n"


def test_a_source_tree_that_is_not_installed_has_no_version(tmp_path):
    shutil.copytree(ROOT / "trt_int8", tmp_path / "trt_int8", ignore=shutil.ignore_patterns("__pycache__"))
    code = "import trt_int8; print(trt_int8.__version__)"
    assert run(sys.executable, "-S", "-c", code, cwd=tmp_path) == "0+unknown\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source")
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "trt_int8", folder / "trt_int8", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    run(*pip, "--wheel-dir", folder / "wheels", folder)
    (path,) = (folder / "wheels").iterdir()
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_every_file_of_the_package(wheel):
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "trt_int8", cwd=ROOT)
    expected = {name for name in listed.splitlines() if (ROOT / name).is_file()}
    kinds = {name.rpartition(".")[2] for name in expected}
    assert kinds == {"py", "typed", "json", "j2", "cu"}
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == expected


def test_the_wheel_says_what_it_is(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    text = wheel.read(name).decode()
    for line in ("Name: trt_int8", "License-Expression: Apache-2.0", "Requires-Python: >=3.10",
                 "Description-Content-Type: text/markdown", "Provides-Extra: trt10"):  # fmt: skip
        assert line in text.splitlines()
    scripts = wheel.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert "trt-int8 = trt_int8.__main__:main" in scripts
