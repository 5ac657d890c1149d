import json

import numpy as np
import pytest
from click.testing import CliRunner

from trt_int8.cli import main


@pytest.fixture
def run(tmp_path, monkeypatch, lenet_path, digits):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "d.npz", data=digits["evaluation"][:20], labels=digits["labels"][:20])

    def invoke(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        assert isinstance(result.exception, SystemExit | type(None)), result.exception
        assert result.exit_code == code, result.output
        return result.stdout if code == 0 else result.output  # progress goes to stderr

    invoke("quantize", lenet_path, "--data", "d.npz", "-o", "q.onnx")
    return lambda *more, code=0: invoke("evaluate", lenet_path, *more, code=code)


def test_gates(run, tmp_path):
    compare = ("q.onnx", "--data", "d.npz")
    assert "below --min-sqnr 90" in run(*compare, "--min-sqnr", 90, code=1)
    run(*compare, "--min-sqnr", 20)
    (tmp_path / "m.py").write_text(
        "calls = []\ndef f(outputs, labels):\n    return outputs['prob'].max()\n"
        "def g(outputs, labels):\n    calls.append(1)\n    return -len(calls)\n"
    )
    assert "the drop is 1, above --max-drop 0.9" in run(
        *compare, "--metric", "m.py:g", "--max-drop", "0.9", code=1
    )
    out = run(*compare, "--metric", "m.py:f", "--max-drop", "0.1", "--labels", "labels")
    assert "metric: float 1" in out
    assert "top-5 on prob: float 100.00%" in out


def test_layers(run):
    out = run("q.onnx", "--data", "d.npz", "--per-layer")
    assert "Conv                 conv1 (conv1)  the loss begins here" in out
    document = json.loads(run("q.onnx", "--data", "d.npz", "--per-layer", "--format", "json"))
    layers = {layer["tensor"]: layer for layer in document["layers"]}
    assert layers["conv1"]["begins"]
    assert layers["prob"]["sqnr_db"] == pytest.approx(document["outputs"]["prob"]["sqnr_db"])


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["q.onnx", "--max-drop", "1"], 2, "--max-drop needs --labels (for top-1) or --metric"),
        (
            ["q.onnx", "--metric", "inf.py:f"],
            1,
            "the metric inf.py:f returned inf; it must return a finite number",
        ),
        (["x.engine", "--per-layer"], 2, "x.engine is an engine"),
        (["q.onnx", "--metric", "gone.py:f"], 1, "gone.py: no such file"),
    ],
)
def test_mistakes(run, tmp_path, more, code, message):
    (tmp_path / "inf.py").write_text("def f(outputs, labels):\n    return float('inf')\n")
    out = run(*more, "--data", "d.npz", code=code)
    assert message in out
