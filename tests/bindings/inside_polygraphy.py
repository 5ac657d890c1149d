"""Run by test_calibrators.py beside the real bindings: our calibrator in the real Polygraphy's CreateConfig.

TensorRT's own builder cannot run here, so Polygraphy configures the fake one; flags, enums and the
calibrator are the real TensorRT's.
"""

import fake_tensorrt
import numpy as np
import tensorrt as trt
from libnvinfer import Calibration, floats
from polygraphy.backend.trt import CreateConfig, Profile

from trt_int8.engine.implicit import EntropyCalibrator, MinMaxCalibrator
from trt_int8.streamer.device import HostDevice


class Network(fake_tensorrt.INetworkDefinition):
    """One convolution; with what Polygraphy alone asks for."""

    def __init__(self):
        super().__init__(0)
        data = fake_tensorrt.ITensor("x", trt.float32)
        data.shape, data.is_shape_tensor = (-1, 3), False
        layer = fake_tensorrt.ILayer("conv1", trt.LayerType.CONVOLUTION, [])
        layer.precision_is_set = False
        self._inputs, self._layers = [data], [layer]

    def __iter__(self):
        return iter(self._layers)


def configure(calibrator):
    profile = Profile().add("x", min=(1, 3), opt=(2, 3), max=(8, 3))
    create = CreateConfig(int8=True, calibrator=calibrator, profiles=[profile])
    return create(fake_tensorrt.Builder(None), Network())


def test_create_config_takes_our_calibrators():
    for kind in (EntropyCalibrator, MinMaxCalibrator):
        calibrator = kind(
            [{"x": np.full((2, 3), start, np.float32)} for start in (1, 2)], device=HostDevice()
        )
        config = configure(calibrator)
        assert config.int8_calibrator is calibrator
        assert trt.BuilderFlag.INT8 in config._flags
        assert config._calibration_profile._shapes["x"][1] == (2, 3)
        cpp = Calibration(trt, config.int8_calibrator)
        assert [floats(cpp.batch(["x"])[0], 6) for _ in range(2)] == [[1] * 6, [2] * 6]
        assert cpp.batch(["x"]) is None
        calibrator.raise_if_failed()
