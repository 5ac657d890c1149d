"""The bytes of a log → text and numbers."""

from __future__ import annotations

import math


def text(data: bytes) -> str:
    """What the log says; bytes that are no UTF-8 become replacement characters."""
    return data.decode("utf-8", errors="replace")


def number_in(digits: bytes) -> float | None:
    """A printed number; None if it is none, or not finite."""
    try:
        number = float(digits)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
