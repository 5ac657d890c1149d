"""The README's commands work as printed, in the order they are printed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from places import ROOT, SAMPLE

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def sample_copy(tmp_path_factory, digits):
    """The sample's folder as ``make mnist`` leaves it."""
    folder = tmp_path_factory.mktemp("repo") / "samples" / "mnist"
    folder.mkdir(parents=True)
    shutil.copy(SAMPLE / "lenet.onnx", folder)
    (folder / "out").mkdir()
    np.savez(folder / "out" / "calibration.npz", data=digits["calibration"][:50])
    np.savez(
        folder / "out" / "evaluation.npz", data=digits["evaluation"][:100], labels=digits["labels"][:100]
    )
    return folder


def test_command_line_section(sample_copy):
    (commands,) = [block for block in blocks("sh") if "trt-int8 calibrate" in block]
    lines = [line for line in commands.splitlines() if line.startswith("trt-int8 ")]
    assert len(lines) >= 6
    bin_folder = Path(sys.executable).parent
    for line in lines:
        run = subprocess.run(
            [str(bin_folder / "trt-int8"), *line.split()[1:]],
            cwd=sample_copy,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, (line, run.stderr)
        assert run.stdout, line


def test_the_example(sample_copy, tmp_path, digits):
    (code,) = blocks("python")
    shutil.copy(SAMPLE / "lenet.onnx", tmp_path / "model.onnx")
    np.save(tmp_path / "samples.npy", digits["calibration"][:20])
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "4 of 4 Conv, Gemm and MatMul nodes run in INT8" in run.stdout
    assert (tmp_path / "model.engine").exists()


def test_every_command_and_link_is_there():
    from trt_int8.cli import main

    for command in main.commands:
        assert f"`{command} " in README, command
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
    for folder in re.findall(r"^\| `(trt_int8/\w+)` \|", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
