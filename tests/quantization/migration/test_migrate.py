"""From TensorRT's cache to a Q/DQ model with the same scales, and back."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import conv, initializer, node, op, producer, scale, weight
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from places import corpus_files, requires_corpus

from trt_int8.errors import CacheError, ModelError, QuantizationError, ReportError
from trt_int8.graph.index import GraphIndex
from trt_int8.quantization import PrecisionPlan, Selection, quantize
from trt_int8.quantization.migration import cache_from_qdq, migrate
from trt_int8.quantization.migration.names import resolve_unnamed
from trt_int8.ranges import CalibrationCache, Ranges
from trt_int8.ranges.cache import scale_to_hex
from trt_int8.report import PrecisionReport

LOG = Path(__file__).parent / "lenet_implicit.log"
UNNAMED = "(Unnamed Layer* 4) [Fully Connected]_output"
#: A real table: TensorRT 6.0.1, LeNet on MNIST (Caffe names, which the sample's network has too).
REAL = f"""TRT-6001-EntropyCalibration2
data: 3c008912
conv1: 3c88edfc
pool1: 3c88edfc
conv2: 3ddc858b
pool2: 3ddc858b
{UNNAMED}: 3dc6a9ed
ip1: 3db6bd6e
ip2: 3e691968
prob: 3c010a14
"""


@pytest.fixture
def real():
    return CalibrationCache.parse(REAL)


def hexadecimal(model, name):
    return scale_to_hex(np.float32(scale(model, name)))


def test_scales_are_the_caches_bit_for_bit(lenet_path, real):
    result = migrate(lenet_path, real, placement="tensorrt")
    assert {name: hexadecimal(result.model, name) for name in result.quantized.nodes} == {
        "conv1": "3c008912",
        "conv2": "3c88edfc",
        "ip1": "3ddc858b",
        "ip2": "3db6bd6e",
    }
    assert result.resolved == {UNNAMED: "ip1_pre"}
    assert result.moved == {"pool2_flat": "pool2"}
    assert (result.missing, result.gone, result.disagreements) == ((), (), ())
    assert cache_from_qdq(result.model).text == REAL


def test_the_log_says_what_is_quantized(lenet_path, real):
    result = migrate(lenet_path, real, log=PrecisionReport.from_log(LOG), placement="tensorrt")
    assert result.quantized.nodes == ("conv1", "conv2", "ip1")
    rows = {row.node: (row.implicit, row.explicit) for row in result.rows}
    assert rows == {
        "conv1": ("int8", "int8"),
        "conv2": ("int8", "int8"),
        "ip1": ("int8", "int8"),
        "ip2": ("fp16", "float"),
    }
    assert all(row.same for row in result.rows)
    text = result.to_text()
    assert "ip2    Gemm  fp16      float     -                    fp16 in the implicit build\n" in text
    assert "3 of 4 nodes in INT8; 0 differ from the implicit build" in text
    assert "conv1  Conv  int8      int8      data 3c008912\n" in text
    assert cache_from_qdq(result.model).text == REAL  # also the entries without a pair


def test_what_differs_is_marked(lenet_path):
    few = CalibrationCache.parse(
        "TRT-8601-EntropyCalibration2\ndata: 3c008912\npool1: 0\nelsewhere: 3c008912\n"
    )
    result = migrate(lenet_path, few, log=PrecisionReport.from_log(LOG), placement="tensorrt")
    rows = {row.node: row for row in result.rows}
    assert not rows["ip1"].same
    assert rows["ip1"].why == "no range for tensor 'pool2_flat'"
    assert rows["conv2"].why == "tensor 'pool1' was always zero in calibration"
    assert result.missing == ("pool2_flat",)
    assert result.gone == ("elsewhere",)
    text = result.to_text()
    assert "float (differs)" in text
    assert "1 of 4 nodes in INT8; 2 differ" in text
    assert "missing from the cache:\n  pool2_flat\n" in text
    assert "in the cache and not in the model:\n  elsewhere\n" in text


def test_nodes_the_log_does_not_name_are_counted_and_listed(lenet_path, real):
    lines = [line for line in LOG.read_text().splitlines() if "conv2" not in line]
    result = migrate(lenet_path, real, log=PrecisionReport.from_lines(lines), placement="tensorrt")
    assert result.quantized.nodes == ("conv1", "ip1")
    row = next(row for row in result.rows if row.node == "conv2")
    assert (row.implicit, row.explicit, row.named, row.same) == ("not named", "float", False, False)
    assert row.why == "it is not in the log"
    text = result.to_text()
    assert "2 of 4 nodes in INT8; 1 differ from the implicit build, 1 of them are not in its log" in text
    assert "not in the log, so perhaps INT8 in the implicit build:\n  conv2\n" in text
    assert "conv2  Conv  not named  float (differs)" in text


def test_a_log_of_another_model_is_refused(make_model, rng, real):
    model = make_model(
        [op("MatMul", "data w", "y", "other")],
        inputs={"data": [2, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4)},
    )
    with pytest.raises(QuantizationError, match=r"contains no node .*model: other; log: conv1, pool1"):
        migrate(model, real, log=PrecisionReport.from_log(LOG), placement="tensorrt")


@requires_corpus
def test_a_real_implicit_log_without_a_finished_build(lenet_path, real):
    from places import CORPUS

    log = CORPUS / "logs" / "trt8001_lannyyip_ocr_int8_calibcache_trtexec.log"
    with pytest.raises(ReportError, match="no complete build"):
        migrate(lenet_path, real, log=PrecisionReport.from_log(log), placement="tensorrt")


def test_selection_narrows_further(lenet_path, real):
    result = migrate(
        lenet_path,
        real,
        log=PrecisionReport.from_log(LOG),
        selection=Selection(exclude=("conv1",)),
        placement="tensorrt",
    )
    assert result.quantized.nodes == ("conv2", "ip1")
    assert next(row.why for row in result.rows if row.node == "conv1") == "excluded by exclude='conv1'"


def test_the_scale_behind_a_max_pool_says_nothing_of_what_is_before_it(make_model, rng):
    model = make_model(
        [
            op("Reshape", "x shape", "r", "reshape"),
            op("MaxPool", "r", "p", "pool", kernel_shape=[2, 2]),
            conv("r", "w", "y", "conv1"),
            conv("p", "w", "z", "conv2"),
        ],
        inputs={"x": [4, 64]},
        outputs=["y", "z"],
        weights={"w": weight(rng, 4, 4, 3, 3), "shape": np.array([1, 4, 8, 8])},
    )
    result = migrate(
        model, CalibrationCache.parse("TRT-8601-EntropyCalibration2\np: 3c008912\n"), placement="tensorrt"
    )
    assert result.quantized.nodes == ("conv2",)
    assert result.missing == ("r",)
    # … while a Reshape passes a scale on in both directions
    result = migrate(
        model, CalibrationCache.parse("TRT-8601-EntropyCalibration2\nx: 3c008912\n"), placement="tensorrt"
    )
    assert result.quantized.nodes == ("conv1", "conv2")
    assert result.moved == {"r": "x", "p": "x"}


def concat_model(make_model, rng):
    return make_model(
        [
            conv("x", "w", "a", "conv1"),
            op("Concat", "x a", "cat", "concat", axis=1),
            op("Conv", "cat v", "y", "conv2"),
        ],
        inputs={"x": [1, 4, 8, 8]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 4, 3, 3), "v": weight(rng, 4, 8, 1, 1)},
    )


def test_scales_that_would_be_shared_are_kept_and_named(make_model, rng):
    cache = CalibrationCache.parse("TRT-8601-EntropyCalibration2\nx: 3c008912\na: 3d000000\ncat: 3d800000\n")
    model = concat_model(make_model, rng)
    result = migrate(model, cache, placement="tensorrt")
    assert hexadecimal(result.model, "conv1") == "3c008912"
    assert hexadecimal(result.model, "conv2") == "3d800000"
    assert result.disagreements == ("concat (Concat): x 3c008912, cat 3d800000",)
    # quantize shares: the rule that migrate leaves out
    assert len({float(s) for s in quantize(model, cache.ranges(), placement="tensorrt").scales.values()}) == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.floats(min_value=2.0**-126, max_value=2.0**100, width=32, allow_subnormal=False),
        min_size=3,
        max_size=3,
    )
)
def test_any_scale_goes_there_and_back(scales):
    graph = helper.make_graph(
        [op("MatMul", "x y", "a"), op("MatMul", "a y", "b")],
        "two",
        [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [2, 2]) for n in ("x", "y")],
        [helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [2, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    body = "".join(
        f"{n}: {scale_to_hex(np.float32(s))}\n" for n, s in zip(("x", "y", "a"), scales, strict=True)
    )
    text = "TRT-8601-MinMaxCalibration\n" + body
    migrated = migrate(model, CalibrationCache.parse(text), placement="tensorrt").model
    assert cache_from_qdq(migrated).text == text
    # … and without the copy in the metadata, from the pairs alone
    del migrated.metadata_props[:]
    again = cache_from_qdq(migrated)
    assert {n: s.tobytes() for n, s in again.scales.items()} == {
        n: np.float32(s).tobytes() for n, s in zip(("x", "y", "a"), scales, strict=True)
    }


@pytest.mark.parametrize("path", corpus_files("caches", "trt*"))
def test_real_caches_come_back_byte_for_byte(path, make_model, rng):
    """A model that has the first usable tensor of each real cache; every other line is carried along."""
    cache = CalibrationCache.read(path)
    usable = [name for name, s in cache.scales.items() if 0 < s < np.inf]
    model = make_model(
        [helper.make_node("MatMul", [usable[0], "w"], ["our output"], name="n")],
        inputs={usable[0]: [2, 4]},
        outputs=["our output"],
        weights={"w": weight(rng, 4, 4)},
    )
    result = migrate(model, cache, placement="tensorrt")
    found = initializer(result.model, producer(result.model, node(result.model, "n").input[0]).input[1])
    assert found == cache.scales[usable[0]]
    assert set(result.gone) == set(cache.scales) - {usable[0]}
    assert cache_from_qdq(result.model).text.encode() == path.read_bytes().removeprefix(b"\xef\xbb\xbf")


class TestUnnamed:
    """Names TensorRT made up."""

    def index(self, make_model, rng, *, branch=False):
        nodes = [
            op("Gemm", "x w", "g1", "fc1"),
            op("Relu", "g1", "r1"),
            op("Gemm", "r1 w", "g2", "fc2"),
            op("Relu", "g2", "r2"),
        ]
        outputs = ["r2"]
        if branch:
            nodes.insert(1, op("Gemm", "x w", "side", "fc_side"))
            outputs.append("side")
        return GraphIndex(
            make_model(nodes, inputs={"x": [2, 4]}, outputs=outputs, weights={"w": weight(rng, 4, 4)})
        )

    def test_one_between_its_neighbours(self, make_model, rng):
        name = "(Unnamed Layer* 0) [Fully Connected]_output"
        found = resolve_unnamed(["x", name, "r1", "g2", "r2"], self.index(make_model, rng))
        assert found == {name: "g1"}

    def test_several_in_a_row_by_their_types(self, make_model, rng):
        names = ["(Unnamed Layer* 0) [Fully Connected]_output", "(Unnamed Layer* 1) [Activation]_output"]
        found = resolve_unnamed(["x", *names, "g2", "r2"], self.index(make_model, rng))
        assert found == dict(zip(names, ["g1", "r1"], strict=True))

    @pytest.mark.parametrize(
        "names",
        [
            ["x", "(Unnamed Layer* 0) [Activation]_output", "r1", "g2", "r2"],  # another type
            ["x", "(Unnamed Layer* 0) [Matrix Multiply]_output", "r1", "g2", "r2"],  # a product before its bias
            ["x", "(Unnamed Layer* 0) [Fully Connected]_output", "(Unnamed Layer* 1) [Fully Connected]_output", "r1", "g2", "r2"],  # too many
            ["x", "(Unnamed Layer* 9) [Fully Connected]_output", "r1", "(Unnamed Layer* 3) [Constant]_output", "g2", "g1", "r2"],  # nothing missing
            ["x", "(Unnamed ITensor* 4)", "r1", "g2", "r2"],  # no type
            ["x", "(Unnamed Layer* 7) [Fully Connected]_output", "(Unnamed Layer* 2) [Activation]_output", "g2", "r2"],  # order
            ["x", "another", "(Unnamed Layer* 0) [Fully Connected]_output", "r1", "g2", "r2"],  # a foreign name
            ["r2", "(Unnamed Layer* 0) [Fully Connected]_output", "x"],  # neighbours the wrong way round
        ],
    )  # fmt: skip
    def test_where_there_is_doubt_nothing_is_resolved(self, make_model, rng, names):
        assert resolve_unnamed(names, self.index(make_model, rng)) == {}

    def test_a_tensor_beside_the_path_is_not_taken(self, make_model, rng):
        index = self.index(make_model, rng, branch=True)
        name = "(Unnamed Layer* 1) [Fully Connected]_output"
        assert resolve_unnamed(["x", "g1", name, "r1", "g2", "r2"], index) == {}

    def test_constants_among_them_are_passed_over(self, make_model, rng):
        name = "(Unnamed Layer* 2) [Fully Connected]_output"
        constants = ["(Unnamed Layer* 0) [Constant]_output", "(Unnamed Layer* 1) [Shuffle]_output"]
        found = resolve_unnamed(["x", *constants, name, "r1", "g2", "r2"], self.index(make_model, rng))
        assert found == {name: "g1"}


def real_with_flat(cache):
    ranges = cache.ranges()
    return Ranges({**ranges, "pool2_flat": ranges["pool2"]})


class TestFromQdq:
    def test_a_model_from_elsewhere(self, lenet_path, real):
        model = quantize(lenet_path, real_with_flat(real), placement="tensorrt").model
        cache = cache_from_qdq(model)
        assert cache.header == "TRT-8601-EntropyCalibration2"
        assert {n: scale_to_hex(s) for n, s in cache.scales.items()} == {
            "data": "3c008912",
            "pool1": "3c88edfc",
            "pool2_flat": "3ddc858b",
            "ip1": "3db6bd6e",
        }

    def test_a_changed_scale_goes_before_the_kept_cache(self, lenet_path, real):
        model = migrate(lenet_path, real, placement="tensorrt").model
        for tensor in model.graph.initializer:
            if tensor.name == "data_scale":
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.float32(0.5), tensor.name))
        assert cache_from_qdq(model).text == REAL.replace("data: 3c008912", "data: 3f000000")

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("data_zero_point", np.uint8(128), "quantizes tensor 'data' asymmetrically"),
            ("data_scale", np.ones(2, np.float32), "a cache holds one constant scale for each tensor"),
        ],
    )
    def test_what_a_cache_cannot_express(self, lenet_path, real, name, value, message):
        model = migrate(lenet_path, real, placement="tensorrt").model
        for tensor in model.graph.initializer:
            if tensor.name == name:
                tensor.CopyFrom(onnx.numpy_helper.from_array(value, name))
        with pytest.raises(CacheError, match=message):
            cache_from_qdq(model)

    def test_a_float_model(self, lenet_path):
        with pytest.raises(CacheError, match="no Q/DQ pairs on activations"):
            cache_from_qdq(lenet_path)


@pytest.mark.parametrize("high_precision", ["fp32", "fp16"])
def test_an_input_of_texts(lenet_path, real, high_precision):
    model = onnx.load(lenet_path)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.STRING
    with pytest.raises(
        ModelError, match="input 'data' has type string, which TensorRT does not support; remove"
    ):
        migrate(model, real, high_precision=high_precision, placement="tensorrt")
    with pytest.raises(ModelError, match="input 'data' has type string"):
        quantize(model, real.ranges(), placement="tensorrt")


def test_the_path_of_a_cache_is_no_cache(lenet_path):
    with pytest.raises(
        TypeError, match=r"cache is 'model.cache' \(str\); give CalibrationCache.read\(path\)"
    ):
        migrate(lenet_path, "model.cache", placement="tensorrt")


def test_a_plan_for_other_pairs_is_refused(lenet_path, real):
    plan = PrecisionPlan({"conv1": "float"}, "p.yaml", target="tensorrt", placement="tensorrt")
    message = (
        r"p.yaml: was searched for placement 'tensorrt' \(target tensorrt\), but this is placement 'rtx',"
    )
    with pytest.raises(QuantizationError, match=message):
        migrate(lenet_path, real, selection=Selection(plan=plan), target="rtx")
    done = migrate(lenet_path, real, selection=Selection(plan=plan), target="tensorrt").quantized.nodes
    assert done == ("conv2", "ip1", "ip2")


def test_a_plan_does_not_quantize_what_the_log_has_in_float(lenet_path, real):
    """ip2 ran in FP16."""
    plan = PrecisionPlan({"conv1": "float", "conv2": "int8", "ip1": "int8", "ip2": "int8"})
    log = PrecisionReport.from_log(LOG)
    result = migrate(lenet_path, real, log=log, selection=Selection(plan=plan), placement="tensorrt")
    assert result.quantized.nodes == ("conv2", "ip1")
    unknown = Selection(plan=PrecisionPlan({"conv9": "int8"}, "p.yaml"))
    with pytest.raises(QuantizationError, match="p.yaml: the model has no node 'conv9'"):
        migrate(lenet_path, real, log=log, selection=unknown, placement="tensorrt")
