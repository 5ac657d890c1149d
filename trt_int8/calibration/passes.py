"""Divide tensors into passes over the data, so that memory suffices."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper

from trt_int8 import progress
from trt_int8.batches.check import checked
from trt_int8.batches.items import Batches
from trt_int8.calibration.activations import Activations
from trt_int8.calibration.kernels import BINS, load_all
from trt_int8.errors import CalibrationError, DataError
from trt_int8.graph.runtime import Session

#: Bytes per tensor and thread besides the values: counts in place, a histogram, and their sum.
_COUNTS = 3 * 8 * (2 * BINS + 1)
#: Later batches may be a little larger, and an allocator rounds up.
_MARGIN = 1.2
_MIB = 1 << 20
#: For readers, hashing, checkpoints and all other temporary memory.
_RESERVE = 32 * _MIB
_PROCESS = Path("/proc/self")
_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 18


@dataclass(frozen=True)
class Passes:
    """The tensors counted in each pass, the number of batches in flight, and all batches."""

    parts: list[tuple[str, ...]]
    threads: int
    batches: Batches


def plan_passes(
    model: onnx.ModelProto,
    activations: Activations,
    names: Sequence[str],
    batches: Batches,
    *,
    max_memory: int,
    threads: int,
    place: str = "the data",
) -> Passes:
    """Divide ``names`` so that no pass takes this process beyond ``max_memory`` bytes.

    The first batch is run to find the size of each tensor, without holding its values.

    Args:
        model, activations: the float model, as a proto and ready to run.
        names: counted tensors, in graph order.
        batches: calibration data.
        max_memory: bytes of resident memory.
        threads: maximum number of batches in flight.
        place: the name of the data in messages.

    Raises:
        CalibrationError: a single tensor does not fit; the message has its name and size.
        DataError: an iterator, which can be read only once, needs several passes.
    """
    once = iter(batches) is batches
    source = iter(batches)
    raw = next(source, None)
    first = next(checked([] if raw is None else [raw], activations.specs, place=place))
    load_all()  # numba takes memory of its own
    return_memory_at_once()
    before = resident() + _RESERVE
    with PeakMemory() as peak:
        sizes = _sizes(model, names, first, activations.element_sizes)
    copied = sum(array.nbytes for array in first.values())  # by the queue
    inference = max(0, peak.bytes + _RESERVE - before) + copied
    parts: list[tuple[str, ...]] = []
    for count in range(threads, 0, -1):
        room = int((max_memory - before - inference * count) / count / _MARGIN)
        if room >= max(sizes.values()) + _COUNTS:
            parts = _parts(sizes, room)
            break
    else:
        largest = max(sizes, key=sizes.__getitem__)
        needed = before + inference + (sizes[largest] + _COUNTS) * _MARGIN
        raise CalibrationError(
            f"{max_memory // _MIB} MiB (max_memory=) is too small: the largest tensor {largest!r} "
            f"({sizes[largest] // _MIB + 1} MiB per batch) needs {int(needed) // _MIB + 1} MiB; increase the "
            "limit, or make the batches smaller"
        )
    if len(parts) > 1:
        if once:
            raise DataError(
                f"{place}: {len(names)} tensors need {len(parts)} passes to fit into {max_memory // _MIB} "
                "MiB, but an iterator can be read only once; pass a list, or increase max_memory"
            )
        progress.note(
            f"{len(names)} tensors need {len(parts)} passes over the data: they do not fit into "
            f"{max_memory // _MIB} MiB"
        )
    return Passes(parts, count, itertools.chain([raw], source) if once else batches)  # type: ignore[list-item]  # the first is as raw as the rest


def _parts(sizes: Mapping[str, int], room: int) -> list[tuple[str, ...]]:
    parts: list[list[str]] = [[]]
    used = 0
    for name, size in sizes.items():
        if parts[-1] and used + size + _COUNTS > room:
            parts.append([])
            used = 0
        parts[-1].append(name)
        used += size + _COUNTS
    return [tuple(part) for part in parts]


def _sizes(
    model: onnx.ModelProto,
    names: Sequence[str],
    batch: Mapping[str, npt.NDArray[np.generic]],
    element_sizes: Mapping[str, int],
) -> dict[str, int]:
    """Measure the bytes of each tensor for ``batch``."""
    measured = onnx.ModelProto()
    measured.CopyFrom(model)
    computed = [name for name in names if name not in batch]
    outputs = {name: f"{name}/trt_int8.size" for name in computed}
    measured.graph.node.extend(helper.make_node("Size", [name], [outputs[name]]) for name in computed)
    del measured.graph.output[:]
    measured.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs.values())
    session = Session(measured, threads=1, arena=False, sizes_first=True)
    for _ in range(2):  # onnxruntime plans the memory of later runs in the first one
        found = session.run(batch, list(outputs.values()), place="the first batch")
    elements = {name: int(size) for name, size in zip(computed, found, strict=True)}
    elements.update({name: array.size for name, array in batch.items()})
    return {name: elements[name] * element_sizes[name] for name in names}


def resident() -> int:
    """Return the resident bytes of this process (or its peak, if the system does not tell)."""
    try:
        return int((_PROCESS / "statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return _peak()


def return_memory_at_once() -> None:
    """Let glibc give large blocks back to the system when they are freed, from now on.

    mallopt(3): otherwise it keeps blocks of up to 32 MiB, since its threshold grows with the blocks it frees.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


class PeakMemory:
    """Measure ``bytes``, the peak memory of this process during a block (or an earlier one, if not reset)."""

    bytes = 0

    def __enter__(self) -> PeakMemory:
        with contextlib.suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5")  # proc(5): resets the peak
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = _peak()


def _peak() -> int:
    try:
        status = (_PROCESS / "status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024
    except (OSError, ValueError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
