"""Convert Upsample, and Resize of opset 10, to a Resize that means the same.

onnx's converter makes an Upsample a Resize with another output name, and leaves to Resize's own default how
positions map. The older operators say: output position i reads i / scale, rounded down where mode is nearest.
"""

from __future__ import annotations

import onnx
from onnx import helper

from trt_int8.model.graph import GraphIndex, all_nodes

#: The last opset whose Resize and Upsample map positions so.
LAST = 10
_MAPPING = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def convert_upsample(model: onnx.ModelProto, *, original: onnx.ModelProto) -> bool:
    """Give each Resize that onnx's converter made its meaning and its names back.

    A tensor that an Upsample made gets its name again where its readers show which one it is.

    Args:
        model: what the converter made of ``original``; changed in place.
        original: the model at opset `LAST` or an earlier one.

    Returns:
        Whether the graph changed.
    """
    changed = False
    for node in all_nodes(model.graph):
        if node.op_type == "Resize":
            kept = [entry for entry in node.attribute if entry.name not in _MAPPING]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.extend(helper.make_attribute(name, value) for name, value in _MAPPING.items())
            changed = True
    before = GraphIndex(original)
    # From the last to the first: a reader is found by its output, whose name may have to come back too.
    for upsample in reversed([node for node in original.graph.node if node.op_type == "Upsample"]):
        _rename(model, upsample, before)
    return changed


def _rename(converted: onnx.ModelProto, upsample: onnx.NodeProto, before: GraphIndex) -> None:
    after, name = GraphIndex(converted), upsample.output[0]
    found = set()
    for use in before.consumers.get(name, ()):
        reader = after.producers.get(use.node.output[0])
        if reader is not None and use.slot < len(reader.input):
            found.add(reader.input[use.slot])
    if name in after.names or len(found) != 1:
        return
    (new,) = found
    resize = after.producers.get(new)
    if resize is None or resize.op_type != "Resize":
        return
    resize.name, resize.output[0] = upsample.name, name
    for use in after.consumers[new]:
        use.node.input[use.slot] = name
    for value in converted.graph.value_info:
        if value.name == new:
            value.name = name
