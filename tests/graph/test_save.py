"""External weights stay external."""

import hashlib
import os

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
    (data,) = tmp_path.glob("*.data")
    name = hashlib.sha256(data.read_bytes()).hexdigest()[:16]
    assert data.name == f"q.onnx.{name}.data"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["q.onnx", data.name]
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


def test_a_failed_write_leaves_nothing(external, tmp_path, monkeypatch):
    model, real = load_model(external), os.replace

    def fail(old, new):
        if str(new).endswith(".onnx"):
            raise OSError(28, "No space left on device")
        real(old, new)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OutputError, match="q.onnx: No space left"):
        save_like(model, tmp_path / "q.onnx", source=external)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def scaled(model, factor):
    """``model`` with other weights."""
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for tensor in other.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    return other


def first_weight(path):
    return onnx.numpy_helper.to_array(load_model(path).graph.initializer[0])


def test_weights_that_nobody_refers_to_are_removed(external, tmp_path):
    model, output = load_model(external), tmp_path / "q.onnx"
    (tmp_path / "q.onnx.data").write_text("an exporter's")
    (tmp_path / "empty").touch()
    for factor in (1, 2, 3):
        save_like(scaled(model, factor), output, source=external)
        assert len(list(tmp_path.glob("q.onnx.*.data"))) == 1
    kept = tmp_path / "renamed.bak"
    output.rename(kept)
    save_like(scaled(model, 4), output, source=external)
    save_like(scaled(model, 5), output, source=external)
    assert len(list(tmp_path.glob("q.onnx.*.data"))) == 2
    assert np.array_equal(first_weight(kept), first_weight(external) * 3)
    assert np.array_equal(first_weight(output), first_weight(external) * 5)
    save_like(scaled(model, 5), output, source=external)
    assert np.array_equal(first_weight(output), first_weight(external) * 5)
    assert (tmp_path / "q.onnx.data").read_text() == "an exporter's"
    kept.unlink()
    save_like(model, output, source=None)
    assert sorted(path.name for path in tmp_path.glob("q.onnx*")) == ["q.onnx", "q.onnx.data"]


def test_external_weights_are_not_put_where_no_reader_finds_them(external, tmp_path):
    (tmp_path / "link.onnx").symlink_to(tmp_path / "in" / "q.onnx")
    for refused in (
        lambda: check_saving({"Q/DQ model": tmp_path / "link.onnx"}, inputs={"model": external}),
        lambda: save_like(load_model(external), tmp_path / "link.onnx", source=external),
    ):
        with pytest.raises(OutputError, match="not found through a link to another folder; give the name of"):
            refused()
    (tmp_path / "in" / "link.onnx").symlink_to("q.onnx")
    save_like(load_model(external), tmp_path / "in" / "link.onnx", source=external)
    assert np.array_equal(first_weight(tmp_path / "in" / "link.onnx"), first_weight(external))


def test_the_weights_of_the_source_are_never_overwritten(external, tmp_path):
    model, weights = load_model(external), external.with_name("w.bin")
    before = weights.read_bytes()
    output = tmp_path / "in" / "q.onnx"
    (tmp_path / "in" / "q.onnx.data").symlink_to(weights)
    for refused, message in (
        (lambda: save_like(model, output, source=external), "saved model .*/q.onnx would overwrite"),
        (lambda: check_saving({"Q/DQ model": output}, inputs={"model": external}),
         "Q/DQ model .*/in/q.onnx would overwrite .*/q.onnx.data, which has weights of the model .*/m.onnx"),
        (lambda: check_saving({"log": weights}, inputs={"model": external}),
         r"the log would overwrite the weights of the model \(file 1\) .*/in/w.bin"),
    ):  # fmt: skip
        with pytest.raises(OutputError, match=message):
            refused()
    assert weights.read_bytes() == before
    assert not output.exists()
    check_saving({"Q/DQ model": tmp_path / "q.onnx"}, inputs={"model": external})


def test_external_weights_need_a_file_whose_name_can_be_stored(external, tmp_path):
    model = load_model(external)
    for refused in (
        lambda: save_like(model, "/dev/null", source=external),
        lambda: check_saving({"Q/DQ model": "/dev/stdout"}, inputs={"model": external}),
    ):
        with pytest.raises(OutputError, match="/dev/.*: the model has external weights, which need a file"):
            refused()
    for path, message in (
        (os.fsdecode(os.fsencode(tmp_path) + b"/\xff.onnx"), "ONNX stores the name of their file in UTF-8"),
        (tmp_path / ("x" * 250), "the name is too long"),
    ):
        with pytest.raises(OutputError, match=message):
            check_saving({"Q/DQ model": path}, inputs={"model": external})
        with pytest.raises(OutputError, match=message):
            save_like(model, path, source=external)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_weights_that_are_all_small_make_no_second_file(make_model, rng, tmp_path):
    model = make_model(
        [op("MatMul", "x w", "y")], inputs={"x": [2, 4]}, outputs=["y"], weights={"w": weight(rng, 4, 4)}
    )
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    save_like(load_model(tmp_path / "m.onnx"), tmp_path / "q.onnx", source=tmp_path / "m.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "q.onnx", "w.bin"]
    assert load_model(tmp_path / "q.onnx").graph.initializer[0].dims == [4, 4]
