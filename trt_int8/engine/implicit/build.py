"""Build an engine on the implicit route: TensorRT uses INT8 where it is fastest and tensors have ranges."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import onnx

from trt_int8.choices import Constraints
from trt_int8.engine.builder import SerializedEngine, add_profile, parse_model, start_builder
from trt_int8.engine.implicit.callbacks import CalibratorCallbacks
from trt_int8.engine.implicit.dynamic_ranges import Resolution, Source, apply, read_rules, resolve
from trt_int8.engine.implicit.network import float_tensors, has_qdq_layers, keep_layers
from trt_int8.engine.implicit.timing_cache import TimingCache
from trt_int8.engine.interrupts import Interrupts
from trt_int8.engine.log import BuildLog
from trt_int8.engine.tensorrt import TensorRT
from trt_int8.engine.watch import building
from trt_int8.errors import BuildError, OutputError
from trt_int8.graph.inputs import InputSpec, input_specs
from trt_int8.graph.shapes import GivenShapes, resolve_shapes
from trt_int8.streamer.device import Device

_logger = logging.getLogger("trt_int8")
Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ImplicitOptions:
    """Options of the implicit route.

    Attributes:
        fp16, bf16: other precisions for layers; without them a layer runs in INT8 or FP32.
        tf32: whether FP32 layers may use TF32.
        keep_fp16, keep_fp32: names or globs of layers to keep out of INT8. ``keep_fp16`` needs ``fp16``.
        constraints: ``obey`` these or fail; or ``prefer`` them and warn.
        ranges: dynamic ranges set by hand, see `trt_int8.engine.implicit.dynamic_ranges`; they override
            calibrated ranges, and later ones override earlier ones.
        shapes: min, opt and max shape of each dynamic input.
        batch_size: instead of ``shapes`` if only the first axis is dynamic: the max batch; min is 1.
        workspace: limit of the layers' scratch memory in bytes; None: TensorRT's default.
        timing_cache: file of kernel timings, shared by builds.
        cache: file of TensorRT's calibration cache. It is used if it exists and fits model and data; a cache
            that does not fit is an error. If it does not exist, it is written.
        reuse_cache: use that cache without the check.
        device: device for the calibrator's batches, see `trt_int8.streamer.device`; None: the CUDA device.
    """

    fp16: bool = False
    bf16: bool = False
    tf32: bool = True
    keep_fp16: Sequence[str] = ()
    keep_fp32: Sequence[str] = ()
    constraints: Constraints = "obey"
    ranges: Sequence[Source] = ()
    shapes: GivenShapes | None = None
    batch_size: int | None = None
    workspace: int | None = None
    timing_cache: str | os.PathLike[str] | None = None
    cache: str | os.PathLike[str] | None = None
    reuse_cache: bool = False
    device: Device | None = None

    def asked_for(self) -> list[str]:
        """Return the names of the options that differ from the defaults."""
        return [field.name for field in fields(self) if getattr(self, field.name) != field.default]


def build_implicit(
    model: onnx.ModelProto,
    *,
    tensorrt: TensorRT,
    log: BuildLog,
    calibrator: CalibratorCallbacks | None = None,
    options: ImplicitOptions | None = None,
    tell: Tell = _logger.info,
) -> SerializedEngine:
    """Parse ``model`` and build it with the INT8 flag.

    Args:
        model, tensorrt, log: the float model; from `load_implicit`; gets TensorRT's lines.
        calibrator: an `EntropyCalibrator` or `MinMaxCalibrator`; None: only ``options.ranges`` are used.
        tell: function that gets lines for people: matches of the rules, tensors without a scale, the result
            of calibration.

    Raises:
        ShapeError: shapes are missing for a dynamic model, or do not fit it.
        BuildError: TensorRT rejected the model, or there is no calibrator and no range.
        RangeError: a rule for ranges matches no tensor.
        BaseException: what the calibrator's data or device raised; KeyboardInterrupt for Ctrl-C.
    """
    tensorrt.require_implicit_int8()
    options = options or ImplicitOptions()
    if calibrator is None and not options.ranges:
        raise BuildError("an INT8 build needs calibration data or dynamic ranges (ranges=)")
    logger = tensorrt.logger(log)
    flags = tensorrt.implicit_network_flags()
    builder, network, config = start_builder(tensorrt, logger, flags, log=log)
    parse_model(model, tensorrt, network, logger, log)
    specs = input_specs(model)
    if has_qdq_layers(network, tensorrt):
        raise BuildError("the model has Q/DQ nodes, so TensorRT ignores calibrators and ranges")
    with tensorrt.deprecated_calls():
        if calibrator is not None:
            _reject_narrowed(network, tensorrt, specs)
        _set_precisions(network, config, tensorrt, options, tell)
        tensors = float_tensors(network, tensorrt)
        resolution = _set_ranges(tensors, options, tell, calibrated=calibrator is not None)
        shapes = resolve_shapes(specs, options.shapes, batch_size=options.batch_size)
        add_profile(builder, network, config, shapes)
        if calibrator is None:
            _tell_missing(tell, resolution.missing(tensors), "have no dynamic range")
        else:
            _set_calibrator(calibrator, builder, config, specs, tensors, resolution, tell)
    tensorrt.set_detailed_layers(config)
    if options.workspace is not None:
        tensorrt.set_workspace(config, options.workspace)
    timings = None if options.timing_cache is None else TimingCache(options.timing_cache)
    if timings is not None:
        timings.load_into(config)
    serialized = _build(builder, network, config, calibrator, tensorrt, log)
    if timings is not None:
        try:
            timings.update_from(config)
        except OutputError as error:  # the engine is worth more than the timings
            tell(f"{error}; the engine is built")
    if calibrator is not None:
        tell(calibrator.summary().explain(int8=True, quantized=False))
    return SerializedEngine(serialized, "tensorrt", tensorrt.name, hand_set=resolution.ranges, profile=shapes)


def _build(
    builder: Any,
    network: Any,
    config: Any,
    calibrator: CalibratorCallbacks | None,
    tensorrt: TensorRT,
    log: BuildLog,
) -> bytes:
    interrupts = Interrupts() if calibrator is None else calibrator.interrupts

    def stop() -> bool:
        return interrupts.pending if calibrator is None else calibrator.failed

    try:
        with building(tensorrt, config, stop=stop, log=log.path_if_failed):
            with interrupts.held():
                serialized = builder.build_serialized_network(network, config)
            if calibrator is None:
                if interrupts.pending:
                    raise KeyboardInterrupt
            elif calibrator.failed or serialized is not None:
                calibrator.raise_if_failed()
    finally:
        if calibrator is not None:
            calibrator.close()
    if serialized is None:
        raise BuildError(f"{tensorrt.name} could not build the engine", lines=log.errors)
    return bytes(serialized)


def _reject_narrowed(network: Any, tensorrt: TensorRT, specs: Mapping[str, InputSpec]) -> None:
    """Reject int64 inputs in TensorRT 8, which reads the bytes of an int64 batch as int32."""
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        spec = specs.get(tensor.name)
        if spec is not None and spec.dtype == np.int64 and tensor.dtype == tensorrt.data_type("INT32"):
            raise BuildError(
                f"{tensorrt.name} reads the int64 input {spec} as int32, so int64 batches cannot be used; "
                "change the input to int32 and add a Cast to int64 after it, or use TensorRT 10"
            )


def _set_precisions(
    network: Any, config: Any, tensorrt: TensorRT, options: ImplicitOptions, tell: Tell
) -> None:
    if options.keep_fp16 and not options.fp16:
        raise BuildError("keep_fp16= needs FP16: add fp16=True, or use keep_fp32=")
    config.set_flag(tensorrt.builder_flag("INT8"))
    if options.fp16:
        config.set_flag(tensorrt.builder_flag("FP16"))
    if options.bf16:
        config.set_flag(tensorrt.builder_flag("BF16"))
    if not options.tf32:
        config.clear_flag(tensorrt.builder_flag("TF32"))
    patterns = {"fp16": options.keep_fp16, "fp32": options.keep_fp32}
    for line in keep_layers(network, config, patterns, tensorrt=tensorrt, constraints=options.constraints):
        tell(line)


def _set_ranges(
    tensors: Mapping[str, Any], options: ImplicitOptions, tell: Tell, *, calibrated: bool
) -> Resolution:
    rules = [rule for source in options.ranges for rule in read_rules(source)]
    resolution = resolve(rules, tensors)
    for line in resolution.lines():
        tell(line)
    if calibrated and resolution.unset:
        tell(
            f"{len(resolution.unset)} tensors that are 'unset' get calibrated ranges; to keep layers out of "
            "INT8, give keep_fp32= or keep_fp16="
        )
    apply(resolution, tensors)
    return resolution


def _set_calibrator(
    calibrator: CalibratorCallbacks,
    builder: Any,
    config: Any,
    specs: Mapping[str, InputSpec],
    tensors: Mapping[str, Any],
    resolution: Resolution,
    tell: Tell,
) -> None:
    calibrator.tensors = tuple(tensors)
    config.int8_calibrator = calibrator
    if any(isinstance(size, str) for spec in specs.values() for size in spec.shape):
        # TensorRT calibrates with one shape; by default that is the opt shape of the first profile.
        profile = builder.create_optimization_profile()
        for name, shape in calibrator.shapes.items():
            profile.set_shape(name, shape, shape, shape)
        config.set_calibration_profile(profile)
    store = calibrator.store
    if store is not None and store.exists():
        missing = store.missing(name for name in tensors if name not in resolution.ranges)
        _tell_missing(tell, missing, f"have no scale in {store.path}")


def _tell_missing(tell: Tell, missing: Sequence[str], what: str) -> None:
    if missing:
        tell(f"{len(missing)} tensors {what}; layers that read or write them cannot run in INT8:")
        for name in missing:
            tell(f"  {name}")
