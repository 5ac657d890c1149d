"""Record what a calibration cache was made from, so that it is not used for another model or other data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from trt_int8.documents import parse_json
from trt_int8.errors import CacheError
from trt_int8.printable import json_text

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """The inputs of a calibration. None means not known, and equals any value.

    Attributes:
        model: `model_id` of the ONNX model.
        data: hash of the samples, or the name given to the data.
        conversion: conversion of the samples on the device (normalization); empty for none.
        algorithm: ``EntropyCalibration2`` or ``MinMaxCalibration``, as in the header of the cache.
        batch_size: samples per batch; it changes the scales (NVIDIA/TensorRT#774).
        tensorrt: version of TensorRT.
        tensors: names of the network's tensors.
    """

    model: str | None = None
    data: str | None = None
    conversion: str | None = None
    algorithm: str | None = None
    batch_size: int | None = None
    tensorrt: str | None = None
    tensors: tuple[str, ...] | None = None

    def changes(self, now: Fingerprint) -> list[str]:
        """Return one line per difference between this calibration and ``now``."""
        lines = []
        for field in fields(self):
            old, new = getattr(self, field.name), getattr(now, field.name)
            if old is None or new is None or old == new:
                continue
            if field.name == "tensors":
                kinds = {"removed": set(old) - set(new), "new": set(new) - set(old)}
                parts = [f"{kind} {len(names)} ({_some(names)})" for kind, names in kinds.items() if names]
                lines += [f"tensor names: {', '.join(parts)}"] if parts else []
            else:
                lines.append(f"{_LABELS[field.name]}: {_short(old)}, now {_short(new)}")
        return lines

    def unknown(self, now: Fingerprint) -> list[str]:
        """Return which of model and data cannot be compared, because it is not known on one side."""
        pairs = [(name, getattr(self, name), getattr(now, name)) for name in ("model", "data")]
        return [_LABELS[name] for name, old, new in pairs if old is None or new is None]

    def to_json(self, cache: bytes) -> str:
        """Return the content of the sidecar file of ``cache``, with a hash of its bytes."""
        record = {"format": _FORMAT, "cache_sha256": hashlib.sha256(cache).hexdigest(), **asdict(self)}
        return json_text(record, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, cache: bytes, *, place: str) -> Fingerprint:
        """Read the sidecar of ``cache``.

        Raises:
            CacheError: it is not a sidecar, or the sidecar of another cache.
        """
        try:
            record = parse_json(text)
            known = {field.name: record[field.name] for field in fields(cls)}
            digest, version = record["cache_sha256"], record["format"]
            if version == _FORMAT:
                _check_types(known)
        except (ValueError, TypeError, KeyError) as error:
            missing = " is missing" if isinstance(error, KeyError) else ""
            raise CacheError(
                f"{place}: not the fingerprint of a calibration cache ({error}{missing}); delete this file "
                "to use the cache without it"
            ) from error
        if version != _FORMAT:
            raise CacheError(f"{place}: format {version!r} is not known, only {_FORMAT}; calibrate again")
        if digest != hashlib.sha256(cache).hexdigest():
            raise CacheError(
                f"{place}: does not match the calibration cache, which was changed after this file was "
                "written; delete both files to calibrate again, or add reuse_cache=True"
            )
        if known["tensors"] is not None:
            known["tensors"] = tuple(known["tensors"])
        return cls(**known)


def _check_types(known: dict[str, Any]) -> None:
    for name, value in known.items():
        kinds = {"batch_size": int, "tensors": list}
        right = value is None or type(value) is kinds.get(name, str)
        if right and name == "tensors":
            right = all(isinstance(tensor, str) for tensor in value or ())
        if not right:
            raise TypeError(f"{name} is of the wrong type")


_LABELS = {
    "model": "model",
    "data": "calibration data",
    "conversion": "conversion on the device",
    "algorithm": "algorithm",
    "batch_size": "batch size",
    "tensorrt": "TensorRT",
    "tensors": "tensor names",
}


def _short(value: object) -> str:
    """Return ``value`` as text; of a hash only the beginning."""
    text = str(value) or "none"
    return text[:12] + "…" if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "")
