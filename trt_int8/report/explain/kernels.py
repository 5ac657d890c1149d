"""The kind of a kernel, from its type and name: it copies, quantizes or computes, and may multiply."""

from __future__ import annotations

import re
from functools import lru_cache

from trt_int8.graph.operators import MULTIPLYING_INSIDE, QDQ
from trt_int8.report.records import Layer

#: Layer types that multiply activations by weights (or by activations).
_MULTIPLY = re.compile(
    r"conv|gemm|matmul|matrixmultiply|matrix_multiply|fullyconnected|fully_connected|correlation|mha|i8816|"
    r"fusedblocklocalmlp|einsum|\bfc\b|fusedconvact",
    re.IGNORECASE,
)
#: Myelin writes the operators of a generated kernel into its name: ``__myl_MulMinMaxRounCast_myl0_0``.
_GENERATED = re.compile(r"^__myl_((?:[A-Z][a-z0-9]*)+?)(?:_myl\d+_\d+|_0x[0-9a-f]+|_\d+|$)")
_OPERATOR = re.compile(r"[A-Z][a-z0-9]*")
_MOVES = frozenset(
    {"Move", "Copy", "Tran", "Resh", "Conc", "Slic", "Pad", "Expa", "Broa", "Repl"}
    | {"Sque", "Unsq", "Spli", "Gath"}
)
_QUANTIZE = frozenset({"Mul", "Min", "Max", "Roun", "Cast", "Div", "Clip"})
_LOW = frozenset({"int8", "fp8", "int4", "fp4"})
#: Layer types that only provide data or move it.
_DATA_TYPES = frozenset(
    {"Constant", "shape_call", "TrainStation", "DeviceToShapeHost", "ShapeHostToDevice", "signal", "wait"}
    | {"Shuffle", "Slice", "Concat", "Gather"}
)
REFORMAT_TYPES = ("Reformat", "MyelinReformat", "NoOp")
_QDQ_NAME = re.compile(r"(?:Quantize|Dequantize)Linear|_(?:weight|input)_quantizer/")


def is_qdq(node: str, op: str | None) -> bool:
    """Tell if an ONNX node only quantizes or dequantizes."""
    return op in QDQ if op is not None else bool(_QDQ_NAME.search(node))


def operators(layer: Layer) -> tuple[str, ...]:
    """Return the operators in the name of a generated Myelin kernel; () for other kernels."""
    return _operators(layer.name) or _operators(layer.tactic_name or "")


@lru_cache(maxsize=4096)
def _operators(name: str) -> tuple[str, ...]:
    found = _GENERATED.match(name) if name.startswith("__myl_") else None
    return tuple(_OPERATOR.findall(found.group(1))) if found else ()


@lru_cache(maxsize=1024)
def _is_multiplying_type(type_: str) -> bool:
    return type_ not in (*REFORMAT_TYPES, "Constant") and bool(_MULTIPLY.search(type_))


def multiplies(layer: Layer, ops: dict[str, str]) -> bool:
    """Tell if this kernel is a convolution or matrix multiplication.

    ``ops`` maps ONNX node names to their operator, as far as it is known. A generated kernel multiplies if
    its name holds ``MulSum`` or ``Fc`` and, if operators are known, one of its nodes multiplies (``MulSum``
    also occurs in normalizations).
    """
    names = operators(layer)
    if names or layer.type == "kgen":
        if not ("Fc" in names or "Gemm" in names or "Conv" in names or _product_at(names) is not None):
            return "fc" in layer.name.lower() and "runtime_fusion" in layer.name.lower()
        known = [ops[node] for node in layer.onnx_nodes if node in ops]
        if known and "Fc" not in names:
            return any(op in MULTIPLYING_INSIDE for op in known)
        return (
            "Fc" in names
            or any(_is_matrix(tensor.dims) for tensor in layer.constants)
            or len(layer.inputs) > 1
        )
    return _is_multiplying_type(layer.type)


def dequantizes_first(layer: Layer) -> bool:
    """Tell if a generated kernel casts its inputs to float before it multiplies."""
    names = operators(layer)
    product = _product_at(names)
    return "Cast" in names[: len(names) if product is None else product]


def kind(layer: Layer, ops: dict[str, str]) -> str:
    """Return ``reformat``, ``quantize``, ``data`` or ``compute`` by the rules of docs/report-schema.md."""
    type_ = layer.type
    if type_ in _DATA_TYPES:
        return "data"
    if type_ in REFORMAT_TYPES:
        return _reformat_kind(layer)
    if not type_:
        return _kind_of_name(layer.name)
    names = operators(layer)
    if names:
        return _generated_kind(layer, frozenset(names), ops)
    if type_ == "Scale" and _only_qdq(layer, ops):
        return "quantize"
    return "reformat" if type_.lower() in ("copy", "move", "reformat") else "compute"


def _kind_of_name(name: str) -> str:
    """Return the kind for layer information that has names only."""
    if name.startswith("Reformatting CopyNode") or name.endswith(" copy"):
        return "reformat"
    return "quantize" if " + " not in name and _QDQ_NAME.search(name) else "compute"


def _reformat_kind(layer: Layer) -> str:
    if layer.origin == "QDQ":
        return "quantize"
    if layer.origin is None and not layer.name.startswith("Reformatting CopyNode"):
        dtypes = {t.dtype for t in layer.inputs} ^ {t.dtype for t in layer.outputs}
        if dtypes & _LOW and _QDQ_NAME.search(layer.name):
            return "quantize"
    return "reformat"


def _generated_kind(layer: Layer, names: frozenset[str], ops: dict[str, str]) -> str:
    if names <= _MOVES:
        return "data" if layer.onnx_nodes else "reformat"
    touched = {tensor.dtype for tensor in (*layer.inputs, *layer.constants, *layer.outputs)}
    if names <= _MOVES | {"Cast"} and not touched & _LOW:
        return "compute" if layer.onnx_nodes else "reformat"
    if names <= _MOVES | _QUANTIZE:
        if ("Roun" in names or "Cast" in names) and ("Roun" in names or touched & _LOW):
            return "quantize"
        if names <= _MOVES | {"Mul"} and _only_qdq(layer, ops) and ops:
            return "quantize"  # the scale of a DequantizeLinear, applied after the convolution
    return "compute"


def _only_qdq(layer: Layer, ops: dict[str, str]) -> bool:
    nodes = layer.onnx_nodes or ((layer.name,) if layer.type == "Scale" else ())
    return all(is_qdq(node, ops.get(node)) for node in nodes)


def _product_at(names: tuple[str, ...]) -> int | None:
    found = (at for at, name in enumerate(names) if name == "Fc" or names[at : at + 2] == ("Mul", "Sum"))
    return next(found, None)


def _is_matrix(dims: tuple[int, ...] | None) -> bool:
    return dims is not None and sum(size > 1 for size in dims) >= 2
