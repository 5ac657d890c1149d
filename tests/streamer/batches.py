"""Batches for the streamer, and what it runs, for the tests of this folder."""

import threading

import numpy as np

from trt_int8.streamer.device import BatchStream


def batch(start: float, size: int = 2) -> dict[str, np.ndarray]:
    return {
        "x": np.arange(start, start + 3 * size, dtype=np.float32).reshape(size, 3),
        "mask": np.full((size, 1), start, np.int32),
    }


def drain(stream: BatchStream) -> None:
    while stream.next() is not None:
        pass


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "batch reader" in thread.name]
