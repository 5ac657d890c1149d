"""Measure the scores of a model with some nodes in float; each is measured once and kept in a state file."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from trt_int8 import progress
from trt_int8.documents import parse_json
from trt_int8.errors import DataError, QuantizationError
from trt_int8.evaluation.sensitivity.evaluator import Evaluator, Score
from trt_int8.files import atomic
from trt_int8.files.inputs import TEXT_LIMIT, read_input
from trt_int8.graph.index import label
from trt_int8.graph.model import Model, ModelLike
from trt_int8.graph.operators import MULTIPLYING
from trt_int8.printable import json_text
from trt_int8.quantization.placement import Placement, resolve
from trt_int8.quantization.plan import PrecisionPlan
from trt_int8.quantization.quantized import Quantized, quantize
from trt_int8.quantization.selection import Selection
from trt_int8.ranges.ranges import Ranges

_FORMAT = "trt_int8 sensitivity"
_VERSION = 1


class Measurements:
    """Quantizes a model with some nodes in float, and evaluates it.

    Args:
        model: the float model.
        ranges: from one calibration, which all measurements share.
        evaluator: evaluates a quantized model.
        placement: rules for Q/DQ pairs.
        state: file for the scores; scores that it already has are not measured again.

    Attributes:
        nodes: compute nodes that can run in INT8, name → operator, in graph order.
        evaluations: number of models that were run.

    Raises:
        QuantizationError: no node can be quantized.
        DataError: the state file belongs to another model, calibration or data, or is damaged.
    """

    def __init__(
        self,
        model: ModelLike,
        ranges: Ranges,
        evaluator: Evaluator,
        *,
        placement: str | Placement | None = None,
        state: str | os.PathLike[str] | None = None,
    ) -> None:
        self._float = Model.of(model)
        self.model = self._float.proto
        self.ranges = ranges
        self.placement = resolve(placement)
        self.evaluations = 0
        self._evaluator = evaluator
        self._state = None if state is None else Path(state)
        operators = {label(node): node.op_type for node in self.model.graph.node}
        whole = quantize(self._float, ranges, placement=self.placement)
        # Other quantized nodes (Add, AveragePool) follow the placement's rules.
        self.nodes = {name: operators[name] for name in whole.nodes if operators[name] in MULTIPLYING}
        self.skipped = whole.skipped
        self._fingerprint = self._identify()
        self._scores = self._read()

    def quantized(self, floats: Collection[str]) -> Quantized:
        """Return the model with the nodes ``floats`` in float and all others in INT8."""
        plan = PrecisionPlan(dict.fromkeys(floats, "float"))
        selection = Selection(plan=plan) if floats else Selection()
        return quantize(self._float, self.ranges, placement=self.placement, selection=selection)

    def score(self, floats: Collection[str], *, phase: progress.Phase | None = None) -> Score:
        """Return the score of `quantized`; that of the float model if no node is left to quantize."""
        key = "\n".join(name for name in self.nodes if name in floats)
        if key not in self._scores:
            try:
                self._scores[key] = self._evaluator(self.quantized(floats).model)
            except QuantizationError:
                if len(set(floats) & set(self.nodes)) < len(self.nodes):
                    raise
                self._scores[key] = Score(math.inf, 0.0 if self._evaluator.has_metric else math.nan)
            self.evaluations += 1
            self._write()
        if phase is not None:
            phase.advance()
        return self._scores[key]

    def plan(self, floats: Collection[str], *, source: str = "the search") -> PrecisionPlan:
        """Return a plan with a precision for every compute node."""
        return PrecisionPlan({name: "float" if name in floats else "int8" for name in self.nodes}, source)

    def lost(self) -> str:
        """Say what is lost and what is kept after an interruption."""
        if self._state is None:
            return "The measurements are lost; with state=FILE the next run could continue from here."
        return f"The measurements are kept in {self._state}: run the same command to continue."

    def _identify(self) -> str:
        digest = hashlib.sha256(self.model.SerializeToString(deterministic=True))
        amax: Sequence[tuple[str, float]] = [(name, entry.amax) for name, entry in self.ranges.items()]
        rules = [rule.name for rule in self.placement.rules]
        digest.update(json.dumps([amax, rules]).encode())
        digest.update(self._evaluator.fingerprint().encode())
        return digest.hexdigest()

    def _read(self) -> dict[str, Score]:
        if self._state is None or not os.path.exists(self._state):
            return {}
        try:
            document = parse_json(read_input(self._state, limit=TEXT_LIMIT))
            if document["format"] != _FORMAT or document["version"] != _VERSION:
                raise ValueError("another format or version")
            scores = {key: Score(*map(float, values)) for key, values in document["scores"].items()}
            fingerprint = document["fingerprint"]
        except OSError as error:
            raise DataError(f"{self._state}: cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{self._state}: not a state file of sensitivity, or damaged; delete it to start again, or "
                "choose another name"
            ) from error
        if fingerprint != self._fingerprint:
            raise DataError(
                f"{self._state}: belongs to another model, calibration, data or placement; delete it to "
                "start again, or choose another name"
            )
        return scores

    def _write(self) -> None:
        if self._state is None:
            return
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "fingerprint": self._fingerprint,
            # Numbers as text: JSON has no inf and no NaN.
            "scores": {key: [repr(s.sqnr_db), repr(s.drop)] for key, s in self._scores.items()},
        }
        atomic.write_text(self._state, json_text(document, indent=1) + "\n", result=False)
