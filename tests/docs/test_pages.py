"""Every command in the documentation runs, and prints what the page shows."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from blocks import RUN, blocks, matches, run_page
from places import ROOT, SAMPLE

import trt_int8

DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md"))


@pytest.fixture
def folder(tmp_path, digits):
    """samples/mnist as ``make mnist`` leaves it, with fewer digits; and files of the names that pages use."""
    shutil.copy(ROOT / "tests" / "report" / "logs" / "rtx_lenet_qdq.log", tmp_path / "build.log")
    shutil.copy(SAMPLE / "lenet.onnx", tmp_path)
    (tmp_path / "out").mkdir()
    np.savez(tmp_path / "out" / "calibration.npz", data=digits["calibration"][:100])
    np.savez(
        tmp_path / "out" / "evaluation.npz", data=digits["evaluation"][:200], labels=digits["labels"][:200]
    )
    shutil.copy(tmp_path / "lenet.onnx", tmp_path / "model.onnx")
    shutil.copy(tmp_path / "out" / "calibration.npz", tmp_path / "samples.npz")
    shutil.copy(tmp_path / "out" / "evaluation.npz", tmp_path / "test.npz")
    calibration = trt_int8.calibrate(tmp_path / "model.onnx", [i[None] for i in digits["calibration"][:20]])
    for name in ("model", "old", "new", "day", "night"):
        trt_int8.CalibrationCache.from_ranges(calibration.ranges).write(tmp_path / f"{name}.cache")
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_page_does_what_it_says(page, folder):
    assert not run_page(page, folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_what_is_not_run_says_why(page):
    """A shell block is run, or a comment before it says why not; there is no third way."""
    for block in blocks(page):
        if block.language in RUN:
            continue
        assert (
            not re.search(r"^\s*\$? *(trt-int8|python|pip|make) ", block.text, re.MULTILINE) or block.reason
        ), block.text


def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    reference = (tmp_path / "reference" / "cli.html").read_text(encoding="utf-8")
    from trt_int8.cli import main

    for command in main.commands:
        assert f"trt-int8 {command}" in reference
    api = (tmp_path / "reference" / "api.html").read_text(encoding="utf-8")
    assert "the max batch, if only the first axis is dynamic" in api


def test_every_page_is_in_the_navigation():
    listed = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {str(page.relative_to(DOCS)) for page in PAGES}


def test_outputs_are_compared():
    assert matches("a … c\n…\nend\n", "a b c\n1\n2\nend\n")
    assert matches("a\n", "a")
    assert not matches("a\n", "a\nb\n")
    assert not matches("4 of 4\n", "3 of 4\n")
    assert matches("SQNR 56.55 dB, top-1 99.50%\n", "SQNR 56.1 dB, top-1 99.0%\n")
    assert not matches("SQNR 56.55 dB\n", "SQNR 45.4 dB\n")
    assert not matches("version 1.2.3\n", "version 1.2.4\n")


def test_a_failing_command_is_found(folder, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\ntrt-int8 report nothing.log\n```\n\n```console\n$ echo 3\n4\n```\n")
    failing, differing = run_page(page, folder)
    assert "nothing.log" in failing
    assert "expected:\n4" in differing
