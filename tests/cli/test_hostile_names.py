"""Names with control characters, line breaks and shell commands, through every command and many errors."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper

from trt_int8.cli import main
from trt_int8.printable import printable
from trt_int8.ranges.files import RangeFile

#: All that a terminal obeys or hides, and what a shell runs.
ESCAPES = "\x1b[31m\x07\x7f\x9b1m\u202e\u2066\u200b\r'; touch pwned; ' \"$(touch pwned)\""
FORGING = f"{ESCAPES}\nforged: line"


def model(end, *, size=(8, 8)):
    """Two convolutions and a Gemm; every name ends with ``end``."""
    rng = np.random.default_rng(0)
    weights = {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (10, 8)}
    nodes = [
        ("Conv", ["x", "w1"], "c1"),
        ("Relu", ["c1"], "r"),
        ("Conv", ["r", "w2"], "c2"),
        ("GlobalAveragePool", ["c2"], "g"),
        ("Flatten", ["g"], "f"),
        ("Gemm", ["f", "w3"], "y"),
    ]
    graph = helper.make_graph(
        [
            helper.make_node(op, [i + end for i in inputs], [out + end], out + end, **({"transB": 1} if op == "Gemm" else {}))
            for op, inputs, out in nodes
        ],
        "g" + end,
        [helper.make_tensor_value_info("x" + end, 1, ["n" + end, 3, *size])],
        [helper.make_tensor_value_info("y" + end, 1, ["n" + end, 10])],
        [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), k + end) for k, s in weights.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module", params=[FORGING, ESCAPES], ids=["with line breaks", "without"])
def end(request, tmp_path_factory):
    """The end of all names, in a current folder with files of such names."""
    end, folder = request.param, tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        onnx.save(model(end), "m.onnx")
        onnx.save(model(end, size=("h" + end, "w" + end)), "dynamic.onnx")
        x = rng.normal(size=(12, 3, 8, 8)).astype(np.float32)
        np.savez("d.npz", **{"x" + end: x, "labels" + end: np.arange(12) % 10})
        np.savez("wrong.npz", **{"z" + end: x})
        np.savez("shape.npz", **{"x" + end: x[:, :2]})
        np.savez("nan.npz", **{"x" + end: x * np.nan})
        tensors = [tensor + end for tensor in ("x", "c1", "r", "c2", "g", "f", "y")]
        cache = [name.replace("\n", "").replace("\r", "") for name in tensors]
        header = "TRT-8601-EntropyCalibration2\n"
        Path("t.cache").write_text(header + "".join(f"{name}: 3c010a14\n" for name in cache))
        Path("bad.cache").write_text(f"{header}{cache[0]}: zz\n")
        tensor = {"Name": "t" + end, "Datatype": "Float"}
        layer = {"Name": "=l" + end, "LayerType": "kgen" + end, "Inputs": [tensor], "Outputs": [tensor]}
        layer |= {"TacticName": end, "Metadata": f"[ONNX Layer: c1{end}]"}
        documents = {
            "a.json": {name: 1.0 + i for i, name in enumerate(tensors)},
            "b.json": {name: 2.0 + i for i, name in enumerate([*tensors[1:], "new" + end])},
            "plan": {"schema": 1, "nodes": {"c1" + end: "float"}},
            "other": {"schema": 1, "nodes": {"no" + end: "float"}},
            "searched": {"schema": 1, "placement": end, "budget": {end: 1}, "nodes": {"c1" + end: "float"}},
            "c.yaml": {"key" + end: 1},
            "l.json": {"Layers": [layer], "Bindings": []},
            "profile.json": [{"name": "other" + end, "averageMs": 1.0}],
        }
        for name, document in documents.items():
            Path(name).write_text(json.dumps(document))
        made = (
            "quantize m.onnx --data d.npz -o q.onnx",
            "calibrate m.onnx --data d.npz -o c.cache --histograms h",
        )
        for line in made:
            CliRunner().invoke(main, line.split())
        yield end


#: "END" stands for the end of all names. Exit codes are those of either end.
LINES = r"""
calibrate m.onnx --data d.npz -o c.cache --histograms h.npz
calibrate m.onnx --data nan.npz -o c.cache
calibrate m.onnx --data d.npz -o c.cache --limit END
ranges analyze h
ranges analyze h --format json
ranges analyze h --format html
ranges merge h mEND -o h2
cache show a.json
cache show b.json
cache show bad.cache
cache show a.json --format json
cache diff a.json b.json --fail-above 1.1
cache diff a.json b.json --format json
cache merge a.json b.json -o END.json
cache set a.json noEND=1 -o n.json
cache set a.json xEND -o n.json
cache convert b.json --to tensorrt -o n
cache convert b.json --to ort-cache -o n
cache convert b.json --to ort-flatbuffers -o n
cache convert a.json --to tensorrt --header END -o n
cache from-qdq q.onnx -o n.cache
quantize m.onnx --data d.npz -o n.onnx --recentre *
quantize m.onnx --data d.npz -o n.onnx --recentre noEND
quantize m.onnx --data d.npz -o n.onnx --exclude c1END
quantize m.onnx --data d.npz -o n.onnx --nodes noEND
quantize m.onnx --data d.npz -o qEND.onnx
quantize m.onnx --data d.npz -o noEND/q.onnx
quantize noEND.onnx --data d.npz -o n.onnx
quantize m.onnx --data d.npz -o n.onnx --target END
quantize m.onnx --data d.npz -o n.onnx --shapes xEND
quantize m.onnx --data d.npz -o n.onnx --plan plan
quantize m.onnx --data d.npz -o n.onnx --plan other
quantize m.onnx --data d.npz -o n.onnx --plan searched
quantize m.onnx --data wrong.npz -o n.onnx
quantize m.onnx --data shape.npz -o n.onnx
quantize m.onnx --data noEND.py:f -o n.onnx
quantize m.onnx --cache t.cache -o n.onnx
quantize m.onnx -o n.onnx --config c.yaml
quantize m.onnx -o n.onnx --config noEND
quantize m.onnx -o n.onnx --exclude END --data dEND --print-config
quantize a bEND c
evaluate m.onnx q.onnx --data d.npz --per-layer
evaluate m.onnx q.onnx --data d.npz --labels labelsEND --scores yEND
evaluate m.onnx q.onnx --data d.npz --labels labelsEND --scores noEND
evaluate m.onnx q.onnx --data nan.npz
sensitivity m.onnx --data d.npz --min-sqnr 10 -o p.yaml --state s.json
check-qdq q.onnx --fix -o n.onnx
migrate m.onnx t.cache -o n.onnx
migrate m.onnx bad.cache -o n.onnx
build dynamic.onnx --data d.npz -o e.engine
report l.json
report l.json --format json
report l.json --format csv
report l.json --format markdown
report l.json --format html
report l.json --require * --require noEND --min-int8 1
report l.json --profile profile.json
report --diff l.json l.json
report noEND.log
doctor END
END
"""


@pytest.mark.parametrize("line", LINES.strip().splitlines())
def test_no_name_reaches_the_terminal_raw(end, line):
    if "--format html" in line:
        pytest.importorskip("jinja2")
    result = CliRunner().invoke(main, [word.replace("END", end) for word in line.split()])
    assert isinstance(result.exception, SystemExit | type(None)), result.exception
    for text in (result.stdout_bytes.decode(), result.stderr_bytes.decode()):
        text = text.replace("\r\n", "\n")
        assert printable(text, keep="\n") == text
        assert not re.search(r"^\W*forged", text, re.MULTILINE)
    if "--format json" in line:  # the true names
        assert json.dumps(end)[1:-1] in json.dumps(json.loads(result.stdout))


def test_ranges_keep_the_true_names(end, tmp_path):
    names = list(RangeFile.read("a.json").ranges)
    for form in ("json", "yaml", "ort-json", "ort-tensors"):
        written = CliRunner().invoke(
            main, ["cache", "convert", "a.json", "--to", form, "-o", str(tmp_path / "n")]
        )
        assert written.exit_code == 0, written.output
        text = (tmp_path / "n").read_text("utf-8")
        assert printable(text, keep="\n") == text
        assert list(RangeFile.read(tmp_path / "n").ranges) == names


SHELL = 'x\'; touch pwned; echo "$(touch pwned)" `touch pwned`'


@pytest.fixture
def quoted(tmp_path, monkeypatch):
    """In an empty folder: m.onnx with names for a shell, samples that are far from 0, and the advice given."""
    monkeypatch.chdir(tmp_path)
    onnx.save(model(SHELL, size=("h", "w")), "m.onnx")
    x = np.random.default_rng(0).uniform(4, 5, (12, 3, 8, 8)).astype(np.float32)
    np.savez("d.npz", **{"x" + SHELL: x})

    def advice(*arguments):
        output = CliRunner().invoke(main, [*arguments]).output
        return output.splitlines()

    return advice


def pasted(text):
    """Give ``text`` to a shell in which ``trt-int8`` prints its arguments; returns them."""
    define = f"trt-int8() {{ '{sys.executable}' -c 'import json, sys; print(json.dumps(sys.argv[1:]))' \"$@\"; }}; "
    return json.loads(subprocess.run(["bash", "-c", define + text], capture_output=True, check=True).stdout)


def test_a_command_to_paste_names_a_tensor_and_runs_nothing_else(quoted, tmp_path):
    quoted("calibrate", "m.onnx", "--data", "d.npz", "-o", "c", "--histograms", "h")
    commands = [
        line[line.index("trt-int8 ") :] for line in quoted("ranges", "analyze", "h") if "--recentre" in line
    ]
    names = [words[words.index("--recentre") + 1] for words in map(pasted, commands)]
    assert "x" + SHELL in names
    assert [shlex.split(command)[6] for command in commands] == names
    assert not (tmp_path / "pwned").exists()


def test_an_option_to_paste_is_the_profile_of_the_input_and_runs_nothing(quoted, tmp_path):
    pytest.importorskip("tensorrt_rtx")
    (line,) = quoted("build", "m.onnx", "--data", "d.npz", "-o", "e.engine", "--target", "rtx:sm89")
    options = pasted(f"trt-int8 {line[line.index('--shapes') :]}")
    assert options == ["--shapes", f"x{SHELL}:1x3x8x8,8x3x8x8,8x3x8x8"]
    assert not (tmp_path / "pwned").exists()
    told = quoted("quantize", "m.onnx", "--data", "d.npz", "-o", "q.onnx", *options)
    assert told[-1].startswith("q.onnx: ")


def test_histograms_are_written_though_no_cache_can_hold_the_names(end):
    """They took the time of the calibration, and are of use without it."""
    line = "calibrate m.onnx --data d.npz -o new.cache --histograms new.npz"
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "new.npz was written."
    assert not Path("new.cache").exists()
    assert CliRunner().invoke(main, ["ranges", "analyze", "new.npz"]).exit_code == 0
