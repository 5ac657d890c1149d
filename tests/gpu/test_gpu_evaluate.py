"""An engine on the GPU against the Q/DQ model it was made from."""

import pytest

from trt_int8 import build_engine, evaluate

pytestmark = pytest.mark.gpu


@pytest.mark.usefixtures("gpu")
def test_an_engine_runs_as_onnxruntime_says(lenet_path, digits, tmp_path):
    batches = [{"data": image[None]} for image in digits["calibration"][:30]]
    engine = tmp_path / "e.engine"
    result = build_engine(lenet_path, engine, batches=batches, mode="explicit", target="current")
    assert evaluate(result.quantized.model, engine, batches).sqnr_db > 25
