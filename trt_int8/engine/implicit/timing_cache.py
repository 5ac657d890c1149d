"""Keep TensorRT's timing cache in a file that several builds can share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trt_int8.dependencies import require
from trt_int8.errors import CacheError, OutputError
from trt_int8.files import atomic


class TimingCache:
    """A timing cache file. It is locked while it is read or updated, but not while TensorRT builds.

    An update keeps what other builds have added in the meantime. The lock file is ``<path>.lock``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        filelock = require("filelock", purpose="a timing cache shared by builds")
        self._lock: Any = filelock.FileLock(f"{self.path}.lock")

    def load_into(self, config: Any) -> None:
        """Give ``config`` the content of the file, or an empty cache.

        Raises:
            CacheError: TensorRT rejects it: it is from another version or device, or damaged.
            OutputError: the lock file cannot be made.
        """
        with self._locked():
            content = self.path.read_bytes() if self.path.exists() else b""
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
            if self.path.exists():
                others = config.create_timing_cache(self.path.read_bytes())
                if others is not None:
                    timing.combine(others, False)
            atomic.write_bytes(self.path, bytes(timing.serialize()))

    def _locked(self) -> Any:
        if not self.path.parent.is_dir():  # filelock would create it
            raise OutputError(
                f"timing cache {self.path}: the folder {self.path.parent} does not exist; create it first"
            )
        try:
            return self._lock.acquire()
        except OSError as error:
            raise OutputError(
                f"cannot lock the timing cache {self.path}: {error.strerror or error}; "
                "its folder must be writable"
            ) from error
