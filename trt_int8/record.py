"""Record how a model was quantized and how accurate it is, from the pipeline to the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import UnionType
from typing import Any

import onnx

from trt_int8.documents import parse_json
from trt_int8.printable import json_text

#: The key of the record in the metadata of a Q/DQ model.
RECORD_KEY = "trt_int8.record"
_FORMAT = 1
#: The types of the plain fields.
_TYPES: Mapping[str, type | UnionType] = {
    **dict.fromkeys(("target", "route", "placement", "ranges", "high_precision", "note"), str),
    **dict.fromkeys(("algorithm", "data"), str | None),
    "samples": int,
    "unseen": bool,
    **dict.fromkeys(("sqnr_db", "before_db", "profile", "versions"), dict),
    **dict.fromkeys(("corrections", "held_back"), list),
}
#: The number of outputs in the line of text.
_LISTED = 4


@dataclass(frozen=True)
class Correction:
    """A change that was tried to improve the accuracy.

    Attributes:
        name: ``bias correction``, or ``recentring of`` a tensor.
        kept: whether the model has it.
        text: its gain.
    """

    name: str
    kept: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class QuantizationRecord:
    """How a model was quantized, and its SQNR against the float model.

    Attributes:
        target: the target of the placement, see `trt_int8.target.Target.name`.
        route: ``explicit`` (Q/DQ pairs are built) or ``implicit`` (TensorRT chose the layers, and the pairs
            show its choice).
        placement: the name of the placement.
        ranges: the origin of the ranges: ``calibration``, ``calibration cache``, ….
        algorithm: the calibration algorithm; None if the ranges were given.
        high_precision: the type of layers that are not INT8: ``fp32`` or ``fp16``.
        samples: the number of calibration samples; 0 if the ranges were given.
        held_back: [start, stop) of the samples that SQNR was measured on, counted over all the data, one pair
            per batch.
        data: hash of these samples.
        unseen: whether these samples were not used for ranges or biases, nor perhaps to search for a plan.
        corrections: the corrections that were tried, in order.
        sqnr_db: output → SQNR of the quantized model in dB on these samples, simulated by onnxruntime; inf
            if it equals the float model. Empty if it could not be measured.
        before_db: the same before any correction.
        note: why there is no SQNR, or a remark about it.
        profile: dynamic input → [min, opt, max] shape of the optimization profile.
        versions: package → version; not stored in models, because it differs between machines.
    """

    target: str
    route: str = "explicit"
    placement: str
    ranges: str
    algorithm: str | None = None
    high_precision: str = "fp32"
    samples: int = 0
    held_back: tuple[tuple[int, int], ...] = ()
    data: str | None = None
    unseen: bool = True
    corrections: tuple[Correction, ...] = ()
    sqnr_db: Mapping[str, float] = field(default_factory=dict)
    before_db: Mapping[str, float] = field(default_factory=dict)
    note: str = ""
    profile: Mapping[str, tuple[tuple[int, ...], ...]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def evaluated(self) -> int:
        """The number of samples that SQNR was measured on."""
        return sum(stop - start for start, stop in self.held_back)

    @property
    def worst_db(self) -> float:
        """SQNR of the worst output; NaN if it was not measured, or if an output has none."""
        return min(self.sqnr_db.values(), key=nan_as_worst, default=math.nan)

    @property
    def text(self) -> str:
        """The SQNR of each output, with that before corrections, as one line of text."""
        if not self.sqnr_db:
            return f"accuracy is not known: {self.note}" if self.note else "accuracy is not known"
        kind = f"{self.evaluated} {'held-back ' * self.unseen}sample{'s' * (self.evaluated != 1)}"
        kept = [correction.name for correction in self.corrections if correction.kept]
        worst_first = sorted(self.sqnr_db, key=lambda name: nan_as_worst(self.sqnr_db[name]))
        parts = []
        for name in worst_first[:_LISTED]:
            part = f"{name} {decibels(self.sqnr_db[name])}"
            if kept and name in self.before_db:
                what = kept[0] if len(kept) == 1 else f"{len(kept)} corrections"
                part += f" ({decibels(self.before_db[name], unit='')} before {what})"
            parts.append(part)
        if len(worst_first) > _LISTED:
            parts.append(f"{len(worst_first) - _LISTED} more outputs are no worse")
        note = f"; {self.note}" if self.note else ""
        return f"SQNR on {kind}: {', '.join(parts)}{note}"

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values. An infinite SQNR becomes ``"inf"``."""
        document: dict[str, Any] = {"format": _FORMAT}
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name in ("sqnr_db", "before_db"):
                value = {name: db if math.isfinite(db) else str(db) for name, db in value.items()}
            elif entry.name == "corrections":
                value = [vars(correction) for correction in value]
            elif isinstance(value, Mapping):
                value = dict(value)
            document[entry.name] = value
        return document

    def to_json(self) -> str:
        """Return `to_dict` as one line of JSON."""
        return json_text(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> QuantizationRecord:
        """Read the text of `to_json`; fields of later versions are ignored.

        Raises:
            ValueError: the text is something else.
        """
        try:
            document = parse_json(text)
            if document["format"] != _FORMAT:
                raise ValueError(f"format {document['format']!r}")
            known = {name: document[name] for name in _TYPES if name in document}
            for name, value in known.items():
                _require(value, _TYPES[name], name)
            for name in ("sqnr_db", "before_db"):
                known[name] = {str(k): float(v) for k, v in known.get(name, {}).items()}
            known["corrections"] = tuple(map(_correction, known.get("corrections", ())))
            known["held_back"] = tuple((a, b) for a, b in map(_integers, known.get("held_back", ())))
            profile = known.get("profile", {})
            known["profile"] = {name: tuple(map(_integers, shapes)) for name, shapes in profile.items()}
            for version in known.get("versions", {}).values():
                _require(version, str, "versions")
            return cls(**known)
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            missing = " is missing" if isinstance(error, KeyError) else ""
            raise ValueError(f"not a quantization record: {error}{missing}") from error


def store_record(model: onnx.ModelProto, record: QuantizationRecord) -> None:
    """Store ``record`` in the metadata of ``model``, in place, without versions.

    SQNR is rounded to 0.01 dB, because the last bits of a sum depend on the processor.
    """
    document = replace(
        record, sqnr_db=_rounded(record.sqnr_db), before_db=_rounded(record.before_db)
    ).to_dict()
    del document["versions"]
    for position, entry in reversed(list(enumerate(model.metadata_props))):
        if entry.key == RECORD_KEY:
            del model.metadata_props[position]
    model.metadata_props.add(key=RECORD_KEY, value=json_text(document))


def read_record(model: onnx.ModelProto) -> QuantizationRecord | None:
    """Return the record of ``model``; None if there is none, or it cannot be read."""
    try:
        return require_readable(model)
    except ValueError:
        return None


def require_readable(model: onnx.ModelProto) -> QuantizationRecord | None:
    """Return the record of ``model``, None if there is none; ValueError if it cannot be read."""
    stored = [entry.value for entry in model.metadata_props if entry.key == RECORD_KEY]
    return QuantizationRecord.from_json(stored[0]) if stored else None


def decibels(value: float, *, form: str = ".2f", unit: str = " dB") -> str:
    """Return an SQNR, or a change of it, as text; infinity and NaN in words.

    Examples:
        >>> decibels(31.2), decibels(float("inf")), decibels(float("-inf")), decibels(float("nan"))
        ('31.20 dB', 'exact', 'unbounded relative error', 'not defined')
    """
    if math.isfinite(value):
        return f"{value:{form}}{unit}"
    return "not defined" if math.isnan(value) else "exact" if value > 0 else "unbounded relative error"


def _require(value: object, kind: type | UnionType, name: str) -> None:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{name} is of the wrong type ({type(value).__name__})")


def _integers(values: list[int]) -> tuple[int, ...]:
    _require(values, list, "a pair or a shape")
    for value in values:
        _require(value, int, "a number of a pair or a shape")
    return tuple(values)


def _correction(values: Mapping[str, Any]) -> Correction:
    for name, kind in (("name", str), ("kept", bool), ("text", str)):
        _require(values[name], kind, f"{name} of a correction")
    return Correction(values["name"], values["kept"], values["text"])


def nan_as_worst(value: float) -> float:
    """Return an SQNR in dB, -inf for NaN: the model has NaN in this output."""
    return -math.inf if math.isnan(value) else value


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 2) if math.isfinite(value) else value for name, value in figures.items()}
