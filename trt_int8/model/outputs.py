"""Make tensors of a graph its outputs, so that a run returns their values."""

from __future__ import annotations

from collections.abc import Iterable

import onnx


def with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """Return a copy of ``model`` that has the tensors ``names`` among its outputs.

    Args:
        model: any model; it is never changed.
        names: tensors that its nodes compute. Those that are outputs already stay where they are.
    """
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    return extended
