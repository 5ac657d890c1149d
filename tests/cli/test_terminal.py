"""Processes write to a terminal or a pipe: the bytes that arrive, exit codes, and whole results."""

import logging
import os
import pty
import subprocess
import sys
import warnings
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

from trt_int8 import progress
from trt_int8.cli import main
from trt_int8.cli.terminal import guarded
from trt_int8.progress.terminal import Bars

LOG = next(iter(sorted((Path(__file__).parents[1] / "report" / "logs").glob("*.log"))))
NAME = "x\x1b[31m\x9b1m\u202e\nforged"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model and samples, m.onnx and d.npz."""
    folder, rng = tmp_path_factory.mktemp("terminal"), np.random.default_rng(0)
    weight = helper.make_tensor("w", 1, [4, 3, 3, 3], rng.normal(size=108).astype(np.float32))
    x, y = (helper.make_tensor_value_info(n, 1, s) for n, s in (("x", ["n", 3, 8, 8]), ("y", ["n", 4, 6, 6])))
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], "conv")], "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "m.onnx")
    np.savez(folder / "d.npz", x=rng.normal(size=(8, 3, 8, 8)).astype(np.float32))
    return folder


def shell(command, folder):
    """Run a bash command in which ``trt-int8`` is this package; returns exit code, stdout and stderr."""
    define = f'set -o pipefail; trt-int8() {{ "{sys.executable}" -m trt_int8 "$@"; }}; '
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        ["bash", "-c", define + command], cwd=folder, env=environment, capture_output=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("where", "code", "says"),
    [
        ("> /dev/full", 1, b"Error: stdout cannot be written: No space left on device\n"),
        ("| true", 0, b""),
        ("| head -1 > /dev/null", 0, b""),
        (">&-", 0, b""),
        ("2>&-", 0, b""),
        ("2> /dev/full", 0, b""),
        ("<&- >&- 2>&-", 0, b""),
    ],
)
def test_a_stdout_that_takes_nothing(folder, where, code, says):
    assert shell(f"trt-int8 report {LOG} {where}", folder)[::2] == (code, says)


@pytest.mark.parametrize(("where", "code"), [("| true", 0), ("> /dev/full", 1), (">&- 2>&-", 0)])
def test_work_goes_on_without_a_reader(folder, where, code):
    (folder / "q.onnx").unlink(missing_ok=True)
    assert shell(f"trt-int8 quantize m.onnx --data d.npz -o q.onnx {where}", folder)[0] == code
    assert onnx.load(folder / "q.onnx").graph.node[0].op_type == "QuantizeLinear"


@pytest.mark.parametrize("where", ["> /dev/full", ">&-", "| true"])
def test_a_result_for_stdout_that_is_lost_is_an_error(folder, where):
    code, _, err = shell(f"trt-int8 calibrate m.onnx --data d.npz -o /dev/stdout {where}", folder)
    assert code == 1
    assert err.startswith(b"Error: cannot write /dev/stdout: ")
    assert err.count(b"\n") == 1


COMMANDS = {
    "calibrate": "calibrate m.onnx --data d.npz",
    "quantize": "quantize m.onnx --data d.npz",
    "migrate": "migrate m.onnx c",
    "check-qdq": "check-qdq q --fix",
    "sensitivity": "sensitivity m.onnx --data d.npz --min-sqnr 5",
    "cache merge": "cache merge c c",
    "cache set": "cache set c x=3",
    "cache convert": "cache convert c --to json",
    "cache from-qdq": "cache from-qdq q",
    "ranges merge": "ranges merge h h",
    "ranges analyze": "ranges analyze h",
    "report": f"report {LOG}",
    "report --diff": f"report --diff {LOG} {LOG}",
}


@pytest.fixture(scope="module")
def inputs(folder):
    """The inputs of `COMMANDS` in the folder."""
    made = "trt-int8 calibrate m.onnx --data d.npz -o c --histograms h && trt-int8 quantize m.onnx --data d.npz -o q"
    assert shell(made, folder)[0] == 0
    return folder


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_result_for_stdout_comes_alone(inputs, command):
    code, _, told = shell(f"trt-int8 {command} -o result", inputs)
    assert (code, told) == (0, told)
    result = (inputs / "result").read_bytes()
    assert shell(f"trt-int8 {command} -o /dev/stdout 2> err | cat", inputs) == (0, result, b"")
    for name in ("/dev/fd/1", "same"):
        assert shell(f"trt-int8 {command} -o {name} > same 2> err", inputs) == (0, b"", b"")
        assert (inputs / "same").read_bytes() == result
    assert b"result" not in (inputs / "err").read_bytes()


def test_a_second_result_for_stdout(inputs):
    command = "trt-int8 calibrate m.onnx --data d.npz -o c2 --histograms /dev/stdout | cmp - h"
    assert shell(command, inputs)[:2] == (0, b"")


def test_warnings_and_log_records_are_one_harmless_line(capfd):
    with warnings.catch_warnings(), guarded():
        warnings.simplefilter("always")
        warnings.warn(NAME, UserWarning, stacklevel=1)
        logging.getLogger("another.library").warning("about %s", NAME)
        print(NAME, file=sys.stderr)
        print(NAME, "é", "\tx")
    out, err = capfd.readouterr()
    shown = r"x\x1b[31m\x9b1m\u202e"
    assert err == f"warning: {shown}\\nforged\nwarning: about {shown}\\nforged\n{shown}\nforged\n"
    assert out == f"{shown}\nforged é \tx\n"


@pytest.mark.parametrize("arguments", [[NAME], [f"--{NAME}"], ["quantize", f"--{NAME}"], ["cache", NAME], ["doctor", NAME], ["report", "l", "--format", NAME]])  # fmt: skip
def test_usage_errors_keep_an_argument_on_their_line(arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert not set("\x1b\x9b\u202e") & set(result.output)
    assert r"\x1b[31m\x9b1m\u202e\nforged" in result.output.splitlines()[-1]


def test_on_a_terminal_names_are_harmless_above_the_bars():
    """The bars draw with control sequences; text of the program goes through the same terminal."""
    terminal, other = pty.openpty()
    with open(other, "w", encoding="utf-8") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", stream)
        with guarded(), progress.show(Bars(sys.stderr.plain)) as bars, progress.phase(f"building {NAME}"):
            click.echo(NAME)
            progress.note(NAME)
            bars._progress.refresh()
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown
    assert "\nforged" in shown  # of echo, which may print lines
    assert r"\x1b[31m\x9b1m\u202e\nforged" in shown
    assert r"building x\x1b[31m" in shown


def test_colours_of_a_report_reach_a_terminal_and_no_pipe(folder):
    command = ["script", "-qec", f"{sys.executable} -m trt_int8 report {LOG}", "/dev/null"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    assert b"\x1b[1m" in subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    assert b"\x1b" not in shell(f"trt-int8 report {LOG}", folder)[1]
