"""External weights stay external."""

import numpy as np
import onnx
import pytest
from graphs import op, ranges, weight

from trt_int8.errors import OutputError
from trt_int8.graph import load_model
from trt_int8.graph.save import check_saving, has_external_data, save_like
from trt_int8.quantization import quantize


@pytest.fixture
def external(make_model, rng, tmp_path):
    model = make_model(
        [op("MatMul", "x w", "a"), op("MatMul", "a v", "y")],
        inputs={"x": [2, 64]},
        outputs=["y"],
        weights={"w": weight(rng, 64, 64), "v": weight(rng, 64, 8)},
    )
    (tmp_path / "in").mkdir()
    onnx.save(
        model, tmp_path / "in" / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    return tmp_path / "in" / "m.onnx"


def test_external_weights_stay_external(external, tmp_path):
    assert has_external_data(external)
    result = quantize(external, ranges(x=1.0, a=1.0), placement="tensorrt").model
    output = tmp_path / "q.onnx"
    save_like(result, output, source=external)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["q.onnx", "q.onnx.data"]
    assert has_external_data(output)
    assert output.stat().st_size < 64 * 64  # the weights are not in it
    again = load_model(output)
    assert [t.name for t in again.graph.initializer] == [t.name for t in result.graph.initializer]
    for before, after in zip(result.graph.initializer, again.graph.initializer, strict=True):
        assert np.array_equal(onnx.numpy_helper.to_array(before), onnx.numpy_helper.to_array(after))


def test_weights_inside_stay_inside(lenet_path, tmp_path):
    model = load_model(lenet_path)
    assert not has_external_data(lenet_path)
    save_like(model, tmp_path / "m.onnx", source=lenet_path)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_bytes() == model.SerializeToString()


def test_a_failed_write_leaves_nothing(external, tmp_path):
    (tmp_path / "q.onnx").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        save_like(load_model(external), tmp_path / "q.onnx", source=external)
    assert not (tmp_path / "q.onnx.data").exists()


def test_the_weights_of_the_source_are_never_overwritten(external, tmp_path):
    model, weights = load_model(external), external.with_name("w.bin")
    before = weights.read_bytes()
    (tmp_path / "in" / "q.onnx.data").symlink_to(weights)
    for save in (
        lambda: save_like(model, tmp_path / "in" / "q.onnx", source=external),
        lambda: check_saving({"Q/DQ model": tmp_path / "in" / "q.onnx"}, inputs={"model": external}),
        lambda: check_saving({"log": weights}, inputs={"model": external}),
    ):
        with pytest.raises(OutputError, match=r"would overwrite the weights of the model \(file 1\) .*/in/"):
            save()
    assert weights.read_bytes() == before
    assert not (tmp_path / "in" / "q.onnx").exists()
    check_saving({"Q/DQ model": tmp_path / "q.onnx"}, inputs={"model": external})


def test_weights_that_are_all_small_make_no_second_file(make_model, rng, tmp_path):
    model = make_model(
        [op("MatMul", "x w", "y")], inputs={"x": [2, 4]}, outputs=["y"], weights={"w": weight(rng, 4, 4)}
    )
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    save_like(load_model(tmp_path / "m.onnx"), tmp_path / "q.onnx", source=tmp_path / "m.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "q.onnx", "w.bin"]
    assert load_model(tmp_path / "q.onnx").graph.initializer[0].dims == [4, 4]
