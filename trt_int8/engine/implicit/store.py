"""Keep a calibration cache on disk, with the fingerprint of what it was made from."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from pathlib import Path

from trt_int8.engine.implicit.fingerprint import Fingerprint
from trt_int8.errors import CacheError
from trt_int8.files import atomic
from trt_int8.files.inputs import TEXT_LIMIT, read_input
from trt_int8.files.outputs import check_outputs
from trt_int8.ranges import CalibrationCache


class CacheStore:
    """A cache file ``x.cache`` and its sidecar ``x.cache.json``, the fingerprint.

    Args:
        path: the cache file; it need not exist.
        reuse: use the cache even if its fingerprint does not fit.

    Attributes:
        made_from: the fingerprint of the cache that `load` returned; None if it has none.
    """

    def __init__(self, path: str | os.PathLike[str], *, reuse: bool = False) -> None:
        self.path = Path(path)
        self.sidecar = Path(f"{self.path}.json")
        self.reuse = reuse
        self.made_from: Fingerprint | None = None

    def exists(self) -> bool:
        return os.path.exists(self.path)

    def check_place(self) -> None:
        """Check before a calibration that its result can be written; an existing cache is only read.

        Raises:
            OutputError: it cannot be written.
        """
        if not self.exists():
            check_outputs({"calibration cache": self.path, "its fingerprint": self.sidecar})

    def load(self, now: Fingerprint) -> bytes:
        """Return the bytes of the cache after checking that it fits ``now``.

        Warns:
            UserWarning: there is no sidecar, or one without model or data, or ``reuse`` overrides it.

        Raises:
            CacheError: not a cache, of another algorithm, or its fingerprint differs from ``now``.
        """
        cache = CalibrationCache.read(self.path)
        if now.algorithm is not None and cache.algorithm != now.algorithm:
            raise CacheError(
                f"{self.path}:1: the cache was made with algorithm {cache.algorithm}, but the calibrator "
                f"uses {now.algorithm}; use the calibrator of that algorithm, or another cache file"
            )
        content = cache.text.encode("utf-8")
        if self.reuse:
            self._warn_of_reuse(content, now)
        elif not os.path.exists(self.sidecar):
            _warn(
                f"{self.path}: there is no file {self.sidecar.name}, so the cache is used without a check "
                "that it was made from this model and this data"
            )
        else:
            self._check(content, now)
        return content

    def missing(self, tensors: Iterable[str]) -> list[str]:
        """Return the ``tensors`` without a scale in the cache; TensorRT will not run them in INT8."""
        scales = CalibrationCache.read(self.path).scales
        return [name for name in tensors if name not in scales]

    def save(self, content: bytes, fingerprint: Fingerprint) -> None:
        """Write cache and sidecar, each in one step.

        The sidecar is written first. If the process is killed between the two, there is no cache, or the old
        one, which `load` rejects because it does not match the sidecar; never a new cache with no sidecar.

        Raises:
            OutputError: a file cannot be written.
        """
        atomic.write_text(self.sidecar, fingerprint.to_json(content))
        atomic.write_bytes(self.path, content)

    def _read_sidecar(self, content: bytes) -> Fingerprint:
        try:
            text = read_input(self.sidecar, limit=TEXT_LIMIT).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CacheError(
                f"{self.sidecar}: cannot be read: {getattr(error, 'strerror', None) or error}; delete it or "
                "calibrate again"
            ) from error
        self.made_from = Fingerprint.from_json(text, content, place=str(self.sidecar))
        return self.made_from

    def _check(self, content: bytes, now: Fingerprint) -> None:
        made_from = self._read_sidecar(content)
        if changes := made_from.changes(now):
            raise CacheError(
                f"{self.path} does not fit this calibration: {'; '.join(changes)}. "
                "Delete it to calibrate again, choose another cache file, or add reuse_cache=True"
            )
        if unknown := made_from.unknown(now):
            _warn(f"{self.path}: used without a check of: {', '.join(unknown)}")

    def _warn_of_reuse(self, content: bytes, now: Fingerprint) -> None:
        if not os.path.exists(self.sidecar):
            return
        try:
            changes = self._read_sidecar(content).changes(now)
        except CacheError:
            changes = [f"{self.sidecar} is damaged or does not match the cache"]
        if changes:
            _warn(f"{self.path} is reused although it does not fit this calibration: {'; '.join(changes)}")


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=3)
