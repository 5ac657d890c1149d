"""`make lock`: every package of an image has a version and a hash, and PyPI has it."""

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from image_files import DOCKERFILES, PYTHON, image_venv, instructions, read_lock, skip_without_index
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import ROOT

CONFIGURATION = (ROOT / "docker" / "uv.toml").read_text(encoding="utf-8")
#: Locked is a placeholder; its wheel comes from NVIDIA's index.
PLACEHOLDERS = re.findall(r'^name = "(.+)"$', CONFIGURATION, re.MULTILINE)
IMAGE = {
    **default_environment(),
    "python_version": PYTHON,
    "python_full_version": f"{PYTHON}.0",
    "platform_machine": "x86_64",
    "sys_platform": "linux",
}


def required(package: str, extras: frozenset[str]) -> list[Requirement]:
    """Return the packages that ``package`` with these extras needs in the images."""
    lines = [Requirement(line) for line in metadata.requires(package) or ()]
    return [
        line
        for line in lines
        if line.marker is None
        or any(line.marker.evaluate({**IMAGE, "extra": extra}) for extra in extras or {""})
    ]


def missing(package: str, extras: frozenset[str], versions: dict[str, str], seen: set[str]) -> set[str]:
    """Requirements of ``package``, and of theirs, that ``versions`` does not fulfil."""
    found = set()
    for requirement in required(package, extras):
        name = canonicalize_name(requirement.name)
        if name not in versions or not requirement.specifier.contains(versions[name]):
            found.add(f"{package}: {requirement}")
        elif (
            name not in seen and _installed(name) == versions[name]
        ):  # another release may need other packages
            seen.add(name)
            found |= missing(name, frozenset(requirement.extras), versions, seen)
    return found


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@pytest.mark.parametrize("image", DOCKERFILES)
def test_the_lock_has_all_that_the_package_and_its_extras_need(image):
    lock = read_lock(image)
    every = {"config", "plan", "report", "images", "fast", "dask", "cpu"}
    assert lock.extras == every | ({"rtx"} if image == "cpu" else {"trt10", "implicit"})
    assert missing("trt_int8", lock.extras, lock.versions, set()) == set()
    for name in ("jinja2", "pillow"):
        without = {other: version for other, version in lock.versions.items() if other != name}
        assert any(
            line.startswith(f"trt_int8: {name}") for line in missing("trt_int8", lock.extras, without, set())
        )


def test_requirements_of_requirements_are_found():
    version = metadata.version("jinja2")
    assert missing("trt_int8", frozenset({"report"}), {"jinja2": version}, set()) >= {
        "jinja2: MarkupSafe>=2.0"
    }


@pytest.mark.parametrize("image", DOCKERFILES)
def test_the_sample_imports_nothing_else(image):
    (sample,) = re.findall(r'"(samples/\S+\.py)"', dict(instructions(DOCKERFILES[image]))["CMD"])
    imports = re.findall(r"^\s*(?:import|from) (\w+)", (ROOT / sample).read_text(), re.MULTILINE)
    foreign = set(imports) - sys.stdlib_module_names - {"trt_int8"}
    assert {"click", "numpy"} <= foreign <= set(read_lock(image).versions)


def test_the_build_requirements_agree_with_the_locks():
    """They are installed first, and what is locked twice must not be replaced."""
    build = read_lock("build").versions
    assert {"numpy", "setuptools", "wheel", "wheel-stub"} <= set(build)
    for image in DOCKERFILES:
        versions = read_lock(image).versions
        assert all(versions.get(name, version) == version for name, version in build.items())
    (needed,) = re.findall(r'^requires = \["(.+?)"\]', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert Requirement(needed).specifier.contains(build["setuptools"])


@pytest.mark.parametrize("image", DOCKERFILES)
def test_the_python_and_the_cuda_release_of_the_lock_are_those_of_the_image(image):
    (base,) = [rest for keyword, rest in instructions(DOCKERFILES[image]) if keyword == "FROM"]
    assert f'\npython-version = "{PYTHON}"\n' in CONFIGURATION
    assert '\npython-platform = "x86_64-manylinux_2_28"\n' in CONFIGURATION
    if image == "cpu":
        assert base.startswith(f"python:{PYTHON}-slim-bookworm")
    else:
        assert "-ubuntu24.04" in base  # whose python3 is 3.12
        (cuda,) = re.findall(r"cuda:(\d+\.\d+)\.", base)
        assert read_lock("gpu").versions["nvidia-cuda-nvrtc-cu12"].startswith(f"{cuda}.")


@pytest.mark.parametrize("dockerfile", DOCKERFILES.values())
def test_every_pip_install_takes_locked_files(dockerfile):
    runs = " && ".join(rest for keyword, rest in instructions(dockerfile) if keyword == "RUN")
    pips = [line.strip() for line in runs.split("&&") if line.strip().startswith("pip install")]
    assert len(pips) == 3
    for line in pips:
        assert "--no-deps" in line
        assert "--only-binary :all:" in line or "--no-build-isolation" in line
        assert (
            "--require-hashes" in line and "--requirement docker/requirements." in line
        ) or " . " in f"{line} "


def test_make_lock_says_how_the_files_were_made_and_what_is_not_in_them():
    shown = subprocess.run(
        ["make", "-n", "--no-print-directory", "lock"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"pip install -qq 'uv==\d+\.\d+\.\d+'", shown)
    for name in ("build", *DOCKERFILES):
        command = read_lock(name).command.removeprefix("uv ")
        assert command in shown.replace("--quiet --upgrade ", "")
    last = shown.rstrip().splitlines()[-1]
    said = subprocess.run(["sh", "-c", last], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert PLACEHOLDERS == ["tensorrt-cu12-libs"]
    assert said == "Not locked by a hash: the wheel with the libraries of tensorrt-cu12-libs.\n"


@pytest.mark.slow
def test_pypi_has_what_the_gpu_image_installs(tmp_path):
    """pip downloads every file and compares its hash; the cpu image's are installed in another test."""
    lock = read_lock("gpu")
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("".join(entry for name, entry in lock.entries.items() if name not in PLACEHOLDERS))
    assert len(wanted.read_text().split("==")) == len(lock.entries)
    pip = [image_venv(tmp_path / "venv") / "pip", "install", "--require-hashes", "--no-deps"]
    _install([*pip, "--only-binary", ":all:", "--requirement", read_lock("build").path])
    _install([*pip, "--no-build-isolation", "--dry-run", "--requirement", wanted])


def _install(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    skip_without_index(done.stderr)
    assert done.returncode == 0, done.stderr
