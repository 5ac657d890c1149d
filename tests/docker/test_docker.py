"""The images without a Docker engine: sources, pins, and the steps of Dockerfile.cpu done by hand."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
DOCKERFILES = ["Dockerfile", "Dockerfile.cpu"]
PINS = sorted({line for file in (ROOT / "docker").glob("requirements.*.txt") for line in file.read_text().split()
               if "==" in line})  # fmt: skip


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """(keyword, rest) of each instruction, continued lines joined."""
    text = (ROOT / "docker" / dockerfile).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines()]


def copies(dockerfile: str) -> list[tuple[list[str], str]]:
    """Sources and target of each COPY."""
    parts = [shlex.split(rest) for keyword, rest in instructions(dockerfile) if keyword == "COPY"]
    return [(sources, target) for *sources, target in parts]


def ignored(source: str) -> bool:
    """Whether .dockerignore leaves ``source`` out: its last pattern that matches decides."""
    result = False
    for pattern in (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n"):
        pattern = pattern.strip()
        if pattern and not pattern.startswith("#"):
            parents = [source, *(str(parent) for parent in Path(source).parents)]
            if any(fnmatch(name, pattern.lstrip("!")) for name in parents if name != "."):
                result = not pattern.startswith("!")
    return result


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_every_source_exists_and_is_sent(dockerfile):
    sources = [source for several, _ in copies(dockerfile) for source in several]
    assert len(sources) >= 7
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source), f".dockerignore leaves out {source}"


def test_what_is_not_copied_is_not_sent():
    for name in (".git", ".venv", "tests", "samples/mnist/out", "docker/out"):
        assert ignored(name), name


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_runs_without_rights(dockerfile):
    users = [rest for keyword, rest in instructions(dockerfile) if keyword == "USER"]
    assert users == ["1000:1000"]
    keywords = [keyword for keyword, _ in instructions(dockerfile)]
    assert keywords.index("USER") > max(i for i, keyword in enumerate(keywords) if keyword == "RUN")


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_the_base_image_is_pinned(dockerfile):
    (base,) = [rest for keyword, rest in instructions(dockerfile) if keyword == "FROM"]
    assert re.fullmatch(r"(nvidia/cuda:12\.\d+\.\d+-devel-ubuntu24\.04|python:3\.\d+-slim-bookworm)", base)


def test_every_requirement_is_pinned():
    assert "tensorrt-cu12==10.16.1.11" in PINS
    for file in (ROOT / "docker").glob("requirements.*.txt"):
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        assert all(re.fullmatch(r"[a-z0-9-]+==[0-9.]+", line) for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("pin", PINS)
def test_every_pin_is_on_the_registry(pin):
    name, version = pin.split("==")
    command = [sys.executable, "-m", "pip", "index", "versions", name]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode != 0 and not os.environ.get("CI"):
        pytest.skip(f"no package index: {listed.stderr.strip().splitlines()[-1:]}")
    versions = re.search(r"Available versions: (.*)", listed.stdout)
    assert versions, listed.stderr
    assert version in versions[1].split(", ")


@pytest.mark.parametrize(
    ("which", "extras"),
    [("cpu", ["cpu", "rtx", "config", "plan"]), ("gpu", ["cpu", "trt10", "implicit", "config", "plan"])],
)
def test_the_images_and_the_package_agree(which, extras):
    """The images install with --no-deps: they pin what the package and these extras ask for, no more."""
    required = [Requirement(requirement) for requirement in metadata.requires("trt_int8")]
    asked = [
        each
        for each in required
        if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
    ]
    assert len(asked) < len(required)
    text = (ROOT / "docker" / f"requirements.{which}.txt").read_text(encoding="utf-8")
    pins = dict(line.split("==") for line in text.splitlines() if not line.startswith("#"))
    assert {requirement.name for requirement in asked} == set(pins)
    for requirement in asked:
        assert requirement.specifier.contains(pins[requirement.name]), requirement
    for extra in extras:
        assert re.search(rf"^# The extras .*\b{extra}\b", text, re.MULTILINE)


def test_compose_has_a_service_for_each_image():
    """Read without a YAML parser, which nothing else here needs."""
    text = (ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8")
    assert re.findall(r"^  (\w+):$", text, re.MULTILINE) == ["cpu", "gpu"]
    assert re.findall(r"dockerfile: (\S+)", text) == ["docker/Dockerfile.cpu", "docker/Dockerfile"]
    assert re.findall(r"source: (\S+)", text) == ["./out"]
    assert (ROOT / "docker" / "out").is_dir()
    assert re.findall(r"target: (\S+)", text) == ["/out"]
    for dockerfile in DOCKERFILES:
        (command,) = [json.loads(rest) for keyword, rest in instructions(dockerfile) if keyword == "CMD"]
        assert command[-2:] == ["--out", "/out"]
        assert (ROOT / command[1]).is_file()


@pytest.mark.skipif(not shutil.which("hadolint"), reason="hadolint is not installed")
@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_hadolint(dockerfile):
    path = ROOT / "docker" / dockerfile
    done = subprocess.run(["hadolint", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_steps_of_dockerfile_cpu_work_in_an_empty_folder(tmp_path):
    """WORKDIR, COPY, RUN and CMD as Docker would do them, /app and /out being folders of the test."""
    app, out = tmp_path / "app", tmp_path / "out"
    app.mkdir()
    out.mkdir()
    venv.create(tmp_path / "venv", with_pip=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PATH"] = f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{environment['PATH']}"
    done = []
    for keyword, rest in instructions("Dockerfile.cpu"):
        if keyword == "WORKDIR":
            assert rest == "/app"
        elif keyword == "ENV":
            environment.update(
                part.split("=", 1) for part in shlex.split(rest) if not part.startswith("HOME")
            )
        elif keyword == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                _copy(ROOT / source, app / target, into=target.endswith("/"))
        elif keyword == "RUN":
            subprocess.run(rest, shell=True, cwd=app, env=environment, check=True)
        elif keyword == "CMD":
            command = [str(out) if part == "/out" else part for part in json.loads(rest)]
            subprocess.run(command, cwd=app, env=environment, check=True)
        done.append(keyword)
    assert {"WORKDIR", "COPY", "RUN", "CMD"} <= set(done)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["int8_layers"] >= 4
    assert (out / "lenet.engine").stat().st_size > 0
    assert not (app / "samples" / "mnist" / "out").exists()


def _copy(source: Path, target: Path, *, into: bool) -> None:
    target = target / source.name if into else target
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "out"))
    else:
        shutil.copy(source, target)
