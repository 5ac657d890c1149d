"""Check the arguments of `trt_int8.build_engine` before any work starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from trt_int8.arguments import require_path
from trt_int8.engine.implicit.build import ImplicitOptions
from trt_int8.engine.implicit.store import CacheStore
from trt_int8.engine.log import failed_log, require_regular
from trt_int8.engine.route import ChosenRoute
from trt_int8.errors import BuildError
from trt_int8.files.places import FilePath
from trt_int8.graph.load import require_model
from trt_int8.graph.model import Model
from trt_int8.graph.save import check_saving
from trt_int8.pipeline.options import CalibrationOptions, Profile, QuantizationOptions
from trt_int8.streamer.gpu import find_gpus
from trt_int8.target import CURRENT, DEFAULT_GPU


def check_records(**given: object) -> None:
    """Check that each argument is None or its record of options.

    Raises:
        TypeError: names the argument and what to give.
    """
    wanted: dict[str, tuple[type, str]] = {
        "options": (QuantizationOptions, "trt_int8.QuantizationOptions(algorithm='mse')"),
        "calibration": (CalibrationOptions, "trt_int8.CalibrationOptions(threads=2)"),
        "profile": (Profile, "trt_int8.Profile(batch_size=8)"),
        "implicit": (ImplicitOptions, "trt_int8.engine.implicit.ImplicitOptions(fp16=True)"),
    }
    for name, value in given.items():
        kind, example = wanted[name]
        if isinstance(value, Mapping):
            example = f"{example.partition('(')[0]}(**{name})"
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} is {value!r:.40} ({type(value).__name__}); give {example}")


def check_files(
    model: object, engine: Path, log: Path, qdq: FilePath | None, implicit: ImplicitOptions
) -> None:
    """Check that the build can write its files, and that none overwrites an input or another output.

    Raises:
        OutputError: a file cannot be written, or is used twice.
        ModelError: there is no model file.
        TypeError: ``model`` or ``qdq`` is of the wrong kind.
    """
    if not isinstance(model, Model):
        require_model(model)
    source = model.path if isinstance(model, Model) else model
    inputs: dict[str, FilePath] = {"model": source} if isinstance(source, str | os.PathLike) else {}
    ranges = [source for source in implicit.ranges if isinstance(source, str | os.PathLike)]
    inputs |= {f"dynamic ranges {number}": path for number, path in enumerate(ranges, start=1)}
    outputs: dict[str, FilePath] = {"engine": engine, "log": log, "log of a failed build": failed_log(log)}
    if qdq is not None:
        require_path(qdq, "qdq", of="the Q/DQ model to write")
        outputs["Q/DQ model"] = qdq
    if implicit.timing_cache is not None:
        outputs["timing cache"] = implicit.timing_cache
    if implicit.cache is not None:
        store = CacheStore(implicit.cache)
        files = {"calibration cache": store.path, "fingerprint of the cache": store.sidecar}
        # An existing cache is only read.
        (inputs if store.exists() else outputs).update(files)
    check_saving(outputs, inputs=inputs)
    require_regular(log)


def check_sources(
    model: Model, batches: object, ranges: object, options: QuantizationOptions, implicit: ImplicitOptions
) -> None:
    """Check that a float model gets batches or ranges, and that a Q/DQ model, which has ranges, gets none.

    Raises:
        ValueError: a float model without batches and ranges.
        BuildError: batches, ranges or options of quantization for a Q/DQ model.
    """
    if not model.has_qdq:
        if batches is None and ranges is None and not implicit.ranges:
            raise ValueError("a float model needs samples or ranges: give batches= or ranges=")
        return
    if batches is not None or ranges is not None:
        raise BuildError(
            "the model already has Q/DQ nodes, which set the scales and what runs in INT8; leave batches= "
            "and ranges= out, or give the float model"
        )
    if asked := options.asked_for():
        raise BuildError(
            f"the model already has Q/DQ nodes and is built unchanged; leave {asked[0]}= out, or give the "
            "float model"
        )


def _check_current_gpu(route: ChosenRoute) -> None:
    """Refuse to build with TensorRT-RTX for a GPU that is not there, or that its runtime refuses.

    It builds for the GPU in this machine without looking at it.
    """
    if not route.tensorrt.builds_ahead_of_time or route.target.gpu != CURRENT:
        return
    gpus, problem = find_gpus()
    if problem is not None:
        raise BuildError(
            f"target {route.target.name} is the GPU in this machine, and there is none: {problem.reason}; "
            f"{problem.remedy}, or name a GPU, such as target='rtx:{DEFAULT_GPU}'"
        )
    if not route.tensorrt.runs_on(gpus[0].capability):
        raise BuildError(
            f"{route.tensorrt.name} does not run on the GPU in this machine, {gpus[0].name} "
            f"({gpus[0].capability}), only on {', '.join(route.tensorrt.gpus[1:])}; use TensorRT: "
            "target='tensorrt' (pip install tensorrt-cu12)"
        )


def check_route(route: ChosenRoute, options: QuantizationOptions, implicit: ImplicitOptions) -> None:
    """Check that every option that was given has an effect on this route, and that there is the GPU it needs.

    Raises:
        BuildError: an option is for the other route, or there is no GPU that this TensorRT can run on.
    """
    _check_current_gpu(route)
    if route.name == "explicit":
        other, asked = "implicit", implicit.asked_for()
    else:
        other = "explicit"
        asked = [name for name in options.asked_for() if name not in ("algorithm", "plan")]
    if asked:
        raise BuildError(
            f"{', '.join(asked)}: only for the {other} route; this build uses the {route.name} route "
            f"({route.reason})"
        )
