"""``--help`` as a person reads it: headings, whole descriptions, plain in a pipe, colours on a terminal."""

import os
import pty
import re
import subprocess
import sys

import click
import pytest
from commands import LEAVES

from trt_int8.cli import main
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import Option

HEADING = re.compile(r"^(\w.*):$", re.MULTILINE)


def visible(command):
    return [p for p in command.params if isinstance(p, click.Option) and not p.hidden]


def sections(text):
    """Heading → the options that stand under it."""
    parts = HEADING.split(text)[1:]
    return {
        heading: set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", body, re.MULTILINE))
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }


def test_the_options_of_build_stand_under_headings(run):
    found = sections(run("build", "--help"))
    assert list(found) == [
        "Model and result",
        "Target",
        "Quantization",
        "Shapes (optimization profile)",
        "Calibration",
        "Implicit route (TensorRT 8.6 to 10)",
        "Samples",
        "Common",
    ]
    assert {"--output", "--cache", "--log"} <= found["Model and result"]
    assert {"--fp16", "--keep-fp32", "--ranges"} <= found["Implicit route (TensorRT 8.6 to 10)"]
    assert found["Common"] == {"--config", "--print-config", "--quiet", "--help"}


@pytest.mark.parametrize("words", LEAVES)
def test_help_in_a_pipe_is_plain_and_80_columns_wide(run, words):
    text = run(*words.split(), "--help")
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert "│" not in text
    assert sum(map(len, sections(text).values())) == len(visible(LEAVES[words])) + 1  # and --help


@pytest.mark.parametrize("words", LEAVES)
def test_every_option_names_its_heading_where_there_are_many(words):
    options = visible(LEAVES[words])
    assert all(isinstance(option, Option) for option in options)
    if len(options) > 12:
        assert Panel.OPTIONS.value not in {option.panel for option in options}


def test_a_group_describes_its_commands_whole(run):
    text = " ".join(run("--help").split())
    for name, command in main.commands.items():
        assert f" {name} {' '.join(command.help.split(chr(10) * 2)[0].split())}" in text
    assert "..." not in text.partition("Commands:")[2]


def terminal(*words):
    """Return the output of ``trt-int8 …`` on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "trt_int8", *words],
        stdout=theirs,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "80", "TERM": "xterm-256color", "PYTHONUTF8": "1"},
    )
    os.close(theirs)
    found = b""
    try:
        while part := os.read(ours, 65536):
            found += part
    except OSError:
        pass  # that is how the end of a terminal looks on Linux
    finally:
        os.close(ours)
    assert process.wait() == 0
    return found.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("words", ["", "build", "cache", "cache merge"])
def test_help_on_a_terminal_has_the_same_options_in_boxes(words):
    coloured = terminal(*words.split(), "--help")
    text = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert text != coloured
    command = main if not words else LEAVES.get(words, main.commands.get(words))
    titles = re.findall(r"^╭─ (.*?) ─+╮$", text, re.MULTILINE)
    used = {getattr(option, "panel", Panel.COMMON.value) for option in visible(command)} | {"Common"}
    assert titles == ["Commands"] * isinstance(command, click.Group) + [
        p.value for p in Panel if p.value in used
    ]
    for option in visible(command):
        assert re.search(
            rf"^│ (-\w,)?{next(o for o in option.opts if o.startswith('--'))}\b", text, re.MULTILINE
        ), option.opts
    assert max(map(len, text.splitlines())) <= 80


def test_a_long_example_goes_on_in_the_next_line(run):
    assert "-o e \\\n        --shapes x:1x3x32x32," in run("build", "--help")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("biuld m.onnx", "No such command 'biuld'. Did you mean 'build'?"),
        ("cache shw m.cache", "No such command 'shw'. Did you mean 'show'?"),
        ("calibrate m.onnx --limt 5", "'--limit'"),
    ],
)
def test_what_is_mistyped_is_guessed(run, line, message):
    assert message in run(*line.split(), code=2)


def test_the_spellings_of_trtexec_work_and_are_not_shown(run, tmp_path):
    assert "minShapes" not in run("build", "--help")
    printed = run("build", "m", "-o", "e", "--minShapes", "x:1x3", "--maxShapes=x:8x3", "--print-config")
    assert "min-shapes: x:1x3\nmax-shapes: x:8x3\n" in printed
