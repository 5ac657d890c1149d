"""A small stand-in for the ``tensorrt`` module: the objects an implicit build touches.

tests/bindings holds every attribute of its classes against the real ones. The parser reads real ONNX
models; `Builder.build_serialized_network` calls the calibrator as libnvinfer does.
"""

import enum
import re

import onnx

__version__ = "10.16.1.11"

#: What the last build was given, and how it shall go.
built = []


def messages(log):
    """The messages of a verbose log, a path, as a builder hands them to its logger."""
    found = []
    for line in log.read_text().splitlines():
        message = re.fullmatch(r"(?:\[[\d/:-]+\] )?\[[FEWIV]\] (?:\[TRT\] )?(.*)", line)
        if message is None:  # one more line of the message before
            found[-1] += f"\n{line}"
        else:
            found.append(message[1])
    return found


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self):
        pass


class BuilderFlag(enum.Enum):
    FP16, BF16, INT8, TF32, OBEY_PRECISION_CONSTRAINTS, PREFER_PRECISION_CONSTRAINTS = range(6)


class DataType(enum.Enum):
    FLOAT, HALF, BF16, INT8, INT32, INT64, BOOL = range(7)


class LayerType(enum.Enum):
    CONVOLUTION, CONSTANT, QUANTIZE, DEQUANTIZE, SHAPE = range(5)


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class ProfilingVerbosity(enum.Enum):
    DETAILED = 0


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH, STRONGLY_TYPED = 0, 1


class IInt8EntropyCalibrator2:
    pass


class IProgressMonitor:
    def __init__(self):
        pass


class IBuilderConfig:
    def __init__(self):
        self._flags = {BuilderFlag.TF32}
        self._profiles = []
        self._calibration_profile = None
        self._pools = {}
        self._timing = None
        self.int8_calibrator = None
        self.progress_monitor = None
        self.profiling_verbosity = None

    def set_flag(self, flag):
        self._flags.add(flag)

    def clear_flag(self, flag):
        self._flags.discard(flag)

    def get_flag(self, flag):
        return flag in self._flags

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def set_calibration_profile(self, profile):
        self._calibration_profile = profile
        return True

    def set_memory_pool_limit(self, pool, size):
        self._pools[pool] = size

    def create_timing_cache(self, content):
        return None if content.startswith(b"damaged") else ITimingCache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        self._timing = cache
        return not cache._entries & {b"other-gpu"}

    def get_timing_cache(self):
        return self._timing


class ITimingCache:
    """Lines instead of TensorRT's own format."""

    def __init__(self, content):
        self._entries = set(content.split())

    def combine(self, other, ignore_mismatch):
        self._entries |= other._entries
        return True

    def serialize(self):
        return b"\n".join(sorted(self._entries))


class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, name, min, opt, max):
        self._shapes[name] = (tuple(min), tuple(opt), tuple(max))


class ITensor:
    is_shape_tensor = False

    def __init__(self, name, dtype):
        self.name, self.dtype, self._range = name, dtype, None

    def set_dynamic_range(self, low, high):
        self._range = (low, high)
        return True

    def reset_dynamic_range(self):
        self._range = None


class ILayer:
    def __init__(self, name, kind, outputs):
        self.name, self.type, self._outputs = name, kind, outputs
        self.precision = None
        self.num_outputs = len(outputs)

    def get_output(self, index):
        return self._outputs[index]


class INetworkDefinition:
    def __init__(self, flags):
        self._flags, self._inputs, self._layers = flags, [], []

    @property
    def num_inputs(self):
        return len(self._inputs)

    @property
    def num_layers(self):
        return len(self._layers)

    def get_input(self, index):
        return self._inputs[index]

    def get_layer(self, index):
        return self._layers[index]


class OnnxParser:
    def __init__(self, network, logger):
        self._network = network
        self.num_errors = 0

    def parse(self, content):
        graph = onnx.load_from_string(content).graph
        kinds = {"Conv": "CONVOLUTION", "Constant": "CONSTANT", "Shape": "SHAPE"}
        kinds |= {"QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE"}
        self._network._inputs = [ITensor(value.name, DataType.FLOAT) for value in graph.input]
        for node in graph.node:
            dtype = DataType.INT64 if node.op_type == "Shape" else DataType.FLOAT
            kind = getattr(LayerType, kinds.get(node.op_type, "CONVOLUTION"))
            outputs = [ITensor(name, dtype) for name in node.output]
            self._network._layers.append(ILayer(node.name, kind, outputs))
        return True


class Builder:
    """``_outcome`` decides how the build ends, ``_during`` is called while it runs."""

    _outcome = b"the engine"
    _cache = b"TRT-101600-EntropyCalibration2\nx: 3c008912\nconv1: 3d000000\n"
    _during = None
    _log = ()

    def __init__(self, logger):
        self._logger = logger

    def create_network(self, flags):
        return INetworkDefinition(flags)

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        built.append((network, config))
        for line in Builder._log:
            self._logger.log(ILogger.VERBOSE, line)
        calibrator = config.int8_calibrator
        if calibrator is not None and config.get_flag(BuilderFlag.INT8):
            Builder._calibrate(network, calibrator)
        if Builder._during is not None:
            Builder._during()
        monitor = config.progress_monitor
        if monitor is not None and not monitor.step_complete("Tactic selection", 0):
            return None
        if config._timing is not None:
            config._timing._entries.add(b"measured-here")
        return Builder._outcome

    @staticmethod
    def _calibrate(network, calibrator):
        calibrator.get_batch_size()
        if calibrator.read_calibration_cache() is not None:
            return
        names = [tensor.name for tensor in network._inputs]
        while calibrator.get_batch(names):
            pass
        calibrator.write_calibration_cache(memoryview(Builder._cache))
