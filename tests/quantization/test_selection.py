"""--op-types, --nodes, --exclude, and precision plans."""

import onnx
import pytest
from graphs import ranges

from trt_int8.errors import QuantizationError
from trt_int8.quantization import PLACEMENTS, PrecisionPlan, Selection, quantize

AMAX = dict.fromkeys(["data", "conv1", "pool1", "conv2", "pool2", "pool2_flat", "ip1_pre", "ip1"], 2.0)


def nodes(lenet_path, **choice):
    result = quantize(lenet_path, ranges(**AMAX), selection=Selection(**choice), placement="tensorrt")
    return result.nodes, {entry.node: entry.reason for entry in result.skipped}


def test_op_types(lenet_path):
    done, skipped = nodes(lenet_path, op_types=("Gemm",))
    assert done == ("ip1", "ip2")
    assert skipped == dict.fromkeys(["conv1", "conv2"], "Conv is not among op_types")
    with pytest.raises(QuantizationError, match="op_types='conv': only Conv, ConvTranspose, "):
        nodes(lenet_path, op_types=("conv",))


def test_globs(lenet_path):
    assert nodes(lenet_path, nodes=("conv*", "ip2"))[0] == ("conv1", "conv2", "ip2")
    done, skipped = nodes(lenet_path, nodes=("conv*", "ip2"), exclude=("*2",))
    assert done == ("conv1",)
    assert skipped["conv2"] == "excluded by exclude='*2'"
    assert skipped["ip1"] == "no pattern of nodes matches its name"
    assert nodes(lenet_path, exclude=("*1", "*2", "pool?"), plan=PrecisionPlan({"ip1": "int8"}))[0] == (
        "ip1",
    )


@pytest.mark.parametrize("option", ["nodes", "exclude"])
def test_a_glob_without_a_node_is_a_mistake(lenet_path, option):
    with pytest.raises(
        QuantizationError,
        match=rf"{option}='convx\*' matches none of the 9 nodes of the model; nearest names: conv",
    ):
        nodes(lenet_path, **{option: ("convx*",)})


def test_brackets_and_stars_in_a_name_stand_for_themselves(rng):
    names = ["blk[0]/conv", "blk[1]/conv", "blk*/conv", "blk0/conv"]
    weight = rng.normal(size=(3, 3, 1, 1)).astype("f4")
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [
                onnx.helper.make_node("Conv", [f"t{i}", "w"], [f"t{i + 1}"], name=name)
                for i, name in enumerate(names)
            ],
            "g",
            [onnx.helper.make_tensor_value_info("t0", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
            [onnx.helper.make_tensor_value_info("t4", onnx.TensorProto.FLOAT, [1, 3, 8, 8])],
            [onnx.numpy_helper.from_array(weight, "w")],
        ),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )

    def quantized(**choice):
        result = quantize(
            model,
            ranges(**{f"t{i}": 2.0 for i in range(4)}),
            selection=Selection(**choice),
            placement="tensorrt",
        )
        return list(result.nodes)

    for name in names:
        assert quantized(nodes=(name,)) == [name]
        assert quantized(exclude=(name,)) == [other for other in names if other != name]
    assert quantized(nodes=("blk[?]/*",)) == names[:2]
    assert quantized(nodes=("blk?/conv",)) == names[2:]


def test_plan(lenet_path, tmp_path):
    plan = PrecisionPlan({"conv1": "float", "ip1": "int8"})
    plan.write(tmp_path / "plan.yaml")
    assert (tmp_path / "plan.yaml").read_text() == "schema: 1\nnodes:\n  conv1: float\n  ip1: int8\n"
    read = PrecisionPlan.read(tmp_path / "plan.yaml")
    assert read.nodes == plan.nodes
    done, skipped = nodes(lenet_path, plan=read, op_types=("Conv",))
    assert done == ("conv2", "ip1")  # the plan goes before --op-types
    assert skipped["conv1"] == "float in the precision plan"


def test_names_that_yaml_takes_for_numbers_or_booleans(tmp_path):
    (tmp_path / "p.yaml").write_text("schema: 1\nnodes:\n  106: int8\n  no: float\n  /a/b/Conv: int8\n")
    assert PrecisionPlan.read(tmp_path / "p.yaml").nodes == {
        "106": "int8",
        "no": "float",
        "/a/b/Conv": "int8",
    }


def test_a_plan_that_cannot_be_kept(lenet_path):
    with pytest.raises(
        QuantizationError, match="the precision plan: the model has no node 'conv3'; did you mean 'conv"
    ):
        nodes(lenet_path, plan=PrecisionPlan({"conv3": "int8"}))
    with pytest.raises(
        QuantizationError, match="node 'relu1' cannot be int8: no rule of placement 'tensorrt'"
    ):
        nodes(lenet_path, plan=PrecisionPlan({"relu1": "int8"}))
    few = {name: amax for name, amax in AMAX.items() if name != "ip1"}
    with pytest.raises(QuantizationError, match="node 'ip2' cannot be int8: no range for tensor 'ip1'"):
        quantize(
            lenet_path,
            ranges(**few),
            selection=Selection(plan=PrecisionPlan({"ip2": "int8"})),
            placement="tensorrt",
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes:\n  a: int8\n", "schema is None; a precision plan starts with 'schema: 1'"),
        ("schema: 2\nnodes:\n  a: int8\n", "schema is 2"),
        ("schema: 1\n", "nodes must map node names to int8 or float"),
        ("schema: 1\nnodes:\n  a: fp16\n", "node 'a' has precision 'fp16'; write int8 or float"),
        ("schema: 1\nnodes: {a: int8}\nlayers: {}\n", "unknown key 'layers'"),
        ("schema: [1\n", "not YAML"),
        ("- a\n", "schema is None"),
    ],
)
def test_bad_plans(tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(QuantizationError, match=r"p\.yaml:") as caught:
        PrecisionPlan.read(tmp_path / "p.yaml")
    assert message in str(caught.value)


def test_unreadable_plan(tmp_path):
    with pytest.raises(QuantizationError, match="no.yaml: cannot be read: No such file"):
        PrecisionPlan.read(tmp_path / "no.yaml")


def test_rules_can_be_switched_off(lenet_path):
    placement = PLACEMENTS["tensorrt"].without("gemm", "convolution")
    with pytest.raises(QuantizationError, match="no node can be quantized: "):
        quantize(lenet_path, ranges(**AMAX), placement=placement)


def test_a_plan_for_other_pairs_is_refused(lenet_path):
    plan = PrecisionPlan({"ip1": "float"}, "p.yaml", placement="rtx")
    with pytest.raises(QuantizationError, match=r"^p.yaml: was searched for placement 'rtx', but this is"):
        nodes(lenet_path, plan=plan)
    fitting = PrecisionPlan({"ip1": "float"}, placement="tensorrt")
    assert nodes(lenet_path, plan=fitting)[0] == ("conv1", "conv2", "ip2")
