"""Ctrl-C at the command line: it says what is lost and what is kept, and changes no file."""

import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest

LOADER = """
import os, signal
import numpy as np

def digits():
    for number in range(10_000):
        if number == 40:
            os.kill(os.getpid(), signal.SIGINT)  # what a terminal does on Ctrl-C
        yield {"data": np.full((1, 1, 28, 28), number % 7, np.float32)}
"""
STOPPED_BUILD = """
import os, signal, sys
from trt_int8.engine.watch import BuildProgress

step = BuildProgress.step
def interrupted(self, name, number):
    os.kill(os.getpid(), signal.SIGINT)
    return step(self, name, number)
BuildProgress.step = interrupted

from trt_int8.cli import main
main(sys.argv[1:], prog_name="trt-int8")
"""

STOPPED_WRITING = """
import os, signal, sys
from trt_int8.files import atomic

def interrupted(*files):
    os.kill(os.getpid(), signal.SIGINT)
atomic.write_together = interrupted

from trt_int8.cli import main
main(sys.argv[1:], prog_name="trt-int8")
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "loader.py").write_text(LOADER)
    (tmp_path / "old").write_bytes(b"precious")
    np.savez(tmp_path / "samples.npz", data=np.random.default_rng(0).random((4, 1, 28, 28), np.float32))
    return tmp_path


def run(*command, cwd):
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def test_while_calibrating(folder, lenet_path):
    command = [
        sys.executable,
        "-m",
        "trt_int8",
        "calibrate",
        str(lenet_path),
        "--data",
        "loader.py:digits",
        "-o",
        "old",
    ]
    done = run(*command, cwd=folder)
    assert done.returncode == 130, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("Stopped while calibrating: ")
    assert line.endswith(
        "batches. That work is lost; with --checkpoint FILE an interrupted run can be resumed. "
        "No result was written; existing results were not changed."
    )
    assert (folder / "old").read_bytes() == b"precious"
    assert sorted(p.name for p in folder.iterdir() if p.name != "__pycache__") == [
        "loader.py",
        "old",
        "samples.npz",
    ]


def test_between_calibrating_and_writing(folder, lenet_path):
    """It tells what the samples were run for, and that it is lost."""
    options = ["--data", "samples.npz", "--batch-size", "1", "-o", "old"]
    done = run(sys.executable, "-c", STOPPED_WRITING, "calibrate", str(lenet_path), *options, cwd=folder)
    assert done.returncode == 130, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("Stopped after calibrating: 4 of 4 batches (100 %). That work is lost; with ")
    assert (folder / "old").read_bytes() == b"precious"


def on_a_terminal(*command, cwd, sees):
    """Run ``command`` on a terminal, press Ctrl-C once ``sees(what it shows)``; returns exit code and text."""
    terminal, other = pty.openpty()
    # The first terminal that the leader of a session opens controls it: Ctrl-C there reaches all its processes.
    attached = ["sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1', os.ttyname(other), *command]
    process = subprocess.Popen(attached, cwd=cwd, start_new_session=True)
    shown, pressed = os.read(terminal, 4096), False
    os.close(other)  # the process has it open by now, and its end is to be seen
    while True:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # the other side is gone
            break
        if not pressed and sees(shown):
            os.write(terminal, b"\x03")
            pressed = True
    code = process.wait(timeout=60)
    os.close(terminal)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    return code, text.replace("\r", "\n").split("\n")


def test_on_a_terminal_with_a_checkpoint(folder, lenet_path):
    """What was counted is kept, it says where, and the next run goes on from there."""
    (folder / "endless.py").write_text(
        "import numpy as np\n"
        "def digits():\n"
        "    for number in range(10_000):\n"
        "        yield {'data': np.full((1, 1, 28, 28), number % 7, np.float32)}\n"
    )
    options = [
        "--data",
        "endless.py:digits",
        "-o",
        "old",
        "--checkpoint",
        "c.npz",
    ]
    command = [sys.executable, "-m", "trt_int8", "calibrate", str(lenet_path), *options]
    code, lines = on_a_terminal(*command, cwd=folder, sees=lambda _: (folder / "c.npz").exists())
    assert code == 130, lines
    last = [line for line in lines if line.strip()][-1]
    assert last.startswith("Stopped while calibrating: ")
    assert last.endswith(
        "batches. The histograms up to the last checkpoint are in c.npz: run the same command again to "
        "resume from there. No result was written; existing results were not changed."
    )
    assert "Traceback" not in "".join(lines)
    assert (folder / "old").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("more", "lost"),
    [
        ([], "That work is lost; with --checkpoint FILE an interrupted run can be resumed. No"),
        (
            ["--checkpoint", "c.npz"],
            "That work is lost: the first checkpoint (c.npz) is written after 64 batches. No",
        ),
    ],
)
def test_on_a_terminal_what_is_lost(folder, lenet_path, more, lost):
    command = [sys.executable, "-m", "trt_int8", "calibrate", str(lenet_path), "--data", "loader.py:digits"]
    code, lines = on_a_terminal(*command, "-o", "old", *more, cwd=folder, sees=lambda _: False)
    assert code == 130, lines
    assert lost in [line for line in lines if line.strip()][-1]
    assert not (folder / "c.npz").exists()


def test_dask_workers_leave_ctrl_c_to_the_one_who_started_them(folder, lenet_path):
    """A terminal sends it to all of them; the only text is that of the command."""
    pytest.importorskip("distributed")
    options = ["--data", "loader.py:digits", "-o", "old", "--workers", "2"]
    command = [sys.executable, "-m", "trt_int8", "calibrate", str(lenet_path), *options]
    (folder / "loader.py").write_text(LOADER.replace("number == 40", "False"))
    code, lines = on_a_terminal(*command, cwd=folder, sees=lambda shown: b" batches" in shown)
    assert code == 130, lines
    assert "Traceback" not in "\n".join(lines)
    assert [line for line in lines if line.strip()][-1].startswith("Stopped while calibrating on 2 workers: ")


STOPPED_START = """
import os, signal, threading, time
import numpy as np
import psutil

def press():
    while len(psutil.Process().children()) < 2:  # one of them is no worker
        time.sleep(0.01)
    time.sleep({delay})
    os.killpg(0, signal.SIGINT)  # a terminal sends it to all processes

threading.Thread(target=press, daemon=True).start()

def digits():
    while True:
        yield {{"data": np.zeros((1, 1, 28, 28), np.float32)}}
"""


@pytest.mark.parametrize("delay", [0, 0.4])
def test_while_dask_workers_start(folder, lenet_path, delay):
    """Half-started processes are ended, too, and none of them prints anything."""
    pytest.importorskip("distributed")
    (folder / "loader.py").write_text(STOPPED_START.format(delay=delay))
    options = ["--data", "loader.py:digits", "-o", "old", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "trt_int8", "calibrate", str(lenet_path), *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    text, errors = process.communicate(timeout=120)  # until the last process that may write has ended
    assert (process.returncode, text) == (130, "")
    (line,) = errors.strip().splitlines()
    assert line.startswith("Stopped ")
    assert line.endswith(" No result was written; existing results were not changed.")


def test_after_building_it_says_what_is_written(invoke, folder, lenet_path, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("trt_int8.pipeline.build.PrecisionReport.from_log", interrupted)
    engine = folder / "new.engine"
    text = invoke(
        "build", lenet_path, "--data", folder / "samples.npz", "--target", "sm89", "-o", engine, code=130
    ).stderr
    assert "Stopped after building: " in text
    assert text.endswith(f"100 %. {engine} and {folder / 'new.engine.log'} were written.\n")
    assert ".failed" not in text
    assert engine.stat().st_size > 1000


def test_while_building(folder, lenet_path):
    done = run(
        sys.executable,
        "-c",
        STOPPED_BUILD,
        "build",
        str(lenet_path),
        "--data",
        "samples.npz",
        "-o",
        "old",
        "--log",
        "b.log",
        cwd=folder,
    )
    # the second signal would kill; TensorRT stops after the step in which the first one came
    assert done.returncode == 130, done.stderr
    assert "Stopped while building: " in done.stderr
    assert "TensorRT's log so far is in b.log.failed. No result was written" in done.stderr
    assert (folder / "old").read_bytes() == b"precious"
    first, second = (folder / "b.log.failed").read_text().splitlines()[:2]
    assert first.startswith("[I] trt_int8: building")
    assert second.startswith('[I] trt_int8: record {"format": 1, "target": "rtx:sm89"')
