"""Find faults in a Q/DQ model, and repair those that need no calibration."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module

import onnx

from trt_int8.errors import QuantizationError
from trt_int8.graph.index import label
from trt_int8.graph.load import PROTOBUF_LIMIT, serialized_size
from trt_int8.graph.model import Model, ModelLike
from trt_int8.quantization.check import checks as _checks
from trt_int8.quantization.check.qdq import QdqGraph
from trt_int8.quantization.check.register import REGISTERED, Check, Fault

for _module in pkgutil.iter_modules(_checks.__path__, f"{_checks.__name__}."):
    import_module(_module.name)

CHECKS = tuple(sorted(REGISTERED.values(), key=lambda check: (check.order, check.name)))


@dataclass(frozen=True)
class Finding:
    """One fault of a model.

    Attributes:
        rule, severity: of the check, see `trt_int8.quantization.check.register.Check`.
        node: the name of the node.
        message: what is wrong.
        repair: how to repair it.
        fixable: whether `fix_qdq` repairs it.
    """

    rule: str
    severity: str
    node: str
    message: str
    repair: str
    fixable: bool

    def __str__(self) -> str:
        fixable = " (fix_qdq does it)" if self.fixable else ""
        return f"{self.severity}: {self.node}: {self.message} [{self.rule}]; {self.repair}{fixable}"


@dataclass(frozen=True, eq=False)
class Checked:
    """The result of `fix_qdq`: the repaired model, what was repaired, and what is left."""

    model: onnx.ModelProto
    fixed: tuple[Finding, ...]
    left: tuple[Finding, ...]


def check_qdq(model: ModelLike) -> list[Finding]:
    """Return all faults of a Q/DQ model, the worst first.

    Examples:
        >>> check_qdq("model.qdq.onnx")
        []

    Raises:
        ModelError: the model cannot be read.
    """
    given = Model.of(model)
    return findings(QdqGraph(given.proto, given.index))


def fix_qdq(model: ModelLike) -> Checked:
    """Repair what can be repaired without calibrating again; the model given is not changed.

    Examples:
        >>> checked = fix_qdq("model.qdq.onnx")
        >>> checked.fixed, checked.left
        ((), ())

    Raises:
        ModelError: the model cannot be read.
        QuantizationError: the repaired model does not pass the checker.
    """
    repaired = onnx.ModelProto()
    repaired.CopyFrom(Model.of(model).proto)
    fixed: list[Finding] = []
    graph = QdqGraph(repaired)
    for check in CHECKS:
        faults = list(check.find(graph))
        fixes = dict.fromkeys(fault.fix for fault in faults if fault.fix is not None)
        if fixes:
            found = [_finding(check, fault) for fault in faults]
            for fix in fixes:
                fix(graph)
            graph.prune()
            left = {(finding.node, finding.message) for finding in findings(graph, [check])}
            fixed.extend(finding for finding in found if (finding.node, finding.message) not in left)
    # Exporters list the types of all tensors; those of repaired pairs have changed.
    del repaired.graph.value_info[:]
    run_checker(repaired, "repaired")
    return Checked(repaired, tuple(fixed), tuple(check_qdq(repaired)))


def run_checker(model: onnx.ModelProto, kind: str) -> None:
    """Run onnx.checker over a model of less than 2 GiB, which is the most it takes.

    Raises:
        QuantizationError: the model does not pass.
    """
    if serialized_size(model) < PROTOBUF_LIMIT:
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            text = " ".join(str(error).split())
            raise QuantizationError(f"the {kind} model does not pass onnx.checker: {text}") from error


def findings(graph: QdqGraph, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """Return what ``checks`` find in ``graph``."""
    return [_finding(check, fault) for check in checks for fault in check.find(graph)]


def _finding(check: Check, fault: Fault) -> Finding:
    repair = fault.repair or check.repair
    return Finding(
        check.name, check.severity, label(fault.node), fault.message, repair, fault.fix is not None
    )
