"""Bias correction: quantization shifts the mean of what a node computes; its bias takes that back.

Source: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction"
(arXiv:1906.04721), section 4.2, the empirical form: node by node in graph order, E[y − ŷ] per output
channel, measured with everything before the node corrected already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8 import progress
from trt_int8.model.graph import GraphIndex
from trt_int8.remedies.addends import Addends
from trt_int8.runtime import Session

Batch = Mapping[str, npt.NDArray[np.generic]]


def correct_bias(
    reference: onnx.ModelProto, quantized: onnx.ModelProto, batches: Sequence[Batch]
) -> onnx.ModelProto:
    """A copy of ``quantized`` whose Conv, Gemm and MatMul have the means of ``reference``.

    Args:
        reference: the float model.
        quantized: the same with Q/DQ nodes.
        batches: checked calibration batches; read once for each node and once more.

    Raises:
        ModelError: onnxruntime cannot run a model.
    """
    corrected = onnx.ModelProto()
    corrected.CopyFrom(quantized)
    index = GraphIndex(reference)
    outputs = [name for name in _multiplied(quantized) if name in index.producers]
    if not outputs:
        return corrected
    wanted = _means(reference, outputs, batches)
    for output in progress.track(outputs, "correcting biases", total=len(outputs), unit="nodes"):
        (found,) = _means(corrected, [output], batches).values()
        Addends(corrected).add_per_channel(output, wanted[output] - found)
    return corrected


def _multiplied(model: onnx.ModelProto) -> list[str]:
    """Outputs of nodes that read dequantized activations, in graph order."""
    index = GraphIndex(model)
    return [
        node.output[0]
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul")
        and any(
            index.producers[name].op_type == "DequantizeLinear"
            for name in node.input[:2]
            if name in index.producers
        )
    ]


def _means(
    model: onnx.ModelProto, names: Sequence[str], batches: Sequence[Batch]
) -> dict[str, npt.NDArray[np.float64]]:
    """Mean of each tensor per output channel: axis 1 of a convolution, else the last one."""
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    known = {output.name for output in model.graph.output}
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    index = GraphIndex(model)
    session = Session(extended, optimize=False)
    sums: dict[str, npt.NDArray[np.float64]] = {}
    counts = dict.fromkeys(names, 0)
    for number, batch in enumerate(batches):
        for name, values in zip(names, session.run(batch, names, place=f"batch {number}"), strict=True):
            axis = 1 if _is_convolution(name, index) else values.ndim - 1
            others = tuple(i for i in range(values.ndim) if i != axis)
            sums[name] = sums.get(name, 0) + values.astype(np.float64).sum(axis=others)
            counts[name] += values.size // values.shape[axis]
    return {name: total / counts[name] for name, total in sums.items()}


def _is_convolution(name: str, index: GraphIndex) -> bool:
    """Whether ``name`` is [batch, channels, …]: from a Conv, or the BatchNormalization behind one."""
    return index.producers[name].op_type in ("Conv", "BatchNormalization")
