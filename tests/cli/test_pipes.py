"""Inputs from ``<(…)`` and /dev/stdin give the results of regular files: each is read once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

ROOT = Path(__file__).parents[2]
LOG = ROOT / "tests" / "report" / "logs" / "rtx_activations_only.log"
MAKE = """
trt-int8 calibrate m.onnx --data d.npz -o c --histograms h
trt-int8 quantize m.onnx --data d.npz -o q
trt-int8 cache convert c --to json -o j
trt-int8 sensitivity m.onnx --data d.npz --min-sqnr 1 -o plan --state state
gzip -c log > log.gz
printf 'algorithm: minmax\\n' > config
"""


def shell(command, folder):
    """Run a bash script in which ``trt-int8`` is this package; returns exit code, stdout and stderr."""
    define = f'trt-int8() {{ "{sys.executable}" -m trt_int8 "$@"; }}; '
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", define + command], cwd=folder, env=environment, capture_output=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one file of each kind that a command reads."""
    folder, rng = tmp_path_factory.mktemp("pipes"), np.random.default_rng(0)
    weight = helper.make_tensor("w", 1, [3, 4], rng.normal(size=12).astype(np.float32))
    x, y = (helper.make_tensor_value_info(n, 1, s) for n, s in (("x", ["n", 3]), ("y", ["n", 4])))
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w"], ["y"], "fc")], "g", [x], [y], [weight])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx"
    )
    values = rng.normal(size=(16, 3)).astype(np.float32)
    np.savez(folder / "d.npz", x=values, labels=np.arange(16) % 4)
    np.savez_compressed(folder / "z.npz", x=values)
    np.save(folder / "d.npy", values)
    np.save(folder / "l.npy", np.arange(16) % 4)
    layer = {"Name": "a", "LayerType": "kgen", "Inputs": [], "Outputs": []}
    (folder / "l.json").write_text(json.dumps({"Layers": [layer], "Bindings": []}))
    (folder / "p.json").write_text(json.dumps([{"name": "a", "averageMs": 1.0}]))
    (folder / "log").write_bytes(LOG.read_bytes())
    code, _, err = shell(f"set -e; {MAKE}", folder)
    assert code == 0, err
    return folder


#: ``@`` stands before each input that comes from a pipe.
COMMANDS = """
calibrate @m.onnx --data @d.npz -o OUT --config @config
calibrate m.onnx --data @z.npz -o OUT --algorithm auto
calibrate m.onnx --data @d.npy -o OUT --histograms OUT2
quantize @m.onnx --data @d.npz -o OUT
quantize @m.onnx --data @d.npy --cache @c --plan @plan -o OUT
quantize @m.onnx --cache @c -o OUT
migrate @m.onnx @c -o OUT
evaluate @m.onnx @q --data @d.npz --per-layer
evaluate @m.onnx @q --data @d.npy --labels @l.npy
sensitivity @m.onnx --data @d.npz --min-sqnr 1 -o OUT
sensitivity @m.onnx --cache @c --data @d.npy
check-qdq @q
check-qdq @q --fix -o OUT
cache show @c
cache show @j
cache diff @c @j
cache merge @c @j -o OUT
cache set @c x=3 -o OUT
cache convert @c --to ort-flatbuffers -o OUT
cache from-qdq @q -o OUT
ranges analyze @h
ranges merge @h @h -o OUT
report @log
report @log.gz
report @log --cache @c --model @q
report --diff @log @log
report @l.json
report @l.json --profile @p.json
report --diff @l.json @l.json
""".strip().splitlines()


def run(command, folder, how):
    """Run it with each marked input as ``how`` gives it; returns exit code, stdout, and the result files."""
    for name in ("OUT", "OUT2"):
        (folder / name).unlink(missing_ok=True)
    words, before = [], ""
    for word in command.split():
        name = word.removeprefix("@")
        if word == name or how == "file":
            words.append(name)
        elif how == "<(…)":
            words.append(f"<(cat {name})")
        elif before:  # there is one stdin
            words.append(name)
        else:
            words.append("/dev/stdin")
            before = f"cat {name} | "
    code, out, err = shell(f"{before}trt-int8 {' '.join(words)}", folder)
    results = [(folder / name).read_bytes() for name in ("OUT", "OUT2") if (folder / name).exists()]
    return code, out, results, err


@pytest.mark.parametrize(
    ("command", "how"), [*((c, "<(…)") for c in COMMANDS), *((c, "/dev/stdin") for c in COMMANDS[::4])]
)
def test_a_pipe_gives_what_a_file_gives(folder, command, how):
    code, out, results, _ = run(command, folder, "file")
    assert code == 0
    piped = run(command, folder, how)
    assert piped[0] == 0, piped
    assert piped[2] == results
    lines = zip(out.splitlines(), piped[1].splitlines(), strict=True)
    assert all(line == other or b"/dev/" in other for line, other in lines)  # the name of the input


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("evaluate m.onnx q --data <(cat d.npz) --labels labels", b"which can be read once, for the samples; save the labels in an .npy file"),
        ("calibrate m.onnx --data <(cat d.npy) --workers 1 -o OUT", b"is a pipe; save the samples in a file"),
    ],
)  # fmt: skip
def test_what_a_pipe_cannot_give_is_said(folder, command, message):
    code, out, err = shell(f"trt-int8 {command}", folder)
    assert code > 0
    assert message in err.splitlines()[-1]
    assert out == b""


def test_a_dash_is_stdin_or_stdout(folder):
    """As in other tools; no file of this name is made."""
    code, shown, err = shell("trt-int8 cache show - < c", folder)
    assert (code, err) == (0, b"")
    assert shown == shell("trt-int8 cache show c", folder)[1]
    code, cache, err = shell("trt-int8 calibrate m.onnx --data d.npz -o - | cat", folder)
    assert code == 0, err
    assert cache == (folder / "c").read_bytes()
    assert not (folder / "-").exists()


def test_a_module_that_loads_data_is_not_overwritten(folder):
    (folder / "load.py").write_text("def f():\n    yield 1\n")
    code, _, err = shell("trt-int8 calibrate m.onnx --data load:f -o load.py", folder)
    assert code == 1
    assert b"the cache would overwrite the data load.py; choose another name" in err
    assert (folder / "load.py").read_text().startswith("def f")
