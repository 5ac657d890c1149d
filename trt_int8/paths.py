"""Paths that callers give."""

from __future__ import annotations

import os
from typing import Any


def require_path(value: Any, name: str, *, of: str) -> None:
    """Refuse what is no path: None, bytes, the number of an open file, …

    Examples:
        >>> require_path("model.cache", "path", of="a calibration cache")
        >>> require_path(None, "path", of="a calibration cache")
        Traceback (most recent call last):
        ...
        TypeError: path is None (NoneType); give the path of a calibration cache

    Raises:
        TypeError: neither text nor `os.PathLike`.
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} is {value!r:.40} ({type(value).__name__}); give the path of {of}")
