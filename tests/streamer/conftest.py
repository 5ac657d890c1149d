"""Tests that take the ``standin`` fixture run on the real pycuda and a stand-in for libcuda.

They run in a process of their own, one for each file: the stand-in must not meet other users of CUDA, and
LD_LIBRARY_PATH is read at a program's start. There, pytest runs the same tests; here, it reports them.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

import pytest

from streamer.standin.build import CannotBuild, build
from streamer.standin.control import Control

INSIDE = "TRT_INT8_STANDIN" in os.environ


@pytest.fixture
def standin():
    """Inside: the controls of the stand-in, for a test that must leave nothing behind."""
    if not INSIDE:
        yield None
        return
    control = Control()
    before = control.alive()
    yield control
    control.fail_no_more()
    assert control.alive() == before
    assert control.count("hazards") == 0
    assert control.count("unsupported calls") == 0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if INSIDE or "standin" not in pyfuncitem.fixturenames:
        return None
    here = pyfuncitem.path
    tests = tuple(item.nodeid for item in pyfuncitem.session.items if item.path == here)
    kind, message = _run_inside(here, tests, pyfuncitem.config.rootpath)[pyfuncitem.name]
    if kind == "skipped":
        pytest.skip(message)
    if kind != "passed":
        pytest.fail(message, pytrace=False)
    return True


@cache
def _run_inside(path: Path, tests: tuple[str, ...], root: Path) -> dict[str, tuple[str, str]]:
    """Outcome and message of each test of the file, run on the stand-in."""
    environment = _environment(root)
    report = Path(environment["TRT_INT8_STANDIN"]) / f"{path.stem}-{os.getpid()}.xml"
    options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    command = [sys.executable, "-X", "faulthandler", "-m", "pytest", *options, *tests]
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"the stand-in's process hangs: {error}", pytrace=False)
    if not report.exists():
        pytest.fail(f"pytest died on the stand-in:\n{(done.stdout + done.stderr)[-5000:]}", pytrace=False)
    outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kind, message = "passed", ""
        for entry in case:
            if entry.tag in ("failure", "error", "skipped"):
                kind, message = entry.tag, f"{entry.get('message')}\n{entry.text or ''}"
        outcomes[case.get("name")] = (kind, message)
    report.unlink()
    return outcomes


def _environment(root: Path) -> dict[str, str]:
    if not sys.platform.startswith("linux"):
        pytest.skip("the libcuda stand-in is built on Linux only")
    try:
        environment = build().environment()
    except CannotBuild as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI is set, and pycuda cannot be built: {error}", pytrace=False)
        pytest.skip(f"pycuda cannot be built: {error}")
    paths = [str(root), environment["PYTHONPATH"]]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}
