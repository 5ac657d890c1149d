"""Layer information and profiles in JSON: engine inspector, ``trtexec --exportLayerInfo``, TREx graphs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trt_int8.errors import ReportError
from trt_int8.paths import require_path
from trt_int8.report.datatypes import dtype
from trt_int8.report.layer_text import onnx_nodes
from trt_int8.report.observed import Observed
from trt_int8.report.records import Layer, Tensor


def read_layer_information(path: str | os.PathLike[str]) -> Observed:
    """The layers of one engine: ``{"Layers": […]}``, each an object, or a name only.

    Raises:
        ReportError: not JSON, or no layer information.
    """
    document = _load(path, "layer information")
    layers = document.get("Layers") if isinstance(document, dict) else None
    if not isinstance(layers, list):
        raise ReportError(
            f'{path} is no layer information: it has no "Layers" list. Give what trtexec '
            "--exportLayerInfo or the engine inspector (LayerInformationFormat.JSON) wrote"
        )
    seen = Observed(layers=[_layer(entry) for entry in layers], first_line=1)
    seen.complete = bool(layers)
    seen.last_line = 1
    return seen


def read_profile(path: str | os.PathLike[str]) -> list[tuple[str, float]]:
    """(layer name, average ms) for each entry of ``trtexec --exportProfile``, in order.

    Raises:
        ReportError: not JSON, or no profile.
    """
    document = _load(path, "profile")
    entries = document if isinstance(document, list) else None
    counts = (_number(entry.get("count")) for entry in entries or () if isinstance(entry, dict))
    count = next((number for number in counts if number is not None), 1.0)
    times = []
    for entry in entries or ():
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            average, total = _number(entry.get("averageMs")), _number(entry.get("timeMs"))
            if average is None and total is not None:
                average = total / max(count, 1.0)
            if average is not None:
                times.append((entry["name"], average))
    if not times:
        raise ReportError(
            f'{path} is no profile: no entries with "name" and "averageMs". '
            "Give what trtexec --exportProfile wrote"
        )
    return times


def with_times(
    layers: Sequence[Layer], times: Sequence[tuple[str, float]], *, source: str
) -> tuple[Layer, ...]:
    """``layers`` with the time of the profile entry of the same name; equal names match in order.

    Raises:
        ReportError: no name matches, so the profile is of another engine.
    """
    left: dict[str, list[float]] = {}
    for name, time in reversed(times):
        left.setdefault(name, []).append(time)
    timed = [
        layer.changed(time_ms=left[layer.name].pop()) if left.get(layer.name) else layer for layer in layers
    ]
    if layers and all(layer.time_ms is None for layer in timed):
        raise ReportError(
            f"{source} is a profile of another engine: none of its {len(times)} names is that of one of this "
            f"engine's {len(layers)} layers (first here {layers[0].name!r}, first there {times[0][0]!r})"
        )
    return tuple(timed)


def _load(path: str | os.PathLike[str], what: str) -> Any:
    require_path(path, "path", of=f"the {what}")
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise ReportError(f"cannot read the {what} {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path} is not JSON ({what} expected): {error}") from error


def _layer(entry: Any) -> Layer:
    if not isinstance(entry, dict):
        return Layer(str(entry), "", kind="compute")
    weights = entry.get("Weights")
    return Layer(
        name=_text(entry.get("Name")),
        type=_text(entry.get("LayerType")),
        inputs=_tensors(entry.get("Inputs")),
        constants=_tensors(entry.get("Constants")),
        outputs=_tensors(entry.get("Outputs")),
        tactic=_text(entry.get("TacticValue")) or None,
        tactic_name=_text(entry.get("TacticName")) or None,
        onnx_nodes=onnx_nodes(_text(entry.get("Metadata"))),
        weights=dtype(_text(weights.get("Type"))) if isinstance(weights, dict) else None,
        origin=_text(entry.get("Origin")) or None,
    )


def _tensors(entries: Any) -> tuple[Tensor, ...]:
    if not isinstance(entries, list):
        return ()
    return tuple(_tensor(entry) for entry in entries if isinstance(entry, dict))


def _tensor(entry: dict[str, Any]) -> Tensor:
    spelling = _text(entry.get("Datatype") or entry.get("Format/Datatype"))
    form = _text(entry.get("Format")) or (spelling if " " in spelling else None)
    dims = entry.get("Dimensions")
    whole = isinstance(dims, list) and all(
        isinstance(size, int) and not isinstance(size, bool) for size in dims
    )
    return Tensor(_text(entry.get("Name")), dtype(spelling), tuple(dims) if whole else None, form)  # type: ignore[arg-type]  # whole: all are int


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _number(value: Any) -> float | None:
    """A finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
