"""Whether a remedy is kept: some output gains, and none loses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: What an output's SQNR must change by to have changed, in dB: less is the noise of the measurement.
NOISE_DB = 0.1


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a remedy did.

    Attributes:
        sqnr_db: of each output, with the remedy.
        highest: of each output, the most that it had with any set of remedies that was kept. What is lost is
            measured from there, so that small losses do not add up.
        kept: an output gained `NOISE_DB` or more, and none lost so much.
        text: gain at each output, the largest first, for people.
    """

    sqnr_db: Mapping[str, float]
    highest: Mapping[str, float]
    kept: bool = True
    text: str = ""


def judged(best: Verdict, sqnr_db: Mapping[str, float]) -> Verdict:
    """The verdict on a remedy with which the outputs have ``sqnr_db``, where they had ``best`` before."""
    gains = {name: value - best.sqnr_db[name] for name, value in sqnr_db.items()}
    losses = {name: best.highest[name] - value for name, value in sqnr_db.items()}
    kept = max(gains.values()) >= NOISE_DB and max(losses.values()) < NOISE_DB
    order = sorted(gains, key=lambda name: -gains[name])
    text = ", ".join(f"{name} {gains[name]:+.2f} dB" for name in order)
    if not kept:
        text += ", so all stays as it was"
    highest = {name: max(value, best.highest[name]) for name, value in sqnr_db.items()}
    return Verdict(sqnr_db, highest, kept, text)
