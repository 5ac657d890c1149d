"""Model, data, options and plan are checked before any work."""

import numpy as np
import pytest
from onnx import TensorProto, helper

import trt_int8
from trt_int8.errors import DataError, QuantizationError
from trt_int8.graph.model import Model
from trt_int8.pipeline import QuantizationOptions, quantize_from_data
from trt_int8.pipeline.prepare import prepare
from trt_int8.quantization import PLACEMENTS, PrecisionPlan, Selection


def test_a_plan_for_other_pairs_is_refused(one_sided, data):
    model, _ = one_sided
    plan = PrecisionPlan(
        {"first": "float"}, "plan.yaml", target="tensorrt", placement="tensorrt", budget={"min_sqnr": 22.0}
    )
    options = QuantizationOptions(plan=plan)
    made = quantize_from_data(model, data(16), target="tensorrt", options=options)
    assert made.quantized.nodes == ("second",)
    with pytest.raises(
        QuantizationError,
        match=r"plan.yaml: was searched for placement 'tensorrt' \(target tensorrt\), but this is placement "
        r"'rtx', .*; search the plan again for placement 'rtx', or use placement 'tensorrt'$",
    ):
        quantize_from_data(model, data(16), target="rtx", options=options)
    for more in ({"placement": PLACEMENTS["tensorrt"].without("residual-add")}, {"placement": "rtx"}):
        options = QuantizationOptions(selection=Selection(plan=plan), **more)
        with pytest.raises(
            QuantizationError, match="but this is placement '(rtx|tensorrt without residual-add)'"
        ):
            quantize_from_data(model, data(16), target="tensorrt", options=options)


def test_wrong_data_names_the_batch(one_sided, data):
    model, _ = one_sided
    batches = data(12)
    batches[9]["x"][0, 3] = np.nan
    with pytest.raises(DataError, match="the data, batch 9, input 'x', index"):
        quantize_from_data(model, batches)
    with pytest.raises(DataError, match="the data is the path 'samples.npz'; read it first"):
        trt_int8.quantize_from_data(model, "samples.npz")


class WithoutLength:
    """An iterable whose length is not known, like torch's DataLoader of an IterableDataset."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)

    def __len__(self):
        raise TypeError("no len()")


@pytest.mark.parametrize("source", [WithoutLength, np.stack])
def test_sources_without_a_truth_value_are_read(lenet_path, source):
    made = prepare(
        lenet_path,
        batches=source([np.full((1, 1, 28, 28), n, np.float32) for n in range(8)]),
        for_engine=True,
    )
    assert [batch["data"][0, 0, 0, 0] for batch in made.data.held] == [1, 5]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"high_precision": "fp61"}, "high_precision is 'fp61'; choose 'fp32' or 'fp16'"),
        ({"scale_dtype": "fp16"}, "scale_dtype='fp16' needs an FP16 or BF16 model"),
        ({"algorithm": "mes"}, "algorithm is 'mes'; it must be one of entropy, minmax, percentile, mse"),
        ({"recentred": ["nope"]}, "recentred='nope' matches no tensor; the first of 4 names: "),
        ({"recentred": "nope"}, r"recentred is 'nope' \(str\); give a list: \['nope'\]"),
    ],
)
def test_wrong_options_are_refused_before_any_sample_is_read(one_sided, wrong, message):
    model, _ = one_sided

    def unread():
        raise AssertionError("a sample was read")
        yield

    with pytest.raises((ValueError, TypeError, QuantizationError), match=message):
        quantize_from_data(model, unread(), options=QuantizationOptions(**wrong))


@pytest.mark.parametrize(
    ("x", "y", "held"),
    [
        ("n", "n", [8]),
        ("seq", 1, []),
        ("seq", "n", []),
        ("?", "?", [8]),
        ("d.0", "d.3", [8]),
        ("s0", "s3", []),
    ],
)
def test_only_a_batch_axis_is_cut(x, y, held):
    node = helper.make_node("Relu", ["x"], ["y"])
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None if size == "?" else size, 16])
        for name, size in (("x", x), ("y", y))
    )
    model = helper.make_model(helper.make_graph([node], "g", [given], [made]))
    data = prepare(Model(model), batches=[np.ones((32, 16), np.float32)]).data
    assert [len(batch["x"]) for batch in data.held] == held
    assert [len(batch["x"]) for batch in data] == [32 - sum(held)]
