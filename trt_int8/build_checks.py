"""What `build_engine` refuses before anything is read or built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import onnx

from trt_int8.engine.log import require_regular
from trt_int8.errors import BuildError
from trt_int8.implicit.options import ImplicitOptions
from trt_int8.implicit.route import Route
from trt_int8.implicit.store import CacheStore
from trt_int8.model.qdq import has_qdq
from trt_int8.outputs import FilePath, check_outputs
from trt_int8.paths import require_path
from trt_int8.quantization.plan import PrecisionPlan
from trt_int8.ranges.ranges import require_ranges


def check_types(engine: object, log: object, ranges: object, implicit: object, plan: object) -> None:
    """Refuse what is no path, no `Ranges`, no options or no plan; all but ``engine`` may be None.

    Raises:
        TypeError: naming the argument and what to give.
    """
    require_path(engine, "engine", of="the engine to write")
    if log is not None:
        require_path(log, "log", of="the log to write")
    if ranges is not None:
        require_ranges(ranges)
    if not isinstance(implicit, ImplicitOptions | None):
        example = "**implicit" if isinstance(implicit, Mapping) else "fp16=True"
        raise TypeError(
            f"implicit is {implicit!r:.40} ({type(implicit).__name__}); give "
            f"trt_int8.implicit.ImplicitOptions({example})"
        )
    if not isinstance(plan, PrecisionPlan | None):
        example = "(plan)" if isinstance(plan, Mapping) else ".read(path)"
        raise TypeError(
            f"plan is {plan!r:.40} ({type(plan).__name__}); give trt_int8.quantization.PrecisionPlan{example}"
        )


def check_files(
    model: object, engine: Path, log: Path, cache: FilePath | None, options: ImplicitOptions
) -> None:
    """Results overwrite nothing that is read, nor each other."""
    inputs: dict[str, FilePath] = {} if isinstance(model, onnx.ModelProto) else {"model": model}  # type: ignore[dict-item]  # a path, if it is no model
    ranges = [source for source in options.ranges if isinstance(source, str | os.PathLike)]
    inputs |= {f"dynamic ranges {number}": path for number, path in enumerate(ranges, start=1)}
    outputs: dict[str, FilePath] = {"engine": engine, "log": log}
    if options.timing_cache is not None:
        outputs["timing cache"] = options.timing_cache
    if cache is not None:
        store = CacheStore(cache)
        files = {"calibration cache": store.path, "fingerprint of the cache": store.sidecar}
        # One that exists is read.
        (inputs if store.exists() else outputs).update(files)
    check_outputs(outputs, inputs=inputs)
    require_regular(log)


def check_sources(
    model: onnx.ModelProto,
    batches: object,
    ranges: object,
    options: ImplicitOptions,
    *,
    placement: object = None,
    algorithm: object = None,
) -> None:
    """Ranges come from batches or are given; those of a model with Q/DQ nodes are in it."""
    if has_qdq(model):
        if batches is not None or ranges is not None:
            raise BuildError(
                "the model holds Q/DQ nodes, which say what runs in INT8 and with which scales; "
                "leave out the data and the cache, or start from the float model"
            )
        if placement is not None or algorithm is not None:
            what = "placement" if placement is not None else "algorithm"
            raise BuildError(
                f"the model holds Q/DQ nodes, and is built as it is: leave out the {what}, or start from the "
                "float model"
            )
    elif batches is not None and ranges is not None:
        raise ValueError("batches and ranges were both given; a build takes its ranges from one of them")
    elif batches is None and ranges is None and not options.ranges:
        raise ValueError("a float model needs calibration batches or ranges")


def refuse_implicit_only(route: Route, cache: object, reuse: bool, options: ImplicitOptions) -> None:
    """Options without effect would be taken for obeyed."""
    asked = options.asked_for() + ([] if cache is None else ["cache"]) + (["reuse_cache"] if reuse else [])
    if asked:
        raise BuildError(
            f"{', '.join(asked)}: only the implicit route has these options, and this build takes the "
            f"explicit one ({route.reason})"
        )
