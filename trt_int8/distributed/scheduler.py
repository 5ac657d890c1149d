"""Whether a Dask scheduler answers at an address.

`distributed.Client` waits for ever at the port of another program, such as that of Dask's own dashboard.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from trt_int8.dependencies import require
from trt_int8.errors import CalibrationError

#: Where Dask schedulers are unless told.
_PORT = 8786


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
