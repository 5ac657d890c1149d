"""Loaded into workers that run on this machine: Ctrl-C is for the process that started them.

A terminal sends it to all of them, and each would print a traceback of its own.
"""

import signal


def dask_setup(_: object) -> None:
    """Called by Dask in the worker's process, once it runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
