"""The Dask workers to calibrate on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from trt_int8.cores import cores
from trt_int8.dependencies import require
from trt_int8.errors import CalibrationError

_PURPOSE = "calibration on Dask workers"
#: Seconds to wait for a scheduler.
_PATIENCE = 10


@contextmanager
def cluster(*, scheduler: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """A `distributed.Client` of running workers, closed when the block ends.

    Args:
        scheduler: address of a running one (``tcp://host:8786``).
        workers: processes to start on this machine instead, which share its cores.

    Raises:
        ValueError: both or neither were given, or ``workers`` is below 1.
        CalibrationError: nothing answers at the address, or it has no workers.
        MissingDependencyError: distributed is not installed.
    """
    if (scheduler is None) == (workers is None):
        raise ValueError("give the address of a scheduler or a number of workers: one, not both")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1")
    distributed = require("distributed", purpose=_PURPOSE)
    with ExitStack() as stack:
        if scheduler is not None:
            try:
                client = distributed.Client(scheduler, timeout=_PATIENCE, set_as_default=False)
            except (OSError, ValueError) as error:
                raise CalibrationError(
                    f"no Dask scheduler answers at {scheduler} ({error}); start one with dask scheduler, and "
                    f"workers with dask worker {scheduler}"
                ) from error
            stack.enter_context(client)
            if not client.scheduler_info(n_workers=-1)["workers"]:
                raise CalibrationError(
                    f"the Dask scheduler at {scheduler} has no workers; start some with dask worker "
                    f"{scheduler}"
                )
        else:
            local = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=max(1, cores() // (workers or 1)),
                dashboard_address="127.0.0.1:0",
                # One worker needs room for what calibration in one process would take.
                memory_limit=0,
                preload=["trt_int8.distributed.uninterrupted"],
            )
            stack.enter_context(local)
            client = stack.enter_context(distributed.Client(local, set_as_default=False))
        yield client
