"""Connect to a Dask scheduler, or start Dask workers on this machine.

Dask's processes run what they are sent, so whoever can talk to them runs code as their user. Those that are
started here talk to each other only: with TLS, whose key is made for them and stays in their memory.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import multiprocessing.resource_tracker
import signal
import sys
import tempfile
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
        scheduler: address of a running scheduler (``tcp://host:8786``, or ``tls://host:8786`` with the
            certificates of Dask's configuration). Whoever can reach a scheduler without TLS can run code as
            the workers and as the user of this process.
        workers: number of processes to start on this machine instead; they share its cores. No other user
            can connect to them.

    Raises:
        ValueError: both or neither are given, or ``workers`` is below 1.
        CalibrationError: no scheduler answers, it has no workers, or workers cannot be started.
        MissingDependencyError: distributed (or cryptography, which ``workers`` needs) is not installed.
    """
    if (scheduler is None) == (workers is None):
        raise ValueError("give either the address of a scheduler or a number of workers, not both")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; it must be at least 1")
    distributed = require("distributed", purpose=_PURPOSE)
    with ExitStack() as stack:
        stack.enter_context(_unlogged())
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


@contextmanager
def _started(distributed: Any, workers: int) -> Iterator[Any]:
    """Yield a `distributed.LocalCluster` that only this process can use, closed when the block ends."""
    # A starting worker imports the script that started it; multiprocessing marks its process.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise CalibrationError(
            f"the script starts Dask workers when it is imported, so each worker would start more; {_GUARD}"
        )
    require("cryptography", purpose="the encryption between Dask workers")
    dask = require("dask", purpose=_PURPOSE)
    with (
        _private_folder(dask) as folder,
        # All of Dask's threads and processes descend from this thread, and Ctrl-C reaches none of them.
        ThreadPoolExecutor(1, initializer=_block_ctrl_c) as thread,
    ):
        starting = thread.submit(_start, distributed, dask, workers, folder)
        try:
            yield starting.result()
        finally:
            thread.submit(lambda: starting.exception() or starting.result().close()).result()


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep the lines and tracebacks that Dask logs off the terminal; our errors say what they mean."""
    logger = logging.getLogger("distributed")
    levels, propagated = {handler: handler.level for handler in logger.handlers}, logger.propagate
    logger.propagate, nowhere = False, logging.NullHandler()
    logger.addHandler(nowhere)  # without any handler, logging itself would print
    for handler in levels:
        handler.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.propagate = propagated
        logger.removeHandler(nowhere)
        for handler, level in levels.items():
            handler.setLevel(level)


@contextmanager
def _private_folder(dask: Any) -> Iterator[str]:
    """Make the folder of Dask's temporary files; its own one has a fixed name that others may have taken."""
    place = dask.config.get("temporary-directory", None)
    try:
        folder = tempfile.TemporaryDirectory(prefix="trt_int8-dask-", dir=place)
    except OSError as error:
        raise CalibrationError(
            f"Dask workers need a folder for temporary files ({error}); make room there, or set TMPDIR to "
            "another folder"
        ) from error
    with folder as name:
        try:
            yield name
        finally:
            # Dask imports from there, and once the folder is gone, anybody could make one of that name.
            sys.path[:] = [entry for entry in sys.path if not str(entry).startswith(name)]


def _start(distributed: Any, dask: Any, workers: int, folder: str) -> Any:
    """Start the scheduler in this process and the workers in theirs."""
    settings = {
        "temporary-directory": folder,
        # Dask's web servers know no users and cannot be turned off. Without routes, they have no pages.
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    try:
        with dask.config.set(settings):
            return distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=max(1, cores() // workers),
                host="127.0.0.1",
                protocol="tls://",
                security=distributed.Security.temporary(),
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                # One worker needs as much memory as calibration in one process.
                memory_limit=0,
                silence_logs=logging.CRITICAL,
            )
    except (RuntimeError, OSError) as error:
        raise CalibrationError(
            f"{workers} Dask workers cannot be started ({error}); calibrate in this process, without "
            f"workers, or, {_GUARD}"
        ) from error


def _block_ctrl_c() -> None:
    """Block Ctrl-C in this thread and in the threads and processes that it starts.

    A terminal sends Ctrl-C to all processes, and each would print its own traceback.
    """
    if hasattr(signal, "pthread_sigmask"):
        # It unblocks Ctrl-C in the thread that starts it.
        multiprocessing.resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


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
    connection: dict[str, Any] = _security(address).get_connection_args("client")
    async with core.rpc(address, connection_args=connection, timeout=patience) as scheduler:
        identity = await asyncio.wait_for(scheduler.identity(), patience)
        return str(identity["type"])


def _security(address: str) -> Any:
    """Return what `distributed.Client` takes from Dask's configuration: certificates, or who loads them."""
    distributed, dask = require("distributed", purpose=_PURPOSE), require("dask", purpose=_PURPOSE)
    loader = dask.config.get("distributed.client.security-loader", None)
    if loader:
        return distributed.utils.import_term(loader)({"address": address})
    return distributed.Security()


def _reason(error: Exception, patience: float) -> str:
    text = " ".join(str(error).split())
    return text or f"{type(error).__name__} after {patience:g} s"
