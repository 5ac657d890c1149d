"""What a check yields."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One place where a check fails.

    Attributes:
        node: its name.
        message: what is wrong there.
        mend: what to do there, if it differs from the check's.
        fixable: False where the check's fix needs what the model does not hold.
    """

    node: str
    message: str
    mend: str | None = None
    fixable: bool = True
