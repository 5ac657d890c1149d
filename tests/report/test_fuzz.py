"""Damaged logs, JSON and profiles: never a crash, never a hang, always a document that fits the schema."""

import contextlib
import json
import os
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from places import CORPUS

from trt_int8.errors import ReportError
from trt_int8.report import PrecisionReport
from trt_int8.report.diff import diff
from trt_int8.report.gate import offences

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")

LOGS = sorted((Path(__file__).parent / "logs").glob("*.log")) + sorted((CORPUS / "logs").glob("*.log"))
JSONS = sorted((CORPUS / "layer_info").glob("*.json"))
VALIDATOR = jsonschema.Draft202012Validator(
    json.loads(resources.files("trt_int8.report").joinpath("schema-1.json").read_text(encoding="utf-8"))
)
#: Raise it for a long run: FUZZ_EXAMPLES=20000 pytest tests/report/test_fuzz.py
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
SNIPPETS = [
    b"",
    b"\r",
    b"\x00",
    b"\xff\xfe",
    b"\x1f",
    b" -> ",
    b", Tactic: ",
    b"]",
    b" (Int8[",
    b"Layers:",
    b"Engine Layer Information:",
    b"Original: 3 layers",
    b"Starting Calibration",
    b"Use backend strategy 1",
    b"Fastest Tactic: 0 Time: nan",
    b"Tactic: 0x1 Time: 1e999",
    b"TensorRT version: 99999999999999999999",
    b"  Calibrated batch 99999999999999999999 in",
    b"Name: , LayerType: kgen, Inputs: [], Outputs: [], ",
    b"Layer(): , Tactic: 0,  -> ",
    b"--------------- Timing Runner:  (",
    b"*************** Autotuning format combination: ->",
    b" (foreignNode)  1, 1, 1, 1, k, ",
    b"Parsing node:  [",
    b" [Conv] inputs: [",
]


def everything(report):
    document = json.loads(report.to_json())
    for build in document["builds"]:
        del build["layers"][40:], build["nodes"][40:]  # the validator is slow
        for layer in build["layers"]:
            for key in ("inputs", "outputs", "candidates"):
                del layer[key][40:]
            for candidate in layer["candidates"]:
                del candidate["inputs"][40:]
    VALIDATOR.validate(document)
    for view in (report.to_text(), report.to_csv(), report.to_markdown()):
        view.encode("utf-8")
    for build in report.builds:
        diff(build, report.builds[0]).to_text()
        offences(build, require=["*"], min_int8=0.5, max_reformats=0)


@st.composite
def damaged(draw):
    """A stretch of a real log with lines dropped, doubled, moved, cut and spliced."""
    data = draw(st.sampled_from(LOGS)).read_bytes()
    lines = data.split(b"\n")
    # Half of the time the end of the log, where the engine is.
    first = draw(st.sampled_from([0, max(0, len(lines) - 200), draw(st.integers(0, len(lines)))]))
    lines = lines[first : first + draw(st.integers(1, 400))]
    for _ in range(draw(st.integers(0, 12))):
        if not lines:
            break
        at = draw(st.integers(0, len(lines) - 1))
        action = draw(st.sampled_from(["drop", "double", "move", "cut", "splice", "flip", "snippet"]))
        line = lines[at]
        column = draw(st.integers(0, len(line)))
        if action == "drop":
            del lines[at : at + draw(st.integers(1, 5))]
        elif action == "double":
            lines[at:at] = [line] * draw(st.integers(1, 3))
        elif action == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        elif action == "cut":
            lines[at] = line[:column]
        elif action == "splice":
            lines[at] = line[:column] + lines[draw(st.integers(0, len(lines) - 1))][column:]
        elif action == "flip":
            lines[at] = line[:column] + draw(st.binary(max_size=3)) + line[column + 1 :]
        else:
            lines[at] = line[:column] + draw(st.sampled_from(SNIPPETS)) + line[column:]
    return b"\n".join(lines)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(damaged())
def test_damaged_logs(data):
    everything(PrecisionReport.from_lines(data.split(b"\n")))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(st.sampled_from(SNIPPETS) | st.binary(max_size=40), max_size=30))
def test_lines_of_nothing_but_snippets(parts):
    everything(PrecisionReport.from_lines(parts))
    everything(PrecisionReport.from_lines([b"[V] " + part for part in parts]))


def values():
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    keys = st.sampled_from(
        ["Name", "LayerType", "Inputs", "Outputs", "Dimensions", "Datatype", "Weights", "Metadata"]
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5),
        max_leaves=12,
    )


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(layers=st.lists(values(), max_size=6), times=values())
def test_layer_information_of_any_values(tmp_path_factory, layers, times):
    folder = tmp_path_factory.getbasetemp()
    (folder / "info.json").write_text(json.dumps({"Layers": layers}))
    (folder / "profile.json").write_text(json.dumps([{"name": "a", "averageMs": times}, times]))
    report = PrecisionReport.from_layer_information(folder / "info.json")
    everything(report)
    with contextlib.suppress(ReportError):
        report.with_profile(folder / "profile.json")


@pytest.mark.skipif(not JSONS, reason=f"no corpus at {CORPUS}")
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.data())
def test_damaged_json(tmp_path_factory, data):
    original = data.draw(st.sampled_from(JSONS)).read_bytes()
    at = data.draw(st.integers(0, len(original)))
    spliced = (
        original[:at] + data.draw(st.binary(max_size=4)) + original[at + data.draw(st.integers(0, 30)) :]
    )
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(spliced)
    with contextlib.suppress(ReportError):
        everything(PrecisionReport.from_layer_information(path))


# Each of these takes time in proportion to its length. With a quadratic reader the suite would not end.
LONG = 400_000
BLOW_UPS = {
    "arrows": b"Layer(X): a, Tactic: 0, " + b"[Float(1)] -> " * 50_000,
    "open tensors": b"Layer(X): a, Tactic: 0, " + b" (A[" * LONG,
    "brackets": b"Layer(X): " + b"PWN(" * LONG + b")" * LONG + b", Tactic: 0,  -> y (Float[1])",
    "closing brackets": b"Layer(X): " + b")" * LONG + b", Tactic: 0,  -> y (Float[1])",
    "generated": b"Layer(kgen): __myl_" + b"Aa" * LONG + b"?, Tactic: 0,  -> y (Float[1])",
    "rejected": b"Rejecting some int8 implementation of layer "
    + b" due to missing int8 scales for tensor " * 20_000,
    "constraints": b"[W] " + b"No implementation of layer " * 20_000,
    "cached": b"a" + b" [b" * LONG + b"] got cached result: ",
    "metadata": b"ForeignNode " + b" metadata: [ONNX Layer: " * 20_000,
    "blanks": b" " * (8 * LONG),
    "prefixes": b"[07/07/2026-02:11:00] " * LONG,
    "node": b"Parsing node: " + b" [" * LONG + b"Conv]",
    "detailed": b"Name: a, LayerType: kgen, Inputs: [" + b" { Name: " * LONG + b"], Outputs: [], ",
    "formats": b"*************** Autotuning format combination: " + b", Int8(" * 50_000,
    "scales": b"INT8 Inference Tensor scales: " + b" [1" * LONG,
    "digits": b"Tactic: 0 Time: " + b"1" * LONG,
}


@pytest.mark.parametrize("name", BLOW_UPS)
def test_no_line_takes_quadratic_time(name):
    line = BLOW_UPS[name]
    lines = [b"=============== Computing costs for a", line, b"[V] " + line, b"Fastest Tactic: 0 Time: 1"]
    everything(PrecisionReport.from_lines(lines))


def test_many_layers_of_one_tensor_take_no_quadratic_time():
    lines = [b"Engine Layer Information:"]
    for index in range(20_000):
        kind = b"Reformat" if index % 3 else b"CaskConvolution"
        lines.append(b"Layer(%s): a%d, Tactic: 0, t (Int8[1,3,8,8]) -> t (Float[1,3,8,8])" % (kind, index))
    build = PrecisionReport.from_lines(lines).last
    assert len(build.layers) == 20_000
    diff(build, build)
