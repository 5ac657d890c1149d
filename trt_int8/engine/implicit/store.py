"""The calibration cache on disk, with the fingerprint that says what it was made from."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

from trt_int8.engine.implicit.fingerprint import Fingerprint
from trt_int8.errors import CacheError
from trt_int8.files import atomic
from trt_int8.files.outputs import check_outputs
from trt_int8.ranges import CalibrationCache


class CacheStore:
    """A cache file ``x.cache`` and its sidecar ``x.cache.json``.

    Args:
        path: the cache file; it need not exist.
        reuse: take the cache even where its fingerprint says it was made from something else.

    Attributes:
        made_from: what the cache that `load` returned was made from; None where that is not known.
    """

    def __init__(self, path: str | os.PathLike[str], *, reuse: bool = False) -> None:
        self.path = Path(path)
        self.sidecar = self.path.with_name(self.path.name + ".json")
        self.reuse = reuse
        self.made_from: Fingerprint | None = None

    def exists(self) -> bool:
        return self.path.exists()

    def check_place(self) -> None:
        """Find out before a calibration whether its result can be written; an existing cache only is read.

        Raises:
            OutputError: it cannot.
        """
        if not self.exists():
            check_outputs({"calibration cache": self.path, "its fingerprint": self.sidecar})

    def load(self, now: Fingerprint) -> bytes:
        """The bytes of the cache, once it is known to fit ``now``.

        Warns:
            UserWarning: there is no sidecar, it leaves something open, or ``reuse`` overrides it.

        Raises:
            CacheError: not a cache, of another algorithm, or its fingerprint differs from ``now``.
        """
        cache = CalibrationCache.read(self.path)
        if now.algorithm is not None and cache.algorithm != now.algorithm:
            raise CacheError(
                f"{self.path}:1: a cache of {cache.algorithm}, which TensorRT does not take for "
                f"{now.algorithm}; use the calibrator of that algorithm, or another cache file"
            )
        content = cache.text.encode("utf-8")
        if self.reuse:
            self._warn_of_reuse(content, now)
        elif not self.sidecar.exists():
            _warn(
                f"{self.path}: there is no {self.sidecar.name} beside it, so whether it was made from this "
                "model and this data is not known; it is used as it is"
            )
        else:
            self._check(content, now)
        return content

    def missing(self, tensors: Iterable[str]) -> list[str]:
        """Those of ``tensors`` for which the cache holds no scale; TensorRT will not run them in INT8."""
        scales = CalibrationCache.read(self.path).scales
        return [name for name in tensors if name not in scales]

    def save(self, content: bytes, fingerprint: Fingerprint) -> None:
        """Write cache and sidecar, each in one step.

        The sidecar comes first: a kill between the two leaves no cache, or the one before, which `load`
        refuses since it is not the sidecar's; never a new cache that nothing vouches for.

        Raises:
            OutputError: a file cannot be written.
        """
        atomic.write_text(self.sidecar, fingerprint.to_json(content))
        atomic.write_bytes(self.path, content)

    def _read_sidecar(self, content: bytes) -> Fingerprint:
        try:
            text = self.sidecar.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CacheError(
                f"{self.sidecar}: cannot be read: {error}; delete it or calibrate again"
            ) from error
        self.made_from = Fingerprint.from_json(text, content, place=str(self.sidecar))
        return self.made_from

    def _check(self, content: bytes, now: Fingerprint) -> None:
        made_from = self._read_sidecar(content)
        changes = made_from.changes(now)
        if changes:
            raise CacheError(
                f"{self.path} was made from something else:\n"
                + "".join(f"  {line}\n" for line in changes)
                + "Delete it to calibrate again, name another cache file, or reuse it on purpose "
                "(reuse_cache=True)"
            )
        unknown = made_from.unknown(now)
        if unknown:
            _warn(f"{self.path}: not compared with what it was made from: {', '.join(unknown)}")

    def _warn_of_reuse(self, content: bytes, now: Fingerprint) -> None:
        if not self.sidecar.exists():
            return
        try:
            changes = self._read_sidecar(content).changes(now)
        except CacheError:
            changes = [f"{self.sidecar} is damaged or belongs to other content of the cache"]
        if changes:
            _warn(f"{self.path} is reused although it was made from something else: {'; '.join(changes)}")


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)
