"""What became of a calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class CalibrationSummary:
    """Attributes:
    algorithm: ``EntropyCalibration2`` or ``MinMaxCalibration``.
    source: where the scales came from; ``never called`` if TensorRT asked for neither data nor cache.
    batches: number of batches that TensorRT took.
    batch_size: samples in a batch, where data was read.
    tensors: number of tensors with a scale.
    cache: the cache file, where one was given.
    """

    algorithm: str
    source: Literal["data", "cache", "never called"]
    batches: int
    batch_size: int | None
    tensors: int
    cache: Path | None

    def explain(self, *, int8: bool | None = None, quantized: bool | None = None) -> str:
        """One line for people.

        Args:
            int8: whether the INT8 flag was set.
            quantized: whether the network holds Q/DQ layers.
        """
        if self.source == "cache":
            return (
                f"calibration: {self.tensors} scales from {self.cache}; no data was needed "
                "(delete the file to calibrate again)"
            )
        if self.source == "data":
            kept = f", kept in {self.cache}" if self.cache is not None else ""
            return (
                f"calibration: {self.tensors} scales ({self.algorithm}) from {self.batches} batches "
                f"of {self.batch_size}{kept}"
            )
        return f"the calibrator was never called: {_reason(int8, quantized)}"


def _reason(int8: bool | None, quantized: bool | None) -> str:
    if quantized:
        return (
            "the network holds Q/DQ layers, whose scales TensorRT takes instead; "
            "give it the model without them to calibrate"
        )
    if int8 is False:
        return "the builder's INT8 flag is not set; set BuilderFlag.INT8"
    known = [] if quantized is None or int8 is None else ["every tensor has a dynamic range already"]
    causes = [
        *known,
        *(["the network holds Q/DQ layers"] if quantized is None else []),
        *(["the INT8 flag is not set"] if int8 is None else []),
        "config.int8_calibrator was not set to this calibrator",
        "the build failed before calibration",
    ]
    return "likely causes: " + "; ".join(causes)
