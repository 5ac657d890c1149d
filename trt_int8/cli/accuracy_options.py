"""Options of evaluate and sensitivity that say how accuracy is measured, and its limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from trt_int8.cli.data_options import DataOptions
from trt_int8.cli.help import Panel
from trt_int8.cli.parameters import Bound, Decorated, grouped, option

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class AccuracyOptions:
    """Values of the accuracy options."""

    labels: str | None
    metric: str | None
    scores: str | None
    max_drop: float | None
    min_sqnr: float | None

    def check(self, data: DataOptions) -> None:
        """Refuse options that do not fit together, or do not fit ``data``."""
        if self.max_drop is not None and self.labels is None and self.metric is None:
            raise click.UsageError(
                "--max-drop needs --labels (for top-1) or --metric; to limit the SQNR give --min-sqnr"
            )
        if self.labels is not None and (data.shuffle is not None or data.last == "pad" or data.skip_bad):
            raise click.UsageError(
                "--labels follow the order of the samples; leave out --shuffle, --last pad and --skip-bad"
            )

    def function(self) -> Callable[..., Any] | None:
        """Load the function of ``--metric``."""
        from trt_int8.evaluation.metrics import load_metric

        return None if self.metric is None else load_metric(self.metric)

    def read_labels(self, data: DataOptions) -> npt.NDArray[np.generic] | None:
        """Read the labels of the first ``--limit`` samples."""
        from trt_int8.batches.arrays import read_labels

        if self.labels is None or data.data is None:
            return None
        return read_labels(self.labels, data.data)[: data.limit]


def accuracy(*, max_drop: str, min_sqnr: str) -> Callable[[Decorated], Decorated]:
    """Declare the options, two with the given help. The command gets ``accuracy``, an `AccuracyOptions`."""
    limit: dict[str, Any] = {"panel": Panel.REQUIREMENTS, "type": Bound(min=0)}
    options = [
        option(
            "--labels",
            metavar="FILE|KEY",
            type=click.Path(),
            help="Correct class of each sample, for top-1: an .npy file, or a key of the --data .npz.",
        ),
        option(
            "--metric",
            metavar="MODULE:FUNCTION",
            type=click.Path(),
            help="Your own metric: a function of (outputs, labels) or of (outputs, labels, float_outputs), "
            "higher is better. Or file.py:function.",
        ),
        option(
            "--scores", metavar="NAME", help="Output that holds the class scores. [default: the first output]"
        ),
        option(
            "--max-drop",
            metavar="X",
            help=f"{max_drop} Without --metric it is top-1 as a fraction: 0.01 is one percentage point.",
            **limit,
        ),
        option("--min-sqnr", metavar="DB", help=min_sqnr, **limit),
    ]
    return grouped("accuracy", AccuracyOptions, options, panel=Panel.ACCURACY)
