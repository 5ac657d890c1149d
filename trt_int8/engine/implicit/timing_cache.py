"""Keep TensorRT's timing cache in a file that several builds can share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trt_int8.errors import CacheError
from trt_int8.files import atomic
from trt_int8.files.inputs import read_input


class TimingCache:
    """A timing cache file. It is locked while it is read or updated, but not while TensorRT builds.

    An update keeps what other builds have added in the meantime. The lock is on the folder, so it needs no
    file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def load_into(self, config: Any) -> None:
        """Give ``config`` the content of the file, or an empty cache.

        Raises:
            CacheError: it cannot be read, or TensorRT rejects it: it is damaged, or from another version or
                device.
            OutputError: there is no such folder, or it cannot be locked.
        """
        with self._locked():
            content = self._read()
        timing = config.create_timing_cache(content)
        if timing is None or not config.set_timing_cache(timing, False):
            raise CacheError(
                f"{self.path}: TensorRT rejected this timing cache; it is damaged, or from another TensorRT "
                "version or GPU; delete it or choose another file"
            )

    def update_from(self, config: Any) -> None:
        """Add the timings of the build to the file; OutputError if it cannot be written."""
        timing = config.get_timing_cache()
        with self._locked():
            if content := self._read():
                others = config.create_timing_cache(content)
                if others is not None:
                    timing.combine(others, False)
            atomic.write_bytes(self.path, bytes(timing.serialize()))

    def _read(self) -> bytes:
        try:
            return read_input(self.path) if os.path.exists(self.path) else b""
        except OSError as error:
            raise CacheError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        atomic.require_writable(self.path)
        with atomic.locked(self.path.resolve().parent):
            yield
