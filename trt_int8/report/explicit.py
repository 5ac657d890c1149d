"""Networks with Q/DQ: a layer gets INT8 only where the operands of its node are dequantized values."""

from __future__ import annotations

from trt_int8.model.operators import DATA, MULTIPLYING_INSIDE
from trt_int8.report import evidence
from trt_int8.report.kernels import is_qdq, multiplies
from trt_int8.report.network import Network, NetworkNode, names
from trt_int8.report.records import Layer, Reason


def explicit_reason(layer: Layer, network: Network) -> Reason | None:
    """A network with Q/DQ: a layer gets INT8 only where its nodes' operands are dequantized values."""
    deciding = _deciding_node(layer, network)
    if deciding is None:
        return None
    lines = (*evidence.of_layer(layer), *evidence.of_node(deciding))
    weighs = deciding.op in MULTIPLYING_INSIDE
    if weighs and not multiplies(layer, network.ops):
        return Reason(
            "not_offered",
            f"does not multiply: it scales, adds or activates for {deciding.op} {deciding.name}, which "
            "multiplies in another kernel",
            lines,
        )
    # Of a node without weights, what is computed counts, not its parameters.
    computed = tuple(tensor for tensor in deciding.inputs if tensor in network.producers)
    read = deciding.inputs[:2] if weighs else computed or deciding.inputs[:1]
    bare = [tensor for tensor in read if not network.is_dequantized(tensor)]
    if bare:
        what = "operands" if weighs else "inputs"
        return Reason(
            "not_offered",
            f"{deciding.op} {deciding.name} is not quantized: of its {what}, {names(bare)} "
            f"{'comes' if len(bare) == 1 else 'come'} from no DequantizeLinear",
            lines,
        )
    if not weighs and deciding.outputs and not all(map(network.is_quantized_next, deciding.outputs)):
        return Reason(
            "not_offered",
            f"{deciding.op} {deciding.name} has Q/DQ on its inputs only: {names(deciding.outputs)} is "
            "read unquantized, and layers without weights need a QuantizeLinear behind them too",
            lines,
        )
    read_dtype = layer.inputs[0].dtype if layer.inputs else layer.precision
    return Reason(
        "no_int8_kernel",
        f"{deciding.op} {deciding.name} has Q/DQ where INT8 needs it, yet its kernel reads {read_dtype}: "
        "this builder has no INT8 kernel for it",
        lines,
    )


def _deciding_node(layer: Layer, network: Network) -> NetworkNode | None:
    """Of a layer's ONNX nodes, the one that multiplies in it, or the first that computes."""
    held = [node for name in layer.onnx_nodes if (node := network.nodes.get(name)) is not None]
    held = [node for node in held if not is_qdq(node.name, node.op)]
    if multiplies(layer, network.ops):
        weighs = [node for node in held if node.op in MULTIPLYING_INSIDE]
        if weighs:
            return weighs[0]
    elementwise = [node for node in held if node.op not in MULTIPLYING_INSIDE and node.op not in DATA]
    return next(iter(elementwise), held[0] if held else None)
