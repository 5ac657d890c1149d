"""Split a tensor before it is transposed, not after: the values are the same, with fewer kernels.

Attention computes query, key and value in one MatMul, transposes it and splits it. TensorRT-RTX moves such
splits up through Transpose and into the MatMul, whose weights it then dequantizes. It does not do so if each
part is transposed separately.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from trt_int8.graph.index import GraphIndex, Names, attribute, is_standard, opset_version
from trt_int8.graph.tensors import ConstantOperands

_LAST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class SplitTranspose:
    """A Transpose whose output ``transposed`` is only split, always along ``axis``."""

    transposed: str
    axis: int


def find_split(node: onnx.NodeProto, index: GraphIndex, constants: ConstantOperands) -> SplitTranspose | None:
    """Return ``node`` if it is a Transpose that only Split, Slice and Gather with constant indices read."""
    if node.op_type != "Transpose" or not node.attribute:
        return None
    tensor = node.output[0]
    uses = index.consumers.get(tensor, [])
    if len(uses) == 0 or tensor in index.outputs or tensor in index.used_in_bodies:
        return None
    rank = len(_permutation(node))
    axes = {_axis(use.node, rank, constants) if use.slot == 0 else None for use in uses}
    if len(axes) != 1 or None in axes:
        return None
    (axis,) = axes
    assert axis is not None
    # A single part gains nothing.
    return SplitTranspose(tensor, axis) if len(uses) > 1 or uses[0].node.op_type == "Split" else None


def split_before_transpose(
    model: onnx.ModelProto, *, splits: Sequence[SplitTranspose], index: GraphIndex | None = None
) -> bool:
    """Split the input of each Transpose of ``splits``, and transpose the parts, which keep their names."""
    if not splits:
        return False
    index = index or GraphIndex(model)
    names = Names(index)
    constants = ConstantOperands(index, opset_version(model))
    replaced: dict[str, list[onnx.NodeProto]] = {}  # by the first output that has a name
    for entry in splits:
        transpose = index.producers[entry.transposed]
        replaced[_output(transpose)] = []
        for use in index.consumers[entry.transposed]:
            replaced[_output(use.node)] = _part(model, use.node, transpose, entry.axis, constants, names)
    nodes = [new for node in model.graph.node for new in replaced.get(_output(node), [node])]
    copies = [onnx.NodeProto() for _ in nodes]
    for copy, node in zip(copies, nodes, strict=True):
        copy.CopyFrom(node)
    del model.graph.node[:]
    model.graph.node.extend(copies)
    gone = {entry.transposed for entry in splits}
    kept = [value for value in model.graph.value_info if value.name not in gone]
    del model.graph.value_info[:]
    model.graph.value_info.extend(kept)
    return True


def _part(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    transpose: onnx.NodeProto,
    axis: int,
    constants: ConstantOperands,
    names: Names,
) -> list[onnx.NodeProto]:
    """Return nodes that compute the outputs of ``node``, a consumer of ``transpose``, without it."""
    permutation = _permutation(transpose)
    before = permutation[axis]
    taken = onnx.NodeProto()
    taken.CopyFrom(node)
    taken.input[0] = transpose.input[0]
    squeezed = False
    if node.op_type == "Split":
        del taken.attribute[:]
        taken.attribute.extend(a for a in node.attribute if a.name != "axis")
        taken.attribute.append(helper.make_attribute("axis", before))
    else:
        limits, indices = _limits(node, constants), _value(node, 1, constants)
        assert limits is not None
        assert indices is not None
        squeezed = node.op_type == "Gather" and indices.ndim == 0
        numbers = [
            _initializer(model, names, f"{node.output[0]}_{name}", value)
            for name, value in zip(("start", "end", "axis"), (*limits, before), strict=True)
        ]
        taken = helper.make_node("Slice", [transpose.input[0], *numbers], [node.output[0]], node.name)
    nodes = [taken]
    for number, output in enumerate(node.output):
        if not output:
            continue
        part = names.fresh(f"{output}_part")
        taken.output[number] = part
        turned = names.fresh(f"{output}_transposed") if squeezed else output
        name = names.fresh(f"{output}_Transpose")
        nodes.append(helper.make_node("Transpose", [part], [turned], name, perm=permutation))
        if squeezed:
            axes = _initializer(model, names, f"{output}_axes", axis)
            name = names.fresh(f"{output}_Squeeze")
            nodes.append(helper.make_node("Squeeze", [turned, axes], [output], name))
    return nodes


def _output(node: onnx.NodeProto) -> str:
    return next((name for name in node.output if name), "")


def _permutation(transpose: onnx.NodeProto) -> list[int]:
    return next(list(a.ints) for a in transpose.attribute if a.name == "perm")


def _axis(node: onnx.NodeProto, rank: int, constants: ConstantOperands) -> int | None:
    """Return the axis along which ``node`` takes a part; None if it does something else."""
    if not is_standard(node):
        return None
    if node.op_type == "Split":
        return attribute(node, "axis", 0) % rank
    if node.op_type not in ("Slice", "Gather") or _limits(node, constants) is None:
        return None
    if node.op_type == "Gather":
        return attribute(node, "axis", 0) % rank
    axes = _value(node, 3, constants)
    return int(0 if axes is None else axes.item()) % rank


def _limits(node: onnx.NodeProto, constants: ConstantOperands) -> tuple[int, int] | None:
    """Return first and last + 1 of the one run that a Slice or Gather with constant indices takes."""
    if node.op_type == "Gather":
        taken = _value(node, 1, constants)
        if taken is None or taken.size != 1 or taken.ndim > 1:
            return None
        start = int(taken.item())
        return start, _LAST if start == -1 else start + 1
    values = [_value(node, slot, constants) for slot in (1, 2, 3, 4)]
    if any(len(node.input) > slot and node.input[slot] and values[slot - 1] is None for slot in (1, 2, 3, 4)):
        return None
    start_, end, _, steps = values
    if start_ is None or end is None or any(v is not None and v.size != 1 for v in values):
        return None
    if steps is not None and steps.item() != 1:
        return None
    return int(start_.item()), int(end.item())


def _value(node: onnx.NodeProto, slot: int, constants: ConstantOperands) -> npt.NDArray[np.generic] | None:
    return constants.value(node.input[slot]) if len(node.input) > slot else None


def _initializer(model: onnx.ModelProto, names: Names, name: str, value: int) -> str:
    name = names.fresh(name)
    model.graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    return name
