"""Histograms of the tensors of one model: merge them, compute ranges, and save them in a file.

The file is compact, versioned and never pickled: an ``.npz`` with one entry per column, so that thousands of
tensors need only a few members. ``counts`` is int32 or int64 [rows, 2·BINS] (equal rows are stored once, and
``row`` maps tensors to rows), the scalar columns are [tensors], and ``header`` is a JSON text with the
format's version, the names, ties and the number of samples.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from trt_int8.calibration.histogram import BINS, Histogram
from trt_int8.calibration.thresholds import thresholds
from trt_int8.documents import parse_json
from trt_int8.errors import CalibrationError
from trt_int8.files import atomic
from trt_int8.files.inputs import read_input
from trt_int8.files.npz import TooLargeError, read_members
from trt_int8.printable import json_text
from trt_int8.ranges.ranges import Ranges, TensorRange

_FORMAT = "trt_int8 histograms"
_VERSION = 1
#: Stands for "no exponent": no float32 or float64 needs it.
_NO_EXPONENT = -(2**31)
#: More than the values of any calibration; sums of such numbers do not overflow.
_MOST = 2**53
_COLUMNS = ("row", "exponent", "zeros", "minimum", "maximum", "infinities")


@dataclass(frozen=True, eq=False)
class Histograms:
    """Histograms of the tensors of one model.

    Attributes:
        tensors: tensor name → histogram, in the graph's order.
        ties: tensor → the tensor whose range it shares (see `trt_int8.graph.tensors.tied_outputs`).
        samples: the number of samples.
    """

    tensors: Mapping[str, Histogram]
    ties: Mapping[str, str] = field(default_factory=dict)
    samples: int = 0

    def merge(self, other: Histograms) -> Histograms:
        """Combine the histograms of two parts of the data; the counts are those of one run over both.

        Raises:
            CalibrationError: the two come from models with different tensors.
        """
        different = set(self.tensors) ^ set(other.tensors)
        if different or dict(self.ties) != dict(other.ties):
            listed = ", ".join(sorted(different)[:5]) or "the same names, but other connections"
            raise CalibrationError(
                f"histograms of different models cannot be merged (differing tensors: {listed}); "
                "merge only shards that were calibrated with one model"
            )
        merged = {name: histogram.merge(other.tensors[name]) for name, histogram in self.tensors.items()}
        return Histograms(merged, self.ties, self.samples + other.samples)

    def ranges(self, *, algorithm: str = "entropy", held_back: Histograms | None = None) -> Ranges:
        """Return a range for every tensor.

        Args:
            algorithm: a name of `trt_int8.calibration.thresholds.names`.
            held_back: histograms of the same tensors on other batches, for ``auto``, which evaluates on them.

        Raises:
            ValueError: no such algorithm, or one that needs ``held_back``.
        """
        rooted = [name for name in self.tensors if name not in self.ties]
        found = thresholds(
            [self.tensors[name] for name in rooted],
            algorithm=algorithm,
            held_back=None if held_back is None else [held_back.tensors[name] for name in rooted],
        )
        own = {
            name: TensorRange(amax, source=used if used == algorithm else f"{used} ({algorithm})")
            for name, (amax, used) in zip(rooted, found, strict=True)
        }
        shared = {
            name: TensorRange(own[root].amax, source=f"{own[root].source} of {root}")
            for name, root in self.ties.items()
        }
        return Ranges({name: own.get(name) or shared[name] for name in self.tensors})


def save_histograms(
    histograms: Histograms, path: str | os.PathLike[str], *, extra: dict[str, Any] | None = None
) -> None:
    """Write ``histograms``, and the JSON values ``extra``, to the ``.npz`` file ``path`` in one step.

    Raises:
        OutputError: the file cannot be written.
    """
    atomic.write_bytes(path, to_bytes(histograms, extra=extra))


def load_histograms(path: str | os.PathLike[str]) -> Histograms:
    """Read what `save_histograms` wrote.

    Raises:
        CalibrationError: the file is missing, damaged, or of another format or a later version.
    """
    return load_histograms_and_extra(path)[0]


def load_histograms_and_extra(
    path: str | os.PathLike[str],
    *,
    fix: str = "give what trt-int8 calibrate --histograms wrote, or calibrate again",
) -> tuple[Histograms, dict[str, Any]]:
    """Read histograms and ``extra``; an error message ends with ``fix``."""
    try:
        data = read_input(path)
    except OSError as error:
        raise CalibrationError(
            f"{path}: cannot be read: {error.strerror or error}; check the path of the histogram file"
        ) from error
    try:
        return from_bytes(data)
    except Exception as error:  # numpy, zipfile, zlib and json raise a dozen types
        why = str(error) if isinstance(error, _Unreadable | TooLargeError) else _why(data, error)
        raise CalibrationError(f"{path}: {why}; {fix}") from error


class _Unreadable(ValueError):
    """An error whose text this package wrote."""


def _why(data: bytes, error: Exception) -> str:
    if not data:
        return "the file is empty"
    if not data.startswith(b"PK"):
        return "not a histogram file (.npz)"
    if isinstance(error, KeyError):
        return "an .npz file, but not one of histograms"
    return "a damaged histogram file, or one of another format"


def to_bytes(histograms: Histograms, *, extra: dict[str, Any] | None = None) -> bytes:
    """Return the content of a histogram file; equal histograms give equal bytes."""
    tensors = list(histograms.tensors.values())
    rows: dict[bytes, int] = {}
    row = [rows.setdefault(h.counts.tobytes(), len(rows)) for h in tensors]
    counts = np.frombuffer(b"".join(rows), np.int64).reshape(len(rows), 2 * BINS)
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "names": list(histograms.tensors),
        "ties": dict(histograms.ties),
        "samples": histograms.samples,
        "extra": extra or {},
    }
    columns: dict[str, npt.NDArray[Any]] = {
        "header": np.frombuffer(json_text(header).encode(), np.uint8),
        "row": np.array(row, np.int64),
        "counts": counts.astype(np.int32) if counts.max(initial=0) < 2**31 else counts,
        "exponent": np.array([_NO_EXPONENT if h.exponent is None else h.exponent for h in tensors], np.int64),
        "zeros": np.array([h.zeros for h in tensors], np.int64),
        "infinities": np.array([h.infinities for h in tensors], np.int64),
        "minimum": np.array([h.minimum for h in tensors], np.float64),
        "maximum": np.array([h.maximum for h in tensors], np.float64),
    }
    return _zip(columns)


def from_bytes(data: bytes) -> tuple[Histograms, dict[str, Any]]:
    """Invert `to_bytes`. Other bytes raise an exception of any type."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        columns = read_members(archive, ["header"])
        header = parse_json(columns["header"].tobytes())
        if header["format"] != _FORMAT:
            raise _Unreadable("an .npz file of another format than histograms")
        if header["version"] > _VERSION:
            raise _Unreadable(f"version {header['version']} is newer than this package reads ({_VERSION})")
        columns |= read_members(archive, ["counts", *_COLUMNS])
    names, ties, samples, extra = (header[key] for key in ("names", "ties", "samples", "extra"))
    counts = columns["counts"].astype(np.int64)
    scalars = [columns[name].tolist() for name in _COLUMNS]
    if counts.shape[1:] != (2 * BINS,) or not 0 <= counts.min(initial=0) <= counts.max(initial=0) < _MOST:
        raise ValueError(f"counts of shape {counts.shape}")
    if not isinstance(names, list) or not all(
        isinstance(name, str) for name in {*names, *ties, *ties.values()}
    ):
        raise TypeError("names")
    if type(samples) is not int or samples < 0 or not isinstance(extra, dict) or len({*names}) < len(names):
        raise ValueError("header")
    if not {*ties, *ties.values()} <= {*names} or not {*ties}.isdisjoint(ties.values()):
        raise ValueError("ties")
    tensors = {name: _histogram(counts, *values) for name, *values in zip(names, *scalars, strict=True)}
    return Histograms(tensors, ties, samples), extra


def _histogram(
    counts: npt.NDArray[np.int64],
    row: int,
    exponent: int,
    zeros: int,
    minimum: float,
    maximum: float,
    infinities: int,
) -> Histogram:
    integers = (row, exponent, zeros, infinities)
    if not all(type(value) is int for value in integers) or row < 0 or not 0 <= zeros < _MOST:
        raise ValueError("a number of a histogram")
    found = Histogram(
        counts[row], None if exponent == _NO_EXPONENT else exponent, zeros, minimum, maximum, infinities
    )
    known = found.exponent is None or -1100 < found.exponent < 1024
    if not known or not -math.inf < minimum <= maximum < math.inf or not 0 <= infinities < _MOST:
        raise ValueError("a number of a histogram")
    if (found.exponent is None) == bool(found.counts.any()):
        raise ValueError("counts without a width")
    return found


def _zip(columns: dict[str, npt.NDArray[Any]]) -> bytes:
    """Return an ``.npz`` without time stamps."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in columns.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
