import csv
import importlib.util
import io
import json
import re
from importlib import resources
from pathlib import Path

import pytest
from places import corpus_files

from trt_int8.printable import printable
from trt_int8.report import PrecisionReport

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")

LOGS = Path(__file__).parent / "logs"
HOSTILE = "</script><script>alert(1)</script>|`*_[x](y)\x1b[31m"
SCHEMA = json.loads(resources.files("trt_int8.report").joinpath("schema-1.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def lenet():
    return PrecisionReport.from_log(LOGS / "rtx_lenet_wrong_axis.log")


@pytest.fixture(scope="module")
def hostile():
    """A layer, a node, a tensor and a warning with a name that would break every view."""
    lines = [
        f"[V] Parsing node: {HOSTILE} [Conv]",
        f"[W] =cmd|' /C calc'!A0 {HOSTILE}",
        "[V] Engine Layer Information:",
        f"Layer(CaskConvolution): {HOSTILE}, Tactic: 0x01, {HOSTILE} (Float[1]) -> y (Float[1])",
        "Layer(CaskConvolution): =1+1, Tactic: 0x01, y (Float[1]) -> z (Float[1])",
    ]
    report = PrecisionReport.from_lines(lines)
    assert report.last.layers[0].name == HOSTILE
    return report


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in sorted(LOGS.glob("*.log"))])
def test_json_follows_the_schema(path):
    document = json.loads(PrecisionReport.from_log(path).to_json())
    jsonschema.validate(document, SCHEMA)


@pytest.mark.parametrize("path", corpus_files("logs", "*.log") + corpus_files("layer_info", "*[oh].json"))
def test_json_of_the_corpus_follows_the_schema(path):
    jsonschema.validate(json.loads(PrecisionReport.read(path).to_json()), SCHEMA)


def test_the_schema_refuses_what_is_wrong(lenet):
    document = json.loads(lenet.to_json())
    document["builds"][0]["layers"][0]["precision"] = "INT8"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_json_says_what_the_records_say(lenet):
    (build,) = json.loads(lenet.to_json())["builds"]
    assert build["summary"]["int8_layers"] == 3
    assert build["summary"]["by_precision"] == {"fp32": 3, "int8": 3, "int8_io": 2, "weight_dequantized": 1}
    layer = next(layer for layer in build["layers"] if layer["name"] == "conv1_U16_myl0_1")
    assert layer["inputs"][0]["dims"] == [1, 4, 28, 28]
    assert layer["onnx_nodes"] == ["conv1", "data_DQ", "conv1_weight_DQ", "conv1_weight_Q"]
    node = next(node for node in build["nodes"] if node["node"] == "conv1")
    assert node == {
        "node": "conv1",
        "op": "Conv",
        "precision": "int8",
        "layers": ["conv1_U16_myl0_1"],
        "reason": None,
    }


def test_text_leads_with_the_answer(lenet):
    lines = lenet.to_text(width=None).splitlines()
    assert lines[0] == "3 of 4 Conv, Gemm and MatMul nodes run in INT8"
    rows = {line.split()[0]: line for line in lines[2:]}
    assert "weight_dequantized" in rows["ip1"]
    assert "mixed: reads Int8 but multiplies in float" in rows["ip1"]
    assert any(
        line.startswith("10 kernels: 9 compute (3 fp32, 3 int8, 2 int8_io, 1 weight_dequantized)")
        for line in lines
    )


def test_text_at_80_columns_loses_nothing(lenet):
    text = lenet.to_text(width=80)
    assert max(map(len, text.splitlines())) <= 80
    joined = "".join(line.strip() for line in text.splitlines())
    for node in lenet.last.nodes:
        for name in (node.node, *node.layers):
            assert name in joined
    # The reason that three nodes share is told once, at the one that multiplies.
    assert text.count("mixed: reads Int8 but multiplies in float") == 1
    assert "mixed: as for ip1" in text
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("ip1 "))
    assert "mixed: reads Int8" in "".join(lines[at : at + 3])


def test_text_without_a_width_is_one_line_for_each_node():
    long = "a_name_of_many_characters" * 20
    lines = [f"[V] Parsing node: conv{index} [Conv]" for index in range(70)] + [
        "[V] Engine Layer Information:"
    ]
    lines += [
        f"Layer(CaskConvolution): conv{index} + {long}{index}, Tactic: 0x01, a{index} (Int8[1]) -> b{index} (Int8[1])"
        for index in range(70)
    ]
    text = PrecisionReport.from_lines(lines).to_text(width=None).splitlines()
    assert len(text) == 74  # headline, headings, nodes, two remarks
    for index in range(70):
        assert text[2 + index].startswith(f"conv{index} ")
        assert text[2 + index].endswith(f"{long}{index}")


def test_names_without_end_are_cut_on_a_terminal_and_nowhere_else():
    name = "n" * 100_000
    line = f"Layer(CaskConvolution): {name}, Tactic: 0x01, x{name} (Float[1]) -> y (Float[1])"
    report = PrecisionReport.from_lines(["[V] Engine Layer Information:", line])
    assert len(report.to_text(width=80)) < 5_000
    assert name in report.to_text(width=None)


def test_warnings_and_errors_say_what_they_are():
    lines = [
        "[W] [TRT] odd weights",
        "[E] [TRT] bad things",
        "[V] Engine Layer Information:",
        "Layer(CaskConvolution): c, Tactic: 0x01, x (Float[1]) -> y (Float[1])",
    ]
    report = PrecisionReport.from_lines(lines)
    assert report.to_text().splitlines()[-2:] == [
        "warning: odd weights (line 1)",
        "error: bad things (line 2)",
    ]
    assert "- error: bad things (line 2)" in report.to_markdown()
    if importlib.util.find_spec("jinja2"):
        assert "error: bad things (line 2)" in report.to_html()
    (build,) = report.to_dict()["builds"]
    assert build["warnings"]["other"][1] == {"line": 2, "text": "bad things"}


def test_colours_only_where_asked_for(lenet):
    assert "\x1b[" not in lenet.to_text()
    coloured = lenet.to_text(width=80, color=True)
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == lenet.to_text(width=80)
    assert "\x1b[1;32mint8\x1b[0m" in coloured


def test_a_build_without_layers_says_what_to_do():
    text = PrecisionReport.from_lines(["[I] [TRT] Detected 1 inputs"]).to_text(width=None)
    assert text == (
        "the build is incomplete (lines 1 to 1): the log has no layer of an engine. If the build "
        "succeeded, repeat it with a verbose logger\n"
    )


def test_csv_has_a_row_for_each_layer(lenet):
    rows = list(csv.DictReader(io.StringIO(lenet.to_csv())))
    assert len(rows) == len(lenet.last.layers)
    assert [row["layer"] for row in rows] == [layer.name for layer in lenet.last.layers]
    assert rows[1]["precision"] == "int8"
    assert rows[7]["reason"] == "mixed"


def test_a_spreadsheet_runs_nothing(hostile):
    rows = list(csv.DictReader(io.StringIO(hostile.to_csv())))
    assert rows[0]["layer"] == printable(HOSTILE)
    assert rows[1]["layer"] == "'=1+1"


def test_the_terminal_gets_no_control_characters(hostile):
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", hostile.to_text())
    assert "</script>" in hostile.to_text(width=300)


def test_markdown_stays_a_table(hostile):
    text = hostile.to_markdown()
    assert "<script>" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}


def test_html_is_one_file_whose_names_cannot_become_markup(hostile):
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    page = hostile.to_html()
    assert "<script>alert" not in page
    assert page.count("</script>") == 2  # the data and the program
    assert not re.search(r"""(?:src|href)\s*=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)""", page)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL).group(1))
    assert data["builds"][0]["layers"][0]["name"] == printable(HOSTILE)


def test_many_nodes_show_those_that_are_not_int8():
    lines = ["[V] Engine Layer Information:"]
    for index in range(80):
        lines.insert(0, f"[V] Parsing node: conv{index} [Conv]")
        dtype = "Float" if index == 33 else "Int8"
        lines.append(
            f"Layer(CaskConvolution): conv{index}, Tactic: 0x01, a{index} ({dtype}[1]) -> b{index} (Float[1])"
        )
    text = PrecisionReport.from_lines(lines).to_text(width=160)
    assert text.startswith("79 of 80 Conv, Gemm and MatMul nodes run in INT8")
    assert "conv33 " in text
    assert "conv34 " not in text
    assert "… and 79 int8" in text


def test_calibration_in_words():
    def last_line(*lines):
        return PrecisionReport.from_lines(lines).to_text().splitlines()[-1]

    calibrated = "[I] Starting Calibration with batch size 5.", "[I]   Calibrated batch 9 in 0.1 seconds."
    assert last_line(*calibrated) == "calibration: 10 batches"
    done = (
        *calibrated,
        "[I] Calibration completed in 0.5 seconds.",
        "[I] Writing Calibration Cache for calibrator: X",
    )
    assert last_line(*done) == "calibration: 10 batches, 0.5 s, cache written"
    assert last_line("[I] Reading Calibration Cache for calibrator: X") == "calibration: cache read"


def test_the_documentation_lists_every_reason_kind_and_outcome():
    text = (Path(__file__).parents[2] / "docs" / "report-schema.md").read_text(encoding="utf-8")
    defs = SCHEMA["$defs"]
    codes = set(re.findall(r"^\| `(\w+)` \|", text.split("## Reasons")[1], re.MULTILINE))
    assert codes == set(defs["reason"]["properties"]["code"]["enum"])
    kinds = set(re.findall(r"^\| `(\w+)` \|", text.split("## Kinds")[1].split("## ")[0], re.MULTILINE))
    assert kinds == set(defs["layer"]["properties"]["kind"]["enum"])
    for outcome in defs["candidate"]["properties"]["outcome"]["enum"]:
        assert f"`{outcome}`" in text
    for key in defs["build"]["required"]:
        assert f'"{key}"' in text
