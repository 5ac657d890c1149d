"""The Dask workers to calibrate on."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from trt_int8.cores import cores
from trt_int8.dependencies import require
from trt_int8.distributed.scheduler import require_scheduler
from trt_int8.errors import CalibrationError

_PURPOSE = "calibration on Dask workers"
#: Seconds to wait for a scheduler.
_PATIENCE = 10
_GUARD = "in a Python script, start them below if __name__ == '__main__':"


@contextmanager
def cluster(*, scheduler: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """A `distributed.Client` of running workers, closed when the block ends.

    Args:
        scheduler: address of a running one (``tcp://host:8786``).
        workers: processes to start on this machine instead, which share its cores.

    Raises:
        ValueError: both or neither were given, or ``workers`` is below 1.
        CalibrationError: no scheduler answers at the address, or it has no workers; workers cannot be
            started.
        MissingDependencyError: distributed is not installed.
    """
    if (scheduler is None) == (workers is None):
        raise ValueError("give the address of a scheduler or a number of workers: one, not both")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1")
    distributed = require("distributed", purpose=_PURPOSE)
    with ExitStack() as stack:
        if scheduler is not None:
            require_scheduler(scheduler, patience=_PATIENCE)
            client = stack.enter_context(
                distributed.Client(scheduler, timeout=_PATIENCE, set_as_default=False)
            )
            if not client.scheduler_info(n_workers=-1)["workers"]:
                raise CalibrationError(
                    f"the Dask scheduler at {scheduler} has no workers; start some with dask worker "
                    f"{scheduler}"
                )
        else:
            local = stack.enter_context(_started(distributed, workers or 1))
            client = stack.enter_context(distributed.Client(local, set_as_default=False))
        yield client


def _started(distributed: Any, workers: int) -> Any:
    """A `distributed.LocalCluster`."""
    # A worker that is just started imports the script that starts it, as multiprocessing tells here.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise CalibrationError(f"a Dask worker that is just starting would start workers; {_GUARD}")
    try:
        return distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=max(1, cores() // workers),
            dashboard_address="127.0.0.1:0",
            # One worker needs room for what calibration in one process would take.
            memory_limit=0,
            preload=["trt_int8.distributed.uninterrupted"],
        )
    except (RuntimeError, OSError) as error:
        raise CalibrationError(
            f"{workers} Dask workers cannot be started ({error}); calibrate in this process, without "
            f"workers, or, {_GUARD}"
        ) from error
