"""What a calibration cache was made from, so that it is not taken for another model's or other data's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from trt_int8.errors import CacheError

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """None stands for what was not known, and is equal to anything.

    Attributes:
        model: `model_id` of the ONNX model.
        data: hash of the samples, or the name given to the data.
        conversion: what the device makes of the samples' values (normalization); empty for nothing.
        algorithm: ``EntropyCalibration2`` or ``MinMaxCalibration``, as in the header of the cache.
        batch_size: samples in a batch; it changes the scales (NVIDIA/TensorRT#774).
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
        """What differs between this calibration and ``now``, a line each."""
        lines = []
        for field in fields(self):
            old, new = getattr(self, field.name), getattr(now, field.name)
            if old is None or new is None or old == new:
                continue
            if field.name == "tensors":
                if set(old) != set(new):
                    lines.append(_tensor_changes(set(old), set(new)))
            else:
                lines.append(f"{_LABELS[field.name]}: {_short(old)}, now {_short(new)}")
        return lines

    def unknown(self, now: Fingerprint) -> list[str]:
        """Of model and data, what could not be compared because one side does not know it."""
        return [
            _LABELS[name]
            for name in ("model", "data")
            if getattr(self, name) is None or getattr(now, name) is None
        ]

    def to_json(self, cache: bytes) -> str:
        """The sidecar of ``cache``, which is bound to its bytes."""
        record = {"format": _FORMAT, "cache_sha256": hashlib.sha256(cache).hexdigest(), **asdict(self)}
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, cache: bytes, *, place: str) -> Fingerprint:
        """Read the sidecar of ``cache``.

        Raises:
            CacheError: not a sidecar, or that of another cache.
        """
        try:
            record: dict[str, Any] = json.loads(text)
            known = {field.name: record[field.name] for field in fields(cls)}
            digest, version = record["cache_sha256"], record["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise CacheError(
                f"{place}: not the fingerprint of a calibration cache ({type(error).__name__}: {error}); "
                "delete it to use the cache without one"
            ) from error
        if version != _FORMAT:
            raise CacheError(f"{place}: format {version!r} is not known, only {_FORMAT}; calibrate again")
        if digest != hashlib.sha256(cache).hexdigest():
            raise CacheError(
                f"{place}: belongs to other content of the cache, which was edited, replaced or half updated "
                "since; delete both to calibrate again, or reuse the cache on purpose (reuse_cache=True)"
            )
        if known["tensors"] is not None:
            known["tensors"] = tuple(known["tensors"])
        return cls(**known)


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
    """Hashes are shown by their beginning."""
    text = str(value) or "none"
    return text[:12] + "…" if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _tensor_changes(old: set[str], new: set[str]) -> str:
    parts = [f"{kind} {len(names)} ({_some(names)})" for kind, names in _kinds(old, new) if names]
    return f"tensor names: {', '.join(parts)}"


def _kinds(old: set[str], new: set[str]) -> Iterable[tuple[str, set[str]]]:
    return (("gone", old - new), ("new", new - old))


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:5]) + (", …" if len(listed) > 5 else "")
