"""benchmarks/compare_commits.py: what counts as a difference, and commits that differ in known ways."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from places import ROOT

BENCHMARKS = ROOT / "benchmarks"
LOGS = ROOT / "tests" / "report" / "logs"


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), str(BENCHMARKS / "calibration"), *sys.path])


@pytest.fixture
def compare():
    import compare_commits

    return compare_commits


@pytest.fixture
def differences():
    from commits import differences

    return differences


@pytest.fixture
def network():
    """A convolution with a bias and one without, a Gemm with β = 0.5, and a product with a row behind it."""
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]> g (float[1, 2, 4, 4] x) => (float[1, 3] y)
        <float[2, 2, 1, 1] w = {1, 2, 3, 4}, float[2] b = {1, -1}, float[3] row = {1, 2, 3},
         float[3] c = {4, 6, 8}> {
            first = Conv(x, w, b)
            second = Conv(first, w)
            flat = Flatten(second)
            product = MatMul(flat, m)
            shifted = Add(product, row)
            y = Gemm<beta = 0.5>(shifted, n, c)
        }""")
    for name, rows in (("m", 32), ("n", 3)):
        values = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    return model


@pytest.fixture
def change(network):
    """A changed copy of the network."""

    def change(**values):
        """``name=array``: initializers that get other values, or are new."""
        copy = onnx.ModelProto()
        copy.CopyFrom(network)
        known = {tensor.name: tensor for tensor in copy.graph.initializer}
        for name, value in values.items():
            tensor = known.get(name) or copy.graph.initializer.add()
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return copy

    return change


def test_metadata_is_no_difference(differences, network, change):
    recorded = change()
    entry = recorded.metadata_props.add()
    entry.key, entry.value = differences.RECORD, "{}"
    assert differences.model_difference(network, recorded).identical


@pytest.mark.parametrize("name", ["w", "m", "n"])
def test_a_changed_weight_is_noticed(differences, network, change, name):
    value = {t.name: numpy_helper.to_array(t) for t in network.graph.initializer}[name].copy()
    value.flat[-1] = np.nextafter(value.flat[-1], np.float32(9e9))
    found = differences.model_difference(network, change(**{name: value}))
    assert (found.biases, found.others) == ({}, (f"initializer {name} differs",))


def test_changed_biases_are_measured(differences, network, change):
    found = differences.model_difference(network, change(b=[1, -0.75], row=[1, 2, 3.5], c=[4, 5, 8]))
    # The Gemm adds half of c.
    assert (found.biases, found.others) == ({"first": 0.25, "shifted": 0.5, "y": 0.5}, ())


def test_a_bias_under_a_new_name_is_a_changed_bias(differences, network, change):
    corrected = change(fresh=[0.5, -1], behind=[1, 2, 2], whole=[2, 3, 4.25], added=[0, -0.125])
    first, second, _, _, shifted, last = corrected.graph.node
    first.input[2], shifted.input[1], last.input[2] = "fresh", "behind", "whole"
    second.input.append("added")
    del last.attribute[:]
    wanted = {"first": 0.5, "second": 0.125, "shifted": 1.0, "y": 0.25}
    for pair in ((network, corrected), (corrected, network)):
        found = differences.model_difference(*pair)
        assert (found.biases, found.others) == (wanted, ())


def test_a_constant_that_others_read_too_is_more_than_a_bias(differences, change):
    old, new = change(), change(row=[1, 2, 4])
    for model in (old, new):
        model.graph.node.extend([onnx.helper.make_node("Mul", ["y", "row"], ["z"], "scaled")])
    found = differences.model_difference(old, new)
    assert (found.biases, found.others) == ({"shifted": 1.0}, ("initializer row differs",))


def _rename_output(model):
    model.graph.node[2].output[0] = model.graph.node[3].input[0] = "other"


def _other_attribute(model):
    model.graph.node[2].attribute.add(name="axis", type=onnx.AttributeProto.INT, i=1)


def _other_input(model):
    model.graph.node[1].input[0] = "x"


def _no_last_node(model):
    del model.graph.node[-1]


def _other_opset(model):
    model.opset_import[0].version = 18


def _other_shape(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def _other_beta(model):
    model.graph.node[-1].attribute[0].name = "alpha"


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (_rename_output, "node flat (Flatten) differs"),
        (_other_attribute, "node flat (Flatten) differs"),
        (_other_input, "node second (Conv) differs"),
        (_no_last_node, "6 nodes in the old model, 5 in the new one"),
        (_other_opset, "model.opset_import differs"),
        (_other_shape, "graph.input differs"),
        (_other_beta, "node y (Gemm) differs"),
    ],
)
def test_other_edits_are_noticed(differences, network, change, edit, told):
    edited = change()
    edit(edited)
    found = differences.model_difference(network, edited)
    assert told in found.others


def test_biases_may_differ_only_where_they_are_corrected(compare, network, change, tmp_path):
    old, biased, weighted = (tmp_path / f"{name}.onnx" for name in ("old", "biased", "weighted"))
    onnx.save(network, old)
    onnx.save(change(b=[1, 0]), biased)
    onnx.save(change(b=[1, 0], w=np.ones((2, 2, 1, 1))), weighted)
    assert compare.models(old, old) == ("equal", "6 nodes")
    assert compare.models(old, biased) == (
        "DIFFERS",
        "1 biases differ, by 1 at most (first), 0 other differences",
    )
    result, detail = compare.models(old, biased, biases_may_differ=True)
    assert result == "on purpose"
    assert detail.startswith("1 biases differ, by 1 at most (first), nothing else")
    result, detail = compare.models(old, weighted, biases_may_differ=True)
    assert result == "DIFFERS"
    assert detail.endswith(", 1 other differences: initializer w differs")


def test_held_back_samples_are_those_of_the_record(differences, change):
    model = change()
    assert differences.held_back(model) == ()
    entry = model.metadata_props.add()
    entry.key, entry.value = differences.RECORD, json.dumps({"held_back": [[1, 2], [4, 6]]})
    ranges = differences.held_back(model)
    arrays = {"x": np.arange(6), "y": np.arange(12).reshape(6, 2)}
    fitted, judged = differences.split_samples(arrays, ranges)
    assert fitted["x"].tolist() == [0, 2, 3]
    assert judged["x"].tolist() == [1, 4, 5]
    assert fitted["y"].tolist() == [[0, 1], [4, 5], [6, 7]]
    with pytest.raises(ValueError, match="samples 4 to 6 are not among the 5"):
        differences.split_samples({"x": np.arange(5)}, ranges)


def test_paths_of_json_differences(differences):
    old = {"builds": [{"layers": [{"ms": 1.0, "name": "a"}], "n": float("nan"), "same": [1]}], "schema": 1}
    new = {
        "builds": [{"layers": [{"ms": 2.0}], "n": float("nan"), "same": [1]}],
        "schema": True,
        "more": None,
    }
    wanted = ["builds.0.layers.0.ms", "builds.0.layers.0.name", "schema", "more"]
    assert list(differences.json_differences(old, new)) == wanted
    known = ("builds.*.ms", "more", "schema")
    assert list(differences.json_differences(old, new, known=known)) == ["builds.0.layers.0.name"]
    assert list(differences.json_differences({"a": [1, 2]}, {"a": [1]})) == ["a"]
    assert list(differences.json_differences(None, {})) == ["the whole document"]


@pytest.fixture
def here(compare):
    """The working tree as one side."""
    return compare.Checkout("here", ROOT)


@pytest.fixture
def pair(compare, here, tmp_path):
    """The working tree, and another side."""
    return lambda other: compare.Pair(here, other, tmp_path)


@pytest.fixture
def subject(compare, lenet_path, digits):
    images = {"data": digits["calibration"][:24]}
    return compare.Subject("LeNet", lenet_path, images, ("--shapes", "data:1x1x28x28"))


def test_a_cache_with_another_line_differs(compare, here, pair, subject, monkeypatch):
    class Other(compare.Checkout):
        def command(self, *arguments, check=True):
            done = super().command(*arguments, check=check)
            if "minmax" in arguments:
                path = Path(arguments[-1])
                path.write_text(path.read_text().replace("conv1: ", "conv1: 3", 1))
            return done

    monkeypatch.setattr(compare, "ALGORITHMS", ("mse", "minmax"))
    found = list(compare.caches(pair(Other("other", ROOT)), subject))
    assert [(row.case, row.result) for row in found] == [("mse", "equal"), ("minmax", "DIFFERS")]
    assert found[1].detail == "2 lines are in one cache only"


@pytest.mark.parametrize(("recorded", "result"), [(True, "equal"), (False, "DIFFERS")])
def test_the_old_commit_is_spared_what_the_new_one_holds_back(
    compare, subject, differences, tmp_path, recorded, result
):
    class HoldsNothingBack(compare.Checkout):
        def command(self, *arguments, check=True):
            """Quantize with ranges from all samples that are given."""
            command, model, _, data, *options = arguments
            algorithm, *shapes = options[3], *options[4:6]
            cache = tmp_path / "all.cache"
            super().command(
                "calibrate", model, "--data", data, "--algorithm", algorithm, *shapes, "-o", cache
            )
            return super().command(command, model, "--cache", cache, *options[:2], *options[-2:], check=check)

    class Recorded(compare.Checkout):
        def command(self, *arguments, check=True):
            done = super().command(*arguments, check=check)
            if not recorded:
                model = onnx.load(arguments[-1])
                del model.metadata_props[:]
                onnx.save(model, arguments[-1])
            return done

    both = compare.Pair(HoldsNothingBack("old", ROOT), Recorded("new", ROOT), tmp_path)
    found = compare.quantized(both, subject, ("--placement", "rtx", "--algorithm", "mse"), False)
    assert found[0] == result
    assert found[1].endswith("; the new commit holds 6 samples back") == recorded


def test_a_command_that_fails_is_told(compare, pair, here, subject):
    broken = compare.Subject("LeNet", Path("none.onnx"), subject.samples, ())
    found = next(compare.caches(pair(here), broken))
    assert found.result == "FAILS"
    assert "here: exit status 1" in found.detail
    assert "none.onnx" in found.detail


def test_reports_differ_where_one_field_does(compare, here, pair, tmp_path, monkeypatch):
    class Other(compare.Checkout):
        def python(self, *arguments, check=True):
            done = super().python(*arguments, check=check)
            if compare.REPORTS in arguments:
                path = Path(arguments[2]) / "1.json"
                path.write_text(path.read_text().replace('"int8"', '"fp8"', 1))
            return done

    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in ("rtx_lenet_float.log", "rtx_lenet_qdq.log"):
        (corpus / name).write_bytes((LOGS / name).read_bytes())
    (corpus / "x.txt").write_text("nothing of a build\n")
    (corpus / "skipped.md").write_text("no log\n")
    same = list(compare.reports(pair(here), corpus))
    assert [(row.subject, row.result) for row in same] == [("3", "equal")]
    assert same[0].detail == "2 equal, 1 refused by both"
    other = list(compare.reports(pair(Other("other", ROOT)), corpus))
    assert [(row.subject, row.result) for row in other] == [("rtx_lenet_qdq.log", "DIFFERS"), ("3", "equal")]
    (path,) = other[0].detail.removeprefix("1 differences: ").split(", ")
    monkeypatch.setattr(compare, "KNOWN_FIELDS", {path: "for the test"})
    assert [row.result for row in compare.reports(pair(Other("other", ROOT)), corpus)] == ["equal"]


def test_what_is_listed_differs_on_purpose(compare, monkeypatch):
    monkeypatch.setattr(compare, "ON_PURPOSE", {"time, det, *": "more is read"})
    results = {
        (subject, ratio): compare.bounded("time", subject, "64 samples", ratio, "told")
        for subject in ("cls", "det")
        for ratio in (1.09, 1.11)
    }
    assert {key: row.result for key, row in results.items()} == {
        ("cls", 1.09): "holds",
        ("cls", 1.11): "DIFFERS",
        ("det", 1.09): "holds",
        ("det", 1.11): "on purpose",
    }
    assert results["det", 1.11].detail == "more is read; told"


def test_quantizing_with_ranges_imports_nothing_heavy(compare, here, subject, tmp_path, monkeypatch):
    cache = tmp_path / "x.cache"
    here.command("calibrate", subject.model, "--data", subject.save(tmp_path), *subject.options, "-o", cache)
    assert compare.imports(here, subject, cache)[0] == "holds"
    monkeypatch.setattr(compare, "HEAVY", f"import onnxruntime\n{compare.HEAVY}")
    assert compare.imports(here, subject, cache) == ("DIFFERS", "imports onnxruntime")


def test_a_checkout_is_the_commit_and_not_the_working_tree(compare, tmp_path):
    repository = tmp_path / "repository"
    (repository / "trt_int8").mkdir(parents=True)
    module = repository / "trt_int8" / "__init__.py"

    def git(*arguments):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", str(repository), *identity, *arguments], check=True, capture_output=True)

    git("init")
    module.write_text("side = 'commit'\n")
    git("add", ".")
    git("commit", "-m", "First")
    module.write_text("side = 'working tree'\n")
    checkout = compare.Checkout.of_commit("HEAD", repository, tmp_path / "before")
    told = [
        side.python("-c", "import trt_int8; print(trt_int8.side)").stdout.strip()
        for side in (checkout, compare.Checkout("now", repository))
    ]
    assert told == ["commit", "working tree"]
    checkout.require_own_package()
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RuntimeError, match="empty: Python imports .* which is not in"):
        compare.Checkout("empty", empty).require_own_package()


@pytest.mark.parametrize(
    ("result", "status"), [("equal", 0), ("on purpose", 0), ("DIFFERS", 1), ("FAILS", 1)]
)
def test_the_exit_status_is_1_where_something_differs(compare, tmp_path, monkeypatch, result, status):
    wanted = [compare.Row("cache", "LeNet", "mse", "equal"), compare.Row("Q/DQ", "cls", "x", result, "why")]
    for name, value in {
        "fetch_wheels": lambda folder, names: {},
        "subjects": lambda wheels, folder: [SimpleNamespace(name="LeNet")],
        "rows": lambda pair, chosen, options: wanted,
    }.items():
        monkeypatch.setattr(compare, name, value)
    monkeypatch.setattr(compare.Checkout, "of_commit", lambda commit, *_: compare.Checkout(commit, ROOT))
    path = tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", ["compare_commits.py", "abc", "--json", str(path)])
    assert compare.main() == status
    written = json.loads(path.read_text())
    assert (written["old"], written["new"]) == ("abc", "working tree")
    assert written["results"][1] == {
        "check": "Q/DQ",
        "subject": "cls",
        "case": "x",
        "result": result,
        "detail": "why",
    }
