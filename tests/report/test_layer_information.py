import json

import pytest
from places import CORPUS, requires_corpus

from trt_int8.errors import ReportError
from trt_int8.report import PrecisionReport
from trt_int8.report.schema import int8_time_share, times


@requires_corpus
def test_weights_decide_with_the_activations():
    """TREx graph of a QAT network, 53 convolutions with Int8 weights: counted by json alone."""
    path = CORPUS / "layer_info/trt86_mobilenet-qat.graph.json"
    layers = json.loads(path.read_bytes())["Layers"]
    int8 = [
        layer["Name"]
        for layer in layers
        if layer.get("Weights", {}).get("Type") == "Int8" and "Int8" in layer["Inputs"][0]["Format/Datatype"]
    ]
    assert len(int8) == 53
    assert [layer.name for layer in PrecisionReport.read(path).last.int8_layers] == int8


@requires_corpus
def test_profile_gives_time_and_the_share_in_int8():
    folder = CORPUS / "layer_info"
    build = PrecisionReport.read(
        folder / "trt86_mobilenet-qat.graph.json", profile=folder / "trt86_mobilenet-qat.profile.json"
    ).last
    entries = json.loads((folder / "trt86_mobilenet-qat.profile.json").read_bytes())[1:]
    assert times(build)["total"] == pytest.approx(sum(entry["averageMs"] for entry in entries))
    int8 = {layer.name for layer in build.int8_layers}
    spent = sum(entry["averageMs"] for entry in entries if entry["name"] in int8)
    assert times(build)["int8"] == pytest.approx(spent)
    assert int8_time_share(build) == pytest.approx(0.988, abs=5e-4)


@requires_corpus
def test_names_only():
    folder = CORPUS / "layer_info"
    report = PrecisionReport.read(
        folder / "trt10_detr-int8_names-only.layerinfo.json", profile=folder / "trt10_detr-int8.profile.json"
    )
    build = report.last
    assert len(build.layers) == 840
    assert {layer.precision for layer in build.layers} == {"unknown"}
    assert times(build)["total"] == pytest.approx(4.16, abs=0.01)
    assert int8_time_share(build) is None
    assert "only the names of the 590 compute layers are known" in report.to_text().splitlines()[0]


@requires_corpus
def test_a_profile_of_another_engine_is_refused():
    folder = CORPUS / "layer_info"
    with pytest.raises(ReportError, match="another engine"):
        PrecisionReport.read(
            folder / "trt86_mobilenet-qat.graph.json", profile=folder / "trt10_detr-int8.profile.json"
        )


def test_equal_names_get_their_times_in_order(tmp_path):
    info, profile = tmp_path / "i.json", tmp_path / "p.json"
    info.write_text('{"Layers": ["a", "b", "a"]}')
    profile.write_text('[{"count": 2}, {"name": "a", "averageMs": 1}, {"name": "a", "timeMs": 6}]')
    layers = PrecisionReport.read(info, profile=profile).last.layers
    assert [layer.time_ms for layer in layers] == [1.0, None, 3.0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"Layers": 3}', 'no "Layers" list'),
        ('{"Bindings": []}', 'no "Layers" list'),
        ('{"Layers": [', "not JSON"),
        ('{"a":' * 5000, "nested more than 64 levels deep"),
    ],
)
def test_other_json_is_refused(tmp_path, content, words):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ReportError, match=words):
        PrecisionReport.read(path)


@pytest.mark.parametrize(
    "content", ["[]", '[{"count": 1}]', '[{"name": "a", "averageMs": NaN}]', "{}", '[{"name": 1}]']
)
def test_profiles_without_times_are_refused(tmp_path, content):
    info, profile = tmp_path / "i.json", tmp_path / "p.json"
    info.write_text('{"Layers": ["a"]}')
    profile.write_text(content)
    with pytest.raises(ReportError, match="is not a profile"):
        PrecisionReport.read(info, profile=profile)
