"""Q/DQ insertion on a network of 5,000 nodes: seconds, and the ratio to what ``onnx.checker`` takes."""

from __future__ import annotations

import statistics
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from results import save

from trt_int8.quantization import quantize, required_tensors
from trt_int8.ranges.ranges import Ranges, TensorRange

NODES = 5_000
ROUNDS = 3


def network() -> onnx.ModelProto:
    """Residual blocks Conv → Relu → Conv → Add → Relu."""
    rng = np.random.default_rng(0)
    nodes, weights, x = [], [], "x"
    for block in range(NODES // 5):
        names = [f"b{block}_{i}" for i in range(5)]
        for i in (0, 2):
            values = rng.normal(size=(8, 8, 3, 3)).astype(np.float32)
            weights.append(numpy_helper.from_array(values, f"w{block}_{i}"))
            source = x if i == 0 else names[1]
            nodes.append(helper.make_node("Conv", [source, f"w{block}_{i}"], [names[i]], pads=[1] * 4))
            if i == 0:
                nodes.append(helper.make_node("Relu", [names[0]], [names[1]]))
        nodes.append(helper.make_node("Add", [names[2], x], [names[3]]))
        nodes.append(helper.make_node("Relu", [names[3]], [names[4]]))
        x = names[4]
    shape = [1, 8, 16, 16]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> None:
    model = network()
    names = ["x", *(name for node in model.graph.node for name in node.output)]
    ranges = Ranges({name: TensorRange(1.0, source="benchmark") for name in names})

    def seconds(function, *arguments) -> float:
        start = time.process_time()
        function(*arguments)
        return time.process_time() - start

    work = {
        "onnx.checker, full": (onnx.checker.check_model, model, True),
        "required_tensors": (required_tensors, model),
        "quantize": (quantize, model, ranges),
    }
    times = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, (function, *arguments) in work.items():
            times[name].append(seconds(function, *arguments))
    base = statistics.median(times["onnx.checker, full"])
    print(f"{len(model.graph.node)} nodes\n| | CPU s | ratio |\n| --- | --- | --- |")
    rows = []
    for name, runs in times.items():
        rows.append({"what": name, "cpu_s": statistics.median(runs), "ratio": statistics.median(runs) / base})
        print(f"| {name} | {rows[-1]['cpu_s']:.2f} | {rows[-1]['ratio']:.1f} |")
    save("insert_qdq", rows, rounds=ROUNDS, nodes=len(model.graph.node))


if __name__ == "__main__":
    main()
