"""``trt-int8 report`` as a user meets it."""

import json
import os
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner
from places import CORPUS, requires_corpus

from trt_int8.cli import main

LOGS = Path(__file__).parents[1] / "report" / "logs"
QDQ, AXIS = LOGS / "rtx_lenet_qdq.log", LOGS / "rtx_lenet_wrong_axis.log"


@pytest.fixture
def run():
    def invoke(*arguments, code=0):
        result = CliRunner().invoke(main, ["report", *map(str, arguments)])
        assert isinstance(result.exception, SystemExit | type(None)), result.exception
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.mark.parametrize(
    ("form", "begins"),
    [
        ("text", "3 of 4 Conv, Gemm and MatMul nodes"),
        ("json", "{"),
        ("csv", "build,layer,"),
        ("markdown", "**3 of 4"),
        ("html", "<!DOCTYPE html>"),
    ],
)
def test_formats_to_the_terminal_and_to_a_file(run, tmp_path, form, begins):
    if form == "html":
        pytest.importorskip("jinja2", reason="jinja2 is not installed")
    out = run(AXIS, "--format", form).stdout
    assert out.startswith(begins)
    target = tmp_path / "report"
    assert run(AXIS, "--format", form, "-o", target).stdout == ""
    assert target.read_text(encoding="utf-8").replace("\r\n", "\n") == out.replace("\r\n", "\n")


def test_nothing_is_wrapped_where_the_output_is_no_terminal(run):
    rows = [line for line in run(AXIS).stdout.splitlines() if line.startswith("ip1 ")]
    assert len(rows) == 1
    assert "MaxRounCast_myl0_7  mixed: reads Int8" in rows[0]
    assert rows[0].endswith("or a pair on one operand only")


def test_gate_names_the_offenders_and_exits_with_1(run):
    result = run(AXIS, "--require", "ip*", "--min-int8", "0.9", code=1)
    assert result.stdout.startswith("3 of 4 Conv, Gemm and MatMul nodes")
    lines = result.stderr.splitlines()
    assert lines[0].startswith("not met: node ip1 is weight_dequantized (mixed")
    assert lines[1].startswith("not met: 75.0% run in INT8, 90.0% are required")
    assert run(QDQ, "--require", "ip*", "--min-int8", "1", "--max-reformats", "0").stderr == ""


def test_diff(run):
    assert "lost INT8: ip1: int8 → weight_dequantized" in run("--diff", QDQ, AXIS).stdout
    document = json.loads(run("--diff", QDQ, AXIS, "--format", "json").stdout)
    assert [change["name"] for change in document["lost"]] == ["ip1"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "give a LOG"),
        ([QDQ, "--diff", QDQ, AXIS], 2, "--diff takes two files"),
        ([QDQ, "--min-int8", "2"], 2, "0<=x<=1"),
        (["missing.log"], 1, "missing.log"),
        ([QDQ, "--profile", QDQ], 1, "not JSON"),
        ([QDQ, "--model", QDQ], 1, "ONNX"),
        ([QDQ, "--cache", QDQ], 1, "rtx_lenet_qdq.log"),
        ([QDQ, "-o", "no/such/folder/x"], 1, "no/such/folder"),
    ],
)
def test_errors_name_what_is_wrong(run, arguments, code, words):
    result = run(*arguments, code=code)
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "model.onnx",
            b"\x08\x08\x12\x0cbackend-test:\n\n\x01x\n",
            "by its name it is an ONNX model, which goes to trt-int8 report --model, next to a log",
        ),
        (
            "x.cache",
            b"TRT-8601-EntropyCalibration2\ndata: 3c008912\n",
            "it is a calibration cache, which goes to trt-int8 report --cache, next to a log",
        ),
        ("x", b"TRT-8601-EntropyCalibration2\ndata: 3c008912\n", "it is a calibration cache"),
        ("x.cache", b"\x00\xff\x17garbage\n", "it has no line of TensorRT"),
        ("x.engine", b"ftrt\x00\x01\n", "is an engine"),
        ("x.json", b'[{"count": 1}]', "a profile goes to trt-int8 report --profile"),
        ("empty.log", b"", "is empty"),
        ("blank.log", b"\n\r\n", "is empty"),
        ("other.log", b"INFO: started\nINFO: done\n", "it has no line of TensorRT"),
    ],
)
def test_files_that_are_no_log(run, tmp_path, name, content, words):
    file = tmp_path / name
    file.write_bytes(content)
    result = run(file, code=1)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert str(file) in line
    assert words in line
    assert "give the verbose log of a build" in line


@pytest.mark.skipif(os.name == "nt", reason="no /dev/null")
def test_dev_null_is_no_log(run):
    assert "/dev/null is empty" in run("/dev/null", code=1).stderr


@pytest.mark.parametrize(
    "line",
    [
        "[V] [TRT] Total Scratch Memory: 0",
        "--------------- Timing Runner: c (CaskConvolution)",
        "Parsing node: c [Conv]",
        "Missing scale and zero-point for tensor x, expect fall back to non-int8 implementation",
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec",
    ],
)
def test_a_log_that_was_cut_off_early_is_a_log(run, tmp_path, line):
    log = tmp_path / "cut.log"
    log.write_text(f"something before\n{line}\n")
    assert "the build is incomplete" in run(log).stdout


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_log_from_a_pipe(run, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(QDQ.read_bytes()))
    writer.start()
    assert run(pipe).stdout == run(QDQ).stdout
    writer.join()


def test_a_gate_on_a_build_that_was_cut_off_fails(run, tmp_path):
    log = tmp_path / "cut.log"
    log.write_bytes(QDQ.read_bytes()[:20_000])
    result = run(log, "--min-int8", "0.1", code=1)
    assert "no complete build" in result.stderr


@requires_corpus
def test_profile_shows_the_share_of_time(run):
    folder = CORPUS / "layer_info"
    out = run(
        folder / "trt86_mobilenet-qat.graph.json", "--profile", folder / "trt86_mobilenet-qat.profile.json"
    ).stdout
    assert "98.8% of the compute time in INT8" in out
