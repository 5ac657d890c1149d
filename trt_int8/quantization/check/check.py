"""Look a Q/DQ model over, and mend what can be mended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

from trt_int8.errors import QuantizationError
from trt_int8.graph.model import Model, ModelLike
from trt_int8.quantization.check.qdq import QdqGraph

if TYPE_CHECKING:
    from trt_int8.quantization.check.table import Check


@dataclass(frozen=True)
class Finding:
    """One thing TensorRT will not like.

    Attributes:
        rule: the name in the table of checks.
        severity: ``refused`` (no engine), ``float`` (builds, but not in INT8) or ``slow``.
        node: where.
        message: what is wrong.
        mend: what to do about it.
        fixable: whether `fix_qdq` does it.
    """

    rule: str
    severity: str
    node: str
    message: str
    mend: str
    fixable: bool

    def __str__(self) -> str:
        fixable = " (fix_qdq does it)" if self.fixable else ""
        return f"{self.severity}: {self.node}: {self.message} [{self.rule}]; {self.mend}{fixable}"


@dataclass(frozen=True, eq=False)
class Checked:
    """The result of `fix_qdq`: the mended model, what was mended, and what is left."""

    model: onnx.ModelProto
    fixed: tuple[Finding, ...]
    left: tuple[Finding, ...]


def check_qdq(model: ModelLike) -> list[Finding]:
    """Everything in a Q/DQ model that TensorRT refuses, runs in float, or runs slowly; the worst first.

    Examples:
        >>> check_qdq("model.qdq.onnx")
        []

    Raises:
        ModelError: the model cannot be read.
    """
    from trt_int8.quantization.check.table import CHECKS

    given = Model.of(model)
    graph = QdqGraph(given.proto, given.index)
    return [finding for check in CHECKS for finding in findings(check, graph)]


def fix_qdq(model: ModelLike) -> Checked:
    """Mend what can be mended without calibrating again; the model given is not changed.

    Examples:
        >>> checked = fix_qdq("model.qdq.onnx")
        >>> checked.fixed, checked.left
        ((), ())

    Raises:
        ModelError: the model cannot be read.
        QuantizationError: the mended model does not pass the checker.
    """
    from trt_int8.quantization.check.table import CHECKS

    mended = onnx.ModelProto()
    mended.CopyFrom(Model.of(model).proto)
    fixed: list[Finding] = []
    graph = QdqGraph(mended)
    for check in CHECKS:
        if check.fix is None:
            continue
        found = findings(check, graph)
        if any(finding.fixable for finding in found):
            check.fix(graph)
            graph.prune()
            left = {(finding.node, finding.message) for finding in findings(check, graph)}
            fixed.extend(finding for finding in found if (finding.node, finding.message) not in left)
    # Exporters list the types of all tensors; those of mended pairs are others now.
    del mended.graph.value_info[:]
    try:
        onnx.checker.check_model(mended, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise QuantizationError(f"the mended model does not pass onnx.checker: {error}") from error
    return Checked(mended, tuple(fixed), tuple(check_qdq(mended)))


def findings(check: Check, graph: QdqGraph) -> list[Finding]:
    """What ``check`` finds in ``graph``."""
    return [
        Finding(
            check.name,
            check.severity,
            fault.node,
            fault.message,
            fault.mend or check.mend,
            fault.fixable and check.fix is not None,
        )
        for fault in check.find(graph)
    ]
