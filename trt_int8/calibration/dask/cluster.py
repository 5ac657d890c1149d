"""Connect to a Dask scheduler, or start Dask workers on this machine."""

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
_GUARD = "in a Python script, start them inside if __name__ == '__main__':"
#: The default port of Dask schedulers.
_PORT = 8786


@contextmanager
def cluster(*, scheduler: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """Yield a `distributed.Client` of running workers, closed when the block ends.

    Args:
        scheduler: address of a running scheduler (``tcp://host:8786``).
        workers: number of processes to start on this machine instead; they share its cores.

    Raises:
        ValueError: both or neither are given, or ``workers`` is below 1.
        CalibrationError: no scheduler answers, it has no workers, or workers cannot be started.
        MissingDependencyError: distributed is not installed.
    """
    if (scheduler is None) == (workers is None):
        raise ValueError("give either the address of a scheduler or a number of workers, not both")
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
                    f"the Dask scheduler at {scheduler} has no workers; run: dask worker {scheduler}"
                )
        else:
            local = stack.enter_context(_started(distributed, workers or 1))
            client = stack.enter_context(distributed.Client(local, set_as_default=False))
        yield client


def _started(distributed: Any, workers: int) -> Any:
    """Start a `distributed.LocalCluster`."""
    # A starting worker imports the script that started it; multiprocessing marks its process.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise CalibrationError(
            f"the script starts Dask workers when it is imported, so each worker would start more; {_GUARD}"
        )
    try:
        return distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=max(1, cores() // workers),
            dashboard_address="127.0.0.1:0",
            # One worker needs as much memory as calibration in one process.
            memory_limit=0,
            preload=[__name__],
        )
    except (RuntimeError, OSError) as error:
        raise CalibrationError(
            f"{workers} Dask workers cannot be started ({error}); calibrate in this process, without "
            f"workers, or, {_GUARD}"
        ) from error


def dask_setup(_: object) -> None:
    """Ignore Ctrl-C in a worker; Dask calls this in its process.

    A terminal sends Ctrl-C to all processes, and each would print its own traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def require_scheduler(address: str, *, patience: float) -> None:
    """Check that a Dask scheduler answers at ``address`` (``tcp://host:8786``) within ``patience`` seconds.

    Raises:
        CalibrationError: it is not an address of Dask, or no scheduler answers there.
    """
    try:
        url = urlsplit(address if "://" in address else f"//{address}")
    except ValueError:  # [::1 and such
        url = urlsplit("http:")
    if url.scheme in ("http", "https") or (not url.scheme and not url.path and ":" not in url.netloc):
        raise CalibrationError(
            f"{address!r} is not the address of a Dask scheduler; give the one that dask scheduler prints, "
            f"such as tcp://{url.hostname or 'host'}:{_PORT}"
        )
    try:
        # In a thread: an event loop may be running in this one, as in a notebook.
        with ThreadPoolExecutor(1) as pool:
            role = pool.submit(asyncio.run, _role(address, patience)).result()
    except Exception as error:  # another program may answer with any bytes
        raise CalibrationError(
            f"no Dask scheduler answers at {address} ({_reason(error, patience)}); give the address that "
            "dask scheduler prints when it starts"
        ) from error
    if role != "Scheduler":
        raise CalibrationError(
            f"{address} is the address of a Dask {role}; give the address of its scheduler"
        )


async def _role(address: str, patience: float) -> str:
    core = require("distributed.core", purpose=_PURPOSE)
    security = require("distributed.security", purpose=_PURPOSE).Security()
    connection: dict[str, Any] = security.get_connection_args("client")
    async with core.rpc(address, connection_args=connection, timeout=patience) as scheduler:
        identity = await asyncio.wait_for(scheduler.identity(), patience)
        return str(identity["type"])


def _reason(error: Exception, patience: float) -> str:
    text = " ".join(str(error).split())
    return text or f"{type(error).__name__} after {patience:g} s"
