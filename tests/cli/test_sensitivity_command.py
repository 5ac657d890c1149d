import json
import re

import numpy as np
import pytest

from trt_int8.quantization import PrecisionPlan


@pytest.fixture
def run(run, tmp_path, monkeypatch, digits):
    """In a folder with data."""
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "d.npz", data=digits["evaluation"][:16], labels=digits["labels"][:16])
    return run


def test_a_plan_that_quantize_and_build_take(run, lenet_path, tmp_path):
    """A budget that only some nodes fit; the engine then has exactly the planned nodes in INT8.

    The search says what the plan reaches in a build, and a build says the same.
    """
    common = ("--target", "sm89", "--state", "s.json")
    command = ("sensitivity", lenet_path, "--data", "d.npz", *common)
    out = run(*command)
    assert "4 nodes: 9 models to evaluate" in out
    whole = float(out.split("all in INT8: SQNR ")[1].split()[0])
    out = run(*command, "--min-sqnr", whole + 0.5, "-o", "plan.yaml")
    plan = PrecisionPlan.read("plan.yaml")
    assert set(plan.nodes) == {"conv1", "conv2", "ip1", "ip2"}
    assert 0 < list(plan.nodes.values()).count("float") < 4
    assert (plan.target, plan.placement, plan.budget) == ("rtx:sm89", "rtx", {"min_sqnr": whole + 0.5})
    assert plan.reached["sqnr_db"] >= whole + 0.5
    promised = re.findall("^as it will be built: (.*)$", out, re.MULTILINE)
    figure = f"SQNR on 4 samples: prob {plan.reached['held_back_sqnr_db']:.2f} dB"
    assert any(line.startswith(figure) for line in promised)
    out = run("quantize", lenet_path, "--data", "d.npz", "--plan", "plan.yaml", "-o", "q.onnx")
    assert f"\n{figure}" in out
    held_back = f"{plan.reached['held_back_sqnr_db']:.2f} dB"
    found = run("evaluate", lenet_path, "q.onnx", "--data", "d.npz")
    assert f"on the 4 samples of the model's record: prob {held_back}\n" in found
    refused = ("--plan", "plan.yaml", "--target", "tensorrt", "-o", "other.onnx")
    assert "was searched for placement 'rtx' (target rtx:sm89), but this is placement 'tensorrt'" in run(
        "quantize", lenet_path, "--data", "d.npz", *refused, code=1
    )
    assert f"{list(plan.nodes.values()).count('int8')} nodes quantized" in out
    out = run(
        "build",
        lenet_path,
        "--data",
        "d.npz",
        "--plan",
        "plan.yaml",
        "--mode",
        "explicit",
        "--target",
        "sm89",
        "-o",
        "e.engine",
    )
    assert "plan: " not in out
    assert f"\n{figure}" in out
    report = json.loads(run("report", "e.engine.log", "--format", "json"))
    nodes = {n["node"]: n["precision"] for n in report["builds"][0]["nodes"] if n["node"] in plan.nodes}
    assert {n: "int8" if p == "int8" else "float" for n, p in nodes.items()} == dict(plan.nodes)


def test_json_and_labels(run, lenet_path):
    out = run(
        "sensitivity",
        lenet_path,
        "--data",
        "d.npz",
        "--labels",
        "labels",
        "--max-drop",
        "0.2",
        "-o",
        "p.yaml",
        "--format",
        "json",
        "--quiet",
    )
    document = json.loads(out[out.index("{") : out.rindex("}") + 1])
    assert document["schema"] == 1
    assert {n["node"] for n in document["nodes"]} == {"conv1", "conv2", "ip1", "ip2"}
    assert document["floats"] == []
    assert set(PrecisionPlan.read("p.yaml").nodes.values()) == {"int8"}


def test_too_few_samples_for_the_budget(run, lenet_path):
    """16 samples, none of them lost: other data may still lose 3 / 16."""
    command = (
        "sensitivity",
        lenet_path,
        "--data",
        "d.npz",
        "--labels",
        "labels",
        "-o",
        "p.yaml",
        "--state",
        "s",
    )
    out = run(*command, "--max-drop", "0.1")
    assert (
        "16 samples are too few to show that top-1 drops by 0.1 at most: even if it drops on none of them, it may drop by up to 0.19 on other data"
        in out
    )
    assert "give 30\n" in out
    assert "too few" not in run(*command, "--max-drop", "0.1875")


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--max-drop", "0.1", "-o", "p"], 2, "--max-drop needs --labels (for top-1) or --metric"),
        (["--min-sqnr", "20"], 2, "give --max-drop or --min-sqnr, and -o"),
        (["-o", "p"], 2, "give --max-drop or --min-sqnr, and -o"),
        (["--min-sqnr", "20", "-o", "d.npz"], 1, "the precision plan would overwrite the data"),
        (["--state", "d.npz"], 1, "the state would overwrite the data"),
        (["--state", "other"], 1, "other: not a state file of sensitivity"),
        (["--metric", "gone.py:f"], 1, "gone.py: no such file"),
        (["--scores", "logits"], 1, "the model has no output 'logits'; its outputs are prob"),
    ],
)
def test_mistakes(run, lenet_path, tmp_path, more, code, message):
    (tmp_path / "other").write_text("precious")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    out = run("sensitivity", lenet_path, "--data", "d.npz", *more, code=code)
    assert message in out
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_plan_is_refused_for_a_quantized_model(run, lenet_path, tmp_path):
    run("quantize", lenet_path, "--data", "d.npz", "-o", "q.onnx")
    (tmp_path / "p.yaml").write_text("schema: 1\nnodes: {conv1: float}\n")
    out = run("build", "q.onnx", "--plan", "p.yaml", "-o", "e.engine", code=1)
    assert "leave --plan out" in out
    (tmp_path / "p.yaml").write_text("schema: 1\nnodes: {conv9: float}\n")
    out = run("build", lenet_path, "--data", "d.npz", "--plan", "p.yaml", "-o", "e.engine", code=1)
    assert "the model has no node 'conv9'; did you mean 'conv" in out


def test_a_budget_that_no_plan_meets_fails(run, lenet_path):
    out = run("sensitivity", lenet_path, "--data", "d.npz", "--min-sqnr", "200", "-o", "p.yaml", code=1)
    assert "not met: no plan with a node in INT8 is within the limit, so p.yaml cannot be built\n" in out
    assert set(PrecisionPlan.read("p.yaml").nodes.values()) == {"float"}
