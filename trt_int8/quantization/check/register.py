"""Register checks of Q/DQ models where they are defined.

A file in `checks/` that decorates a function with `check` adds a check: every file there is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx

from trt_int8.quantization.check.qdq import QdqGraph


@dataclass(frozen=True)
class Fault:
    """One place where a check fails.

    Attributes:
        node: the node at fault.
        message: what is wrong there.
        repair: how to repair it, for people; None: as the check says.
        fix: repairs it in the model of the graph; None if that needs more than the model holds. A function
            that several faults share is called once.
    """

    node: onnx.NodeProto
    message: str
    repair: str | None = None
    fix: Callable[[QdqGraph], None] | None = None


@dataclass(frozen=True)
class Check:
    """A named check.

    Attributes:
        name: the check, in findings and docs.
        order: checks of a lower order are run and repaired first, the gravest before the others.
        severity: ``refused`` (no engine), ``float`` (builds, but does not multiply in INT8) or ``slow``
            (loses fusions or INT8 copies). All but the slow ones were seen on TensorRT-RTX 1.7.
        repair: how to repair it, for people.
        find: yields a `Fault` for each place.
    """

    name: str
    order: int
    severity: str
    repair: str
    find: Callable[[QdqGraph], Iterator[Fault]]


#: The checks registered so far, by name.
REGISTERED: dict[str, Check] = {}
Find = Callable[[QdqGraph], Iterator[Fault]]


def check(name: str, order: int, severity: str, repair: str) -> Callable[[Find], Find]:
    """Register a function that yields faults; for the arguments see `Check`."""

    def register(find: Find) -> Find:
        if name in REGISTERED:
            raise ValueError(f"there are two checks {name!r}")
        REGISTERED[name] = Check(name, order, severity, repair, find)
        return find

    return register
