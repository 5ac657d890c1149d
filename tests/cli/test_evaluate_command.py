"""``trt-int8 evaluate``."""

import json
import re

import numpy as np
import pytest


@pytest.fixture
def evaluate(run, invoke, tmp_path, monkeypatch, lenet_path, digits):
    """``evaluate lenet.onnx …`` in a folder with its Q/DQ model and data; returns stdout if all went well."""
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "d.npz", data=digits["evaluation"][:20], labels=digits["labels"][:20])

    run("quantize", lenet_path, "--data", "d.npz", "-o", "q.onnx")

    def evaluate(*more: object, code: int = 0) -> str:
        result = invoke("evaluate", lenet_path, *more, code=code)
        return result.stdout if code == 0 else result.output  # progress goes to stderr

    return evaluate


def test_gates(evaluate, tmp_path):
    compare = ("q.onnx", "--data", "d.npz")
    assert "below --min-sqnr 90" in evaluate(*compare, "--min-sqnr", 90, code=1)
    evaluate(*compare, "--min-sqnr", 20)
    (tmp_path / "m.py").write_text(
        "calls = []\ndef f(outputs, labels):\n    return outputs['prob'].max()\n"
        "def g(outputs, labels):\n    calls.append(1)\n    return -len(calls)\n"
    )
    assert "the drop is 1, above --max-drop 0.9" in evaluate(
        *compare, "--metric", "m.py:g", "--max-drop", "0.9", code=1
    )
    out = evaluate(*compare, "--metric", "m.py:f", "--max-drop", "0.1", "--labels", "labels")
    assert "metric: float 1" in out
    assert "top-5 on prob: float 100.00%" in out


def test_layers(evaluate):
    out = evaluate("q.onnx", "--data", "d.npz", "--per-layer")
    assert "Conv                 conv1 (conv1)  the loss begins here" in out
    document = json.loads(evaluate("q.onnx", "--data", "d.npz", "--per-layer", "--format", "json"))
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
def test_mistakes(evaluate, tmp_path, more, code, message):
    (tmp_path / "inf.py").write_text("def f(outputs, labels):\n    return float('inf')\n")
    out = evaluate(*more, "--data", "d.npz", code=code)
    assert message in out


def test_labels_follow_the_limit(run, data, lenet_path, tmp_path):
    run("quantize", lenet_path, "--data", data / "calibration.npz", "-o", tmp_path / "q.onnx")
    arguments = [
        "evaluate",
        lenet_path,
        tmp_path / "q.onnx",
        "--data",
        data / "evaluation.npz",
        "--labels",
        "labels",
    ]
    assert "20 samples" in run(*arguments, "--limit", 20, "--scores", "prob")
    for more in (["--shuffle", 1], ["--last", "pad"]):
        assert "--labels follow the order of the samples" in run(*arguments, *more, code=2)
    assert "output 'logits' is not in both models" in run(*arguments, "--scores", "logits", code=1)


def test_evaluate(run, data, lenet_path, tmp_path):
    run("quantize", lenet_path, "--data", data / "calibration.npz", "-o", tmp_path / "q.onnx")
    out = run(
        "evaluate", lenet_path, tmp_path / "q.onnx", "--data", data / "evaluation.npz", "--labels", "labels"
    )
    assert "50 samples, simulated in onnxruntime (nothing was executed by TensorRT)" in out
    top1 = float(re.search(r"top-1 on prob: float ([0-9.]+)%", out)[1])
    assert top1 >= 96
    result = json.loads(
        run(
            "evaluate", lenet_path, tmp_path / "q.onnx", "--data", data / "evaluation.npz", "--format", "json"
        )
    )
    assert result["outputs"]["prob"]["sqnr_db"] > 25
    np.save(tmp_path / "l.npy", np.arange(50) % 10 * 1.0)
    assert "give the class of each sample as an integer" in run(
        "evaluate",
        lenet_path,
        tmp_path / "q.onnx",
        "--data",
        data / "evaluation.npz",
        "--labels",
        tmp_path / "l.npy",
        code=1,
    )
