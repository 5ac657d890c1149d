"""The Dask workers to calibrate on, and whether a scheduler answers at an address."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from trt_int8.calibration.kernels import cores
from trt_int8.dependencies import require
from trt_int8.errors import CalibrationError

_PURPOSE = "calibration on Dask workers"
#: Seconds to wait for a scheduler.
_PATIENCE = 10
_GUARD = "in a Python script, start them below if __name__ == '__main__':"
#: Where Dask schedulers are unless told.
_PORT = 8786


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
            preload=[__name__],
        )
    except (RuntimeError, OSError) as error:
        raise CalibrationError(
            f"{workers} Dask workers cannot be started ({error}); calibrate in this process, without "
            f"workers, or, {_GUARD}"
        ) from error


def dask_setup(_: object) -> None:
    """Called by Dask in the process of a worker, once it runs: Ctrl-C is for the process that started it.

    A terminal sends it to all of them, and each would print a traceback of its own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def require_scheduler(address: str, *, patience: float) -> None:
    """Ask what is at ``address`` who it is.

    Args:
        address: ``tcp://host:8786``, or another that Dask knows.
        patience: seconds to wait.

    Raises:
        CalibrationError: it is no such address, nothing answers there, or something else does.
    """
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
    except ValueError:  # [::1 and such
        url = urlsplit("http:")
    if url.scheme in ("http", "https") or (not url.scheme and not url.path and ":" not in url.netloc):
        raise CalibrationError(
            f"{address!r} is no address of a Dask scheduler; give the one that dask scheduler prints, such "
            f"as tcp://{url.hostname or 'host'}:{_PORT}"
        )
    try:
        # In a thread: an event loop may be running in this one, as in a notebook.
        with ThreadPoolExecutor(1) as pool:
            role = pool.submit(asyncio.run, _role(address, patience)).result()
    except Exception as error:  # whatever another program sends may be taken for anything
        raise CalibrationError(
            f"no Dask scheduler answers at {address} ({_reason(error, patience)}); give the address that "
            "dask scheduler prints when it starts"
        ) from error
    if role != "Scheduler":
        raise CalibrationError(
            f"what answers at {address} is a Dask {role}; give the address of its scheduler"
        )


async def _role(address: str, patience: float) -> str:
    core = require("distributed.core", purpose="calibration on Dask workers")
    security = require("distributed.security", purpose="calibration on Dask workers").Security()
    connection: dict[str, Any] = security.get_connection_args("client")
    async with core.rpc(address, connection_args=connection, timeout=patience) as scheduler:
        identity = await asyncio.wait_for(scheduler.identity(), patience)
        return str(identity["type"])


def _reason(error: Exception, patience: float) -> str:
    text = " ".join(str(error).split())
    return text or f"{type(error).__name__} after {patience:g} s"
