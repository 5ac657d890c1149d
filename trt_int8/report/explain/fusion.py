"""ONNX nodes of a layer, from its name, for layer information that does not list them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from trt_int8.graph.operators import DATA, MULTIPLYING_INSIDE, QDQ
from trt_int8.report.explain.kernels import REFORMAT_TYPES
from trt_int8.report.records import Layer

_JOINTS = re.compile(r" \+ | \|\| |, (?=PWN\()")
_PROFILE = re.compile(r" \[profile \d+\]")
_WEIGHT = re.compile(
    r"(?:^|[._/])(?:weight|bias|running_mean|running_var|weight_v|weight_g)$|\[(?:Shuffle|Constant)\]$"
)
_OPS = sorted(
    {*MULTIPLYING_INSIDE, *DATA, *QDQ, "Relu", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish"}
    | {"Tanh", "Clip", "Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Erf", "Softmax", "TopK", "Resize"}
    | {
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "ReduceMean",
        "BatchNormalization",
        "LayerNormalization",
    }
)
#: Exporters name nodes after their operator: "Conv_65", "/backbone/conv1/Conv".
_NAMED_AFTER_OP = re.compile(rf"(?:^|/)({'|'.join(_OPS)})(?:_\d+)?$")


def fused_nodes(layer: Layer, ops: Mapping[str, str], registered: Mapping[str, str]) -> tuple[str, ...]:
    """Return the nodes in ``a + b``, ``a || b``, ``PWN(a, b)``, without weights and constants.

    If the network is known (``ops``), only its nodes count, by name or by that of the TensorRT layer that was
    ``registered`` for them. Else every part that is not a weight counts.
    """
    if layer.type in REFORMAT_TYPES and layer.name.startswith("Reformatting CopyNode"):
        return ()
    name = _PROFILE.sub("", layer.name) if " [profile " in layer.name else layer.name
    if name in ops:
        return (name,)
    if name.startswith("{ForeignNode["):
        # Only the two ends are named: "{ForeignNode[first...last]}".
        ends = name[len("{ForeignNode[") :].removesuffix("]}").split("...")
        return tuple(end for end in ends if end in ops)
    found = []
    for part in _JOINTS.split(name):
        node = _known(part, ops, registered)
        if node is not None:
            found.append(node)
        elif ops and ", " in part:
            # "PWN(PWN(a), b)": the names themselves may hold commas, so whole parts come first.
            known = (_known(each, ops, registered) for each in part.split(", "))
            found += [node for node in known if node is not None]
        elif not ops and not _WEIGHT.search(part):
            found.append(_bare(part))
    return tuple(dict.fromkeys(found))


def guess_op(node: str) -> str | None:
    """Return the operator at the end of a node's name, where exporters put it, or None."""
    found = _NAMED_AFTER_OP.search(node)
    return found.group(1) if found else None


def _known(part: str, ops: Mapping[str, str], registered: Mapping[str, str]) -> str | None:
    for form in (part, _bare(part)):
        if form in ops:
            return form
        node = registered.get(form)
        if node is not None and node in ops:
            return node
    return None


def _bare(part: str) -> str:
    """Return ``a`` for ``PWN(PWN(a`` and ``b`` for ``b))``. Brackets of the name itself stay."""
    start = 0
    while part.startswith("PWN(", start):
        start += 4
    surplus = part.count(")", start) - part.count("(", start)
    end = len(part)
    while surplus > 0 and end > start and part[end - 1] == ")":
        end, surplus = end - 1, surplus - 1
    return part[start:end]
