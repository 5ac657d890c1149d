"""Read and write precision plans: small YAML files that assign nodes to INT8 or float.

::

    schema: 1
    nodes:
      conv1: int8
      fc: float

A plan that `trt-int8 sensitivity` found also has its target and figures::

    target: rtx:sm89
    placement: rtx
    budget:
      min_sqnr: 22.0
    reached:
      sqnr_db: 23.49
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trt_int8.arguments import require_path
from trt_int8.documents import DocumentError, parse_yaml, to_yaml
from trt_int8.errors import PlanMismatchError, QuantizationError
from trt_int8.files import atomic
from trt_int8.files.inputs import TEXT_LIMIT, read_input

SCHEMA = 1
_PRECISIONS = ("int8", "float")
_KEYS = ("schema", "nodes", "target", "placement", "budget", "reached")


@dataclass(frozen=True)
class PrecisionPlan:
    """Node name → ``int8`` (must be quantized) or ``float`` (must not). The rules decide about other nodes.

    Attributes:
        nodes: the names, as `trt_int8.graph.index.label` gives them.
        source: the name of the plan in messages.
        target, placement: the plan was searched for these (`Placement.text`); None: it fits any.
        budget: ``min_sqnr`` (dB), ``max_drop``: the limits of the search.
        reached: ``sqnr_db``, ``drop``: the figures with this plan.
    """

    nodes: Mapping[str, str]
    source: str = "the precision plan"
    target: str | None = None
    placement: str | None = None
    budget: Mapping[str, float] = field(default_factory=dict)
    reached: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PrecisionPlan:
        """Read a YAML (or JSON) file.

        Raises:
            QuantizationError: the file cannot be read or is not a plan; the message names the entry.
            MissingDependencyError: PyYAML is not installed.
        """
        require_path(path, "path", of="a precision plan")
        try:
            text = read_input(path, limit=TEXT_LIMIT).decode("utf-8")
            # As text and mappings only: 106 and yes are names of nodes.
            document, _ = parse_yaml(text, typed=False, purpose="reading a precision plan")
        except DocumentError as error:
            raise QuantizationError(f"{path}{error.at}: {error}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise QuantizationError(
                f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from error
        return cls(_nodes(document, str(path)), str(path), **_search(document, str(path)))

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the plan as YAML, in one step.

        Raises:
            OutputError: the file cannot be written.
            MissingDependencyError: PyYAML is not installed.
        """
        search = {"target": self.target, "placement": self.placement}
        figures = {"budget": dict(self.budget), "reached": dict(self.reached)}
        known = {key: value for key, value in (search | figures).items() if value}
        document = {"schema": SCHEMA, **known, "nodes": dict(self.nodes)}
        atomic.write_text(path, to_yaml(document, purpose="writing a precision plan"))

    def require_placement(self, placement: str) -> None:
        """Check that the plan was searched for ``placement`` (`Placement.text`), or for none.

        Raises:
            PlanMismatchError: it was searched for another one, for which its accuracy does not hold.
        """
        if self.placement in (None, placement):
            return
        target = "" if self.target is None else f" (target {self.target})"
        raise PlanMismatchError(
            f"{self.source}: was searched for placement {self.placement!r}{target}, but this is placement "
            f"{placement!r}, for which its accuracy does not hold; search the plan again for placement "
            f"{placement!r}, or use placement {self.placement!r}",
            placement=placement,
            budget=self.budget,
        )

    def check(self, names: Sequence[str]) -> None:
        """Check that a model with the nodes ``names`` has all nodes of the plan.

        Raises:
            QuantizationError: it lacks one.
        """
        known = set(names)
        for name in [name for name in self.nodes if name not in known]:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "the plan belongs to another model"
            raise QuantizationError(f"{self.source}: the model has no node {name!r}; {hint}")


def _nodes(document: Any, place: str) -> dict[str, str]:
    if not isinstance(document, dict) or str(document.get("schema")) != str(SCHEMA):
        found = document.get("schema") if isinstance(document, dict) else None
        raise QuantizationError(
            f"{place}: schema is {found!s:.80}; a precision plan starts with 'schema: {SCHEMA}'"
        )
    extra = sorted(set(document) - set(_KEYS))
    if extra:
        raise QuantizationError(f"{place}: unknown key {extra[0]!r}; a precision plan has {', '.join(_KEYS)}")
    nodes = document.get("nodes")
    if not isinstance(nodes, dict) or not nodes:
        raise QuantizationError(f"{place}: nodes must map node names to {' or '.join(_PRECISIONS)}")
    for name, precision in nodes.items():
        if precision not in _PRECISIONS:
            raise QuantizationError(
                f"{place}: node {name!r} has precision {precision!r:.80}; write {' or '.join(_PRECISIONS)}"
            )
    return dict(nodes)


def _search(document: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return target, placement, budget and figures of a plan that was searched for."""
    found: dict[str, Any] = {}
    for key in [key for key in ("target", "placement") if key in document]:
        if not isinstance(document[key], str):
            raise QuantizationError(f"{place}: {key} is {document[key]!r:.80}; write a name")
        found[key] = document[key]
    for key in ("budget", "reached"):
        figures = document.get(key, {})
        try:
            # .inf as YAML writes it: outputs that are exact
            found[key] = {name: float(value.replace(".inf", "inf")) for name, value in figures.items()}
        except (AttributeError, TypeError, ValueError) as error:
            raise QuantizationError(
                f"{place}: {key} must map names to numbers, such as min_sqnr: 22"
            ) from error
    return found
