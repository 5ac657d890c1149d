"""Check arguments: whole numbers and paths."""

from __future__ import annotations

import operator
import os
from typing import Any


def require_count(value: Any, name: str, *, example: str = "8") -> None:
    """Check that ``value`` is a whole number, at least 1; None means that it is not given.

    Examples:
        >>> require_count(None, "threads")
        >>> require_count("2G", "max_memory", example="2 << 30, in bytes")
        Traceback (most recent call last):
        ...
        TypeError: max_memory is '2G' (str); give a whole number, such as 2 << 30, in bytes

    Raises:
        TypeError: it is not a whole number.
        ValueError: it is below 1.
    """
    if value is None:
        return
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(
            f"{name} is {value!r:.40} ({type(value).__name__}); give a whole number, such as {example}"
        )
    if number < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1")


def require_path(value: Any, name: str, *, of: str) -> None:
    """Check that ``value`` is a path, not None, bytes, the number of an open file, …

    Examples:
        >>> require_path("model.cache", "path", of="a calibration cache")
        >>> require_path(None, "path", of="a calibration cache")
        Traceback (most recent call last):
        ...
        TypeError: path is None (NoneType); give the path of a calibration cache

    Raises:
        TypeError: it is neither str nor `os.PathLike`.
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} is {value!r:.40} ({type(value).__name__}); give the path of {of}")
