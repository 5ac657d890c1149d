"""The rules for how the graph changes around the pairs."""

import numpy as np
from graphs import initializer, joint_attention, op, producer, weight
from onnx import TensorProto
from rules import quantized, rule


@rule("parts-before-transpose")
def parts_before_transpose(make_model, rng, placement):
    result = quantized(joint_attention(make_model, rng, "slice"), placement)
    for name in "qkv":
        assert producer(result.model, name).op_type == "Squeeze"
        assert producer(result.model, f"{name}1_part").input[0] == "heads"
    assert producer(result.model, "turned") is None


@rule("fold-small-constants")
def fold_small_constants(make_model, rng, placement):
    model = make_model(
        [
            op("Shape", "x", "shape"),
            op("Gather", "shape last", "width", axis=0),
            op("Cast", "width", "number", to=TensorProto.FLOAT),
            op("Sqrt", "number", "root"),
            op("Div", "x root", "scaled"),
            op("MatMul", "scaled w", "y"),
        ],
        inputs={"x": [3, 4]},
        outputs=["y"],
        weights={"w": weight(rng, 4, 5), "last": np.int64(-1)},
    )
    result = quantized(model, placement)
    assert not {"Shape", "Gather", "Cast", "Sqrt"} & {n.op_type for n in result.model.graph.node}
    assert initializer(result.model, "root") == 2
