"""Files that are made to break a reader end in one line. See also test_bad_input.py and test_mistakes.py."""

import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from trt_int8.cli import main
from trt_int8.files import inputs


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inputs, "_PATIENCE", 0.1)


def refused(*arguments, code=1):
    """Run a command that ends in one line, and return that."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert result.output.splitlines()[-1] == line  # nothing after it
    assert len(line) < 600
    return line


@pytest.fixture
def readers(lenet_path):
    """Kind of input → a command that reads ``FILE`` as such."""
    samples = ["--data", "x.npz", "-o", "out"]
    np.savez("x.npz", data=np.zeros((1, 1, 28, 28), np.float32))
    return {
        "model": ["calibrate", "FILE", *samples],
        "configuration": ["calibrate", "--config", "FILE"],
        "cache": ["cache", "show", "FILE"],
        "plan": ["quantize", lenet_path, "--plan", "FILE", *samples],
        "samples": ["calibrate", lenet_path, "--data", "FILE", "-o", "out"],
        "histograms": ["ranges", "analyze", "FILE"],
        "log": ["report", "FILE"],
        "profile": ["report", "log.json", "--profile", "FILE"],
        "ranges": ["build", lenet_path, "--ranges", "FILE", "-o", "out", "--implicit"],
        "state": ["sensitivity", lenet_path, "--state", "FILE", *samples[:2]],
        "checkpoint": ["calibrate", lenet_path, "--checkpoint", "FILE", *samples],
    }


KINDS = ["model", "configuration", "cache", "plan", "samples", "histograms", "log", "profile", "state", "checkpoint"]  # fmt: skip
INFORMATION = '{"Layers": [{"Name": "a", "LayerType": "Convolution"}]}'


def read_by(readers, kind, file):
    with open("log.json", "w", encoding="utf-8") as log:
        log.write(INFORMATION)
    arguments = [file if argument == "FILE" else argument for argument in readers[kind]]
    return refused(*arguments, code=2 if kind == "configuration" else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_named_pipe_that_nobody_writes_to(readers, kind):
    os.mkfifo("pipe")
    assert "pipe" in (line := read_by(readers, kind, "pipe"))
    assert "a named pipe that nobody wrote to for 0.1 seconds" in line


@pytest.mark.parametrize("kind", KINDS)
def test_a_device(readers, kind):
    assert "a device or a socket; give a regular file" in read_by(readers, kind, "/dev/zero")


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder(readers, kind):
    os.mkdir("d")
    if kind in ("log", "profile"):
        assert "is a directory" in refused(*[{"FILE": "d"}.get(a, a) for a in readers[kind]], code=2)
    else:
        assert "d" in read_by(readers, kind, "d")


LIMITS = {**dict.fromkeys(("configuration", "cache", "plan", "state"), (64, "64 MiB")), "profile": (1024, "1024 MiB")}  # fmt: skip


@pytest.mark.parametrize("kind", LIMITS)
def test_files_over_their_limit(readers, kind):
    size, limit = LIMITS[kind]
    with open("large", "wb") as file:
        file.truncate((size << 20) + 1)
    assert f"{size + 1} MiB are more than {limit}, the limit for such a file" in read_by(
        readers, kind, "large"
    )


DEEP, DIGITS = "[" * 100_000, "1" * 10_000
#: configuration → what the line says after "c.yaml:"
CONFIGURATIONS = {
    "data: &a [*a]\n": "1: the alias *a is not read; write the value itself",
    "x: [&a [lol], &b [*a, *a]]\n": "1: the alias *a is not read",
    "model: [" + "1," * 10**7: "1: ",
    f"data: {DEEP}\n": "1: ",
    f"limit: {DIGITS}\n": "1: a number of 10000 digits",
    "limit: 2020-99-99\n": "1: 'limit': '2020-99-99' is not a valid integer range.",
    "limit: .nan\n": "1: 'limit' is nan; give a whole number",
    "limit: .inf\n": "1: 'limit' is inf; give a whole number",
    "limit: 1\n'limit': 2\n": "2: 'limit' is given twice (first on line 1)",
    "output: !!binary aGFsbG8=\n": "1: the tag 'tag:yaml.org,2002:binary' is not read; remove it",
    "output: !unknown x\n": "1: the tag '!unknown' is not read; remove it",
    "output: ''\n": "1: 'output': the name is empty",
    'output: "a\\0b"\n': "1: 'output' has a NUL character; remove it",
    "? [output]\n: x\n": "1: a key is a list or a mapping; write a name",
    "? {a: 1}\n: x\n": "1: a key is a list or a mapping; write a name",
    "scale: 1e999999999\n": "1: 'scale': '1e999999999' is not",
    "seed: 1\n": "1: unknown key 'seed'",
}


def written(table, number, name):
    """Write a text of ``table`` to the file ``name``; return it and what must be said of it."""
    text, message = list(table.items())[number]
    Path(name).write_text(text, encoding="utf-8")
    return text, message


@pytest.mark.parametrize("number", range(len(CONFIGURATIONS)))
def test_configurations(lenet_path, number):
    text, message = written(CONFIGURATIONS, number, "c.yaml")
    output = [] if "output" in text else ["-o", "out"]
    line = refused("calibrate", lenet_path, "--data", "x.npz", *output, "--config", "c.yaml", code=2)
    assert f"Error: c.yaml:{message}" in line


#: ranges → what the line says
RANGES = {
    '{"\\ud800": 1.0}': "'\\ud800' has half a character (a lone surrogate)",
    '{"a": 1e999, "b": -Infinity, "c": NaN}': "tensor 'b': range -inf is negative",
    '{"a": NaN}': "tensor 'a': nan is not a range",
    f'{{"a": {DIGITS}}}': "a number of 10000 digits",
    f'{{"a": "{"1" * 400}x"}}': "is not a range",
    '{"a": {"b": [[[[1]]]]}}': "tensor 'a': {'b': [[[[1]]]]} is not a range",
    f'{{"a": {DEEP}': "nested more than 64 levels deep",
    '{"a": {"CLS": "numpy.array", "data": {"CLS": "numpy.array"}}}': "is not a range",
    '{"CLS": "TensorsData", "data": {}}': "has no tensors",
    "{}": "has no tensors",
    '{"a": 1, "a": 1}': "'a' is given twice",
    '{"a": true}': "True is not a range",
    f"a: {DEEP}": "nest",
    "a: &a 1\nb: *a\n": "the alias *a is not read",
    f"a: {DIGITS}e5\n": "",
    "a: .nan\n": "is not a range",
    "a: !!float 1\n": "the tag",
}


@pytest.mark.parametrize("number", range(len(RANGES)))
def test_ranges(number):
    text, message = list(RANGES.items())[number]
    with open("r.yaml", "w", encoding="utf-8") as file:
        file.write(text)
    if message:
        assert message in refused("cache", "show", "r.yaml")
    else:
        assert CliRunner().invoke(main, ["cache", "show", "r.yaml"]).exit_code == 0


PLANS = {
    "schema: &a [*a]\n": "p.yaml:1: the alias *a is not read",
    f"schema: 1\nnodes: {DEEP}\n": "p.yaml:2: ",
    "schema: 1\nnodes: {conv1: int8, conv1: float}\n": "p.yaml:2: 'conv1' is given twice",
    "schema: 1\nnodes: {conv1: int8}\nbudget: {min_sqnr: x}\n": "budget must map names to numbers",
    "schema: 1\nnodes: {conv1: int8}\nbudget: [1]\n": "budget must map names to numbers",
    "schema: 1\nnodes: {conv1: [int8]}\n": "node 'conv1' has precision ['int8']",
    "schema: 1\nnodes: {conv1: {a: int8}}\n": "node 'conv1' has precision {'a': 'int8'}",
    "schema: {a: 1}\n": "schema is",
    "schema: 1\nnodes: {? [a] : int8}\n": "a key is a list",
}


@pytest.mark.parametrize("number", range(len(PLANS)))
def test_plans(readers, number):
    _, message = written(PLANS, number, "p.yaml")
    assert message in read_by(readers, "plan", "p.yaml")


def test_states(readers):
    for text in (
        DEEP,
        "{}",
        "5",
        '{"format": ' + DIGITS + "}",
        '{"a": "\\ud800"}',
        '{"format": 1, "format": 2}',
    ):
        with open("s.json", "w", encoding="utf-8") as file:
            file.write(text)
        assert "s.json: not a state file of sensitivity, or damaged" in read_by(readers, "state", "s.json")


#: layer information or a profile → what the line says
INFORMATIONS = {
    "[" * 100_000: "nested more than 64 levels deep",
    '{"Layers": ' * 70 + "1" + "}" * 70: "nested more than 64 levels deep",
    f'{{"Layers": [{DIGITS}]}}': "a number of 10000 digits",
    '{"Layers": ["\\udc80"]}': "half a character",
    '{"Layers": {}}': 'it has no "Layers" list',
}


@pytest.mark.parametrize("number", range(len(INFORMATIONS)))
def test_layer_information(number):
    text, message = list(INFORMATIONS.items())[number]
    with open("l.json", "w", encoding="utf-8") as file:
        file.write(text if text.startswith("{") else '{"a": ' + text)
    assert message in refused("report", "l.json")


def test_samples_that_promise_more_than_memory(lenet_path, monkeypatch):
    """100 GB of zeros would be 100 MB of a file: the archive says so, but the zeros are missing."""
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': (31887755, 1, 28, 28), }\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()
    with zipfile.ZipFile("x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.npy", member + bytes(1000))
    size = len(member) + 4 * 31887755 * 28 * 28
    with open("x.npz", "rb") as file:
        data = bytearray(file.read())
    central = data.index(b"PK\1\2")
    zip64 = struct.pack("<HHQ", 1, 8, size)
    data[central + 24 : central + 28] = b"\xff" * 4
    data[central + 30 : central + 32] = struct.pack("<H", len(zip64))
    end = data.index(b"PK\5\6")
    struct.pack_into("<I", data, end + 12, struct.unpack_from("<I", data, end + 12)[0] + len(zip64))
    data[end:end] = zip64
    with open("x.npz", "wb") as file:
        file.write(data)
    line = refused("calibrate", lenet_path, "--data", "x.npz", "-o", "out")
    assert "x.npz: data.npy has 93 GiB when it is unpacked, and " in line
    assert "save it with numpy.savez, which is memory-mapped, or in smaller files" in line


def test_a_model_with_damaged_metadata(run, data, lenet_path):
    run("calibrate", lenet_path, "--data", data / "calibration.npz", "-o", "m.cache")
    run("migrate", lenet_path, "m.cache", "-o", "m.onnx")
    model = onnx.load("m.onnx")
    (names,) = [
        entry for entry in model.metadata_props if entry.key == "trt_int8.calibration_cache.names"
    ] or [model.metadata_props.add(key="trt_int8.calibration_cache.names")]
    for text in ("[", DEEP, "5", '{"a": [1]}', '{"a": 1}'):
        names.value = text
        onnx.save(model, "damaged.onnx")
        line = refused("cache", "from-qdq", "damaged.onnx", "-o", "out")
        assert "the metadata 'trt_int8.calibration_cache.names' of the model is damaged" in line


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError("Unable to allocate 93 GiB"), "memory ran out (Unable to allocate 93 GiB); give smaller inputs"),
        (MemoryError(), "memory ran out; give smaller inputs"),
        (RecursionError("maximum\ndepth"), "an input is nested too deep to be processed (maximum depth); give a flatter"),
    ],
)  # fmt: skip
def test_what_runs_out_is_said_in_one_line(monkeypatch, error, message):
    def fails(path):
        raise error

    monkeypatch.setattr("trt_int8.ranges.files.RangeFile.read", fails)
    assert refused("cache", "show", "x").startswith(f"Error: {message}")


def test_other_errors_are_bugs_and_keep_their_traceback(monkeypatch):
    def fails(path):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("trt_int8.ranges.files.RangeFile.read", fails)
    assert isinstance(CliRunner().invoke(main, ["cache", "show", "x"]).exception, ZeroDivisionError)


def test_a_record_that_is_damaged_is_no_record(run, data, lenet_path):
    """The model is evaluated as if it had none."""
    model = onnx.load(lenet_path)
    model.metadata_props.add(key="trt_int8.record", value=json.dumps({"format": 1})[:-1] + f', "a": {DEEP}')
    onnx.save(model, "m.onnx")
    run("evaluate", lenet_path, "m.onnx", "--data", data / "calibration.npz")
