"""The images without a Docker engine: sources, rights, and the steps of Dockerfile.cpu done by hand."""

import json
import os
import re
import shlex
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from image_files import DOCKERFILES, image_venv, instructions, skip_without_index
from places import ROOT


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


@pytest.mark.parametrize("dockerfile", DOCKERFILES.values())
def test_every_source_exists_and_is_sent(dockerfile):
    sources = [source for several, _ in copies(dockerfile) for source in several]
    assert len(sources) >= 7
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source), f".dockerignore leaves out {source}"


def test_what_is_not_copied_is_not_sent():
    for name in (".git", ".venv", ".env", "tests", "samples/mnist/out", "docker/out", "id_rsa"):
        assert ignored(name), name
    for name in ("__pycache__", ".env", ".git", ".ipynb_checkpoints"):
        assert ignored(f"samples/{name}"), name
        assert ignored(f"trt_int8/cli/{name}"), name


@pytest.mark.parametrize("dockerfile", DOCKERFILES.values())
def test_runs_without_rights(dockerfile):
    users = [rest for keyword, rest in instructions(dockerfile) if keyword == "USER"]
    assert users == ["1000:1000"]
    keywords = [keyword for keyword, _ in instructions(dockerfile)]
    assert keywords.index("USER") > max(i for i, keyword in enumerate(keywords) if keyword == "RUN")


@pytest.mark.parametrize("dockerfile", DOCKERFILES.values())
def test_the_base_image_is_pinned(dockerfile):
    (base,) = [rest for keyword, rest in instructions(dockerfile) if keyword == "FROM"]
    tag = r"(nvidia/cuda:12\.\d+\.\d+-devel-ubuntu24\.04|python:3\.\d+-slim-bookworm)"
    assert re.fullmatch(rf"{tag}(@sha256:[0-9a-f]{{64}})?", base)


MOCK_DOCKER = """#!/bin/sh
[ "$1 $2 $3 $4 $5" = "buildx imagetools inspect --format {{.Manifest.Digest}}" ] || exit 64
case "$6" in
python:3.12-slim-bookworm) echo "$PYTHON_DIGEST" ;;
nvidia/cuda:12.6.3-devel-ubuntu24.04) echo "$CUDA_DIGEST" ;;
*) echo "no such image: $6" >&2; exit 1 ;;
esac
"""
PYTHON_DIGEST, CUDA_DIGEST = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


@pytest.fixture
def digests(tmp_path):
    """Run a copy of docker/digests.sh beside copies of the Dockerfiles, with a mock docker."""
    mock = tmp_path / "bin" / "docker"
    mock.parent.mkdir()
    mock.write_text(MOCK_DOCKER)
    mock.chmod(0o755)
    for name in (*DOCKERFILES.values(), "digests.sh"):
        shutil.copy(ROOT / "docker" / name, tmp_path)

    def run(cuda=CUDA_DIGEST):
        environment = {**os.environ, "PYTHON_DIGEST": PYTHON_DIGEST, "CUDA_DIGEST": cuda}
        environment["PATH"] = f"{mock.parent}{os.pathsep}{environment['PATH']}"
        script = [tmp_path / "digests.sh"]
        done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
        return done, [(tmp_path / name).read_text() for name in DOCKERFILES.values()]

    return run


def test_digests_of_the_base_images_are_written_and_renewed(digests):
    cuda, python = ((ROOT / "docker" / name).read_text() for name in DOCKERFILES.values())
    cuda = re.sub(r"^(FROM nvidia/cuda:[^@\n]+).*", rf"\1@{CUDA_DIGEST}", cuda, flags=re.MULTILINE)
    python = re.sub(r"^(FROM python:[^@\n]+).*", rf"\1@{PYTHON_DIGEST}", python, flags=re.MULTILINE)
    done, written = digests()
    assert done.returncode == 0, done.stderr
    assert written == [cuda, python]
    newer = f"sha256:{'c' * 64}"
    done, written = digests(cuda=newer)
    assert written == [cuda.replace(CUDA_DIGEST, newer), python]
    assert f"docker/Dockerfile: nvidia/cuda:12.6.3-devel-ubuntu24.04@{newer}\n" in done.stdout


@pytest.mark.parametrize("wrong", ["", "<no value>", f"{CUDA_DIGEST}0", CUDA_DIGEST.upper()])
def test_what_is_no_digest_is_not_written(digests, wrong):
    _, before = digests()
    done, after = digests(cuda=wrong)
    assert done.returncode == 1
    assert "docker/Dockerfile is unchanged: docker gave no digest of nvidia/cuda:12.6.3" in done.stderr
    assert after == before


def test_make_digests_runs_the_script():
    shown = subprocess.run(
        ["make", "-n", "--no-print-directory", "digests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "docker/digests.sh\n"


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck():
    script = ROOT / "docker" / "digests.sh"
    done = subprocess.run(["shellcheck", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_compose_has_a_service_for_each_image():
    services = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert list(services) == ["cpu", "gpu"]
    for name, service in services.items():
        assert service["build"] == {"context": "..", "dockerfile": f"docker/{DOCKERFILES[name]}"}
        (volume,) = service["volumes"]
        assert (volume["source"], volume["target"]) == ("./out", "/out")
        assert service["user"] == "${HOST_UID:-1000}:${HOST_GID:-1000}"
        assert service["read_only"] is service["init"] is True
        assert service["tmpfs"] == ["/tmp"]
        assert service["network_mode"] == "none"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert (ROOT / "docker" / "out").is_dir()
    for dockerfile in DOCKERFILES.values():
        (command,) = [json.loads(rest) for keyword, rest in instructions(dockerfile) if keyword == "CMD"]
        assert command[-2:] == ["--out", "/out"]
        assert (ROOT / command[1]).is_file()


@pytest.mark.skipif(not shutil.which("hadolint"), reason="hadolint is not installed")
@pytest.mark.parametrize("dockerfile", DOCKERFILES.values())
def test_hadolint(dockerfile):
    path = ROOT / "docker" / dockerfile
    done = subprocess.run(["hadolint", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_steps_of_dockerfile_cpu_work_in_an_empty_folder(tmp_path):
    """WORKDIR, COPY, RUN and CMD as Docker would do them, /app, /out and /tmp being folders of the test."""
    app, out, home = tmp_path / "app", tmp_path / "out", tmp_path / "tmp"
    for folder in (app, out, home):
        folder.mkdir()
    programs = image_venv(tmp_path / "venv")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"PATH": f"{programs}{os.pathsep}{environment['PATH']}", "TMPDIR": str(home)}
    done = []
    for keyword, rest in instructions("Dockerfile.cpu"):
        if keyword == "WORKDIR":
            assert rest == "/app"
        elif keyword == "ENV":
            environment.update(part.replace("=/tmp", f"={home}").split("=", 1) for part in shlex.split(rest))
        elif keyword == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                _copy(ROOT / source, app / target, into=target.endswith("/"))
        elif keyword == "RUN":
            ran = subprocess.run(rest, shell=True, cwd=app, env=environment, capture_output=True, text=True)
            skip_without_index(ran.stderr)
            assert ran.returncode == 0, ran.stderr
        elif keyword == "CMD":
            command = [str(out) if part == "/out" else part for part in json.loads(rest)]
            image = _state(app, programs.parent)
            subprocess.run(command, cwd=app, env=environment, check=True)
            assert _state(app, programs.parent) == image  # as --read-only wants it
        done.append(keyword)
    assert {"WORKDIR", "ENV", "COPY", "RUN", "CMD"} <= set(done)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["int8_layers"] >= 4
    assert (out / "lenet.engine").stat().st_size > 0
    (package,) = programs.parent.glob("lib/*/site-packages/trt_int8")
    for folder in (app / "samples", package):
        assert all(path.stat().st_mode & 0o004 for path in (folder, *folder.rglob("*")))
    page = subprocess.run(
        ["trt-int8", "report", out / "build.log", "--format", "html"],
        env=environment,
        check=True,
        capture_output=True,
    )
    assert page.stdout.startswith(b"<!DOCTYPE html>")


def _state(*folders: Path) -> dict[Path, tuple[int, int]]:
    """Time of the last change and size of every file and folder."""
    found = [path for folder in folders for path in folder.rglob("*")]
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in found}


def _copy(source: Path, target: Path, *, into: bool) -> None:
    """Copy as from a clone under umask 077, the strictest."""
    target = target / source.name if into else target
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "out"))
    else:
        shutil.copy(source, target)
    for path in (target, *target.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
