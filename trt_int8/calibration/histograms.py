"""What calibration collects: one histogram a tensor, mergeable, and the ranges they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trt_int8.calibration.histogram import Histogram
from trt_int8.calibration.thresholds import require_algorithm, thresholds
from trt_int8.errors import CalibrationError
from trt_int8.ranges.ranges import Ranges, TensorRange


@dataclass(frozen=True, eq=False)
class Histograms:
    """Histograms of the tensors of one model.

    Attributes:
        tensors: tensor name → histogram, in the graph's order.
        ties: tensor → the tensor whose range it takes (see `trt_int8.model.shared_ranges`).
        samples: how many samples were run.
    """

    tensors: Mapping[str, Histogram]
    ties: Mapping[str, str] = field(default_factory=dict)
    samples: int = 0

    def merge(self, other: Histograms) -> Histograms:
        """What one run over both parts of the data would have collected, to the last count.

        Raises:
            CalibrationError: the two come from models with different tensors.
        """
        different = set(self.tensors) ^ set(other.tensors)
        if different or dict(self.ties) != dict(other.ties):
            listed = ", ".join(sorted(different)[:5]) or "the same names, connected differently"
            raise CalibrationError(
                f"histograms of different models cannot be merged (differing tensors: {listed}); "
                "merge only shards that were calibrated with one model"
            )
        merged = {name: histogram.merge(other.tensors[name]) for name, histogram in self.tensors.items()}
        return Histograms(merged, self.ties, self.samples + other.samples)

    def ranges(self, *, algorithm: str = "entropy") -> Ranges:
        """A range for every tensor.

        Args:
            algorithm: ``entropy``, ``minmax``, ``percentile`` or ``mse``.

        Raises:
            ValueError: no such algorithm.
        """
        require_algorithm(algorithm)
        rooted = {name: histogram for name, histogram in self.tensors.items() if name not in self.ties}
        found = thresholds(list(rooted.values()), algorithm=algorithm)
        own = {name: TensorRange(amax, source=algorithm) for name, amax in zip(rooted, found, strict=True)}
        shared = {
            name: TensorRange(own[root].amax, source=f"{algorithm} of {root}")
            for name, root in self.ties.items()
        }
        return Ranges({name: own.get(name) or shared[name] for name in self.tensors})
