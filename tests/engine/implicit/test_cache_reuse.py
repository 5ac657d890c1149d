"""May this cache be used again? Calibrators, their fingerprints, and the files on disk."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from stand_ins import CACHE, Calibrator, batch, calibrate

from trt_int8.errors import CacheError, CalibrationError, DataError
from trt_int8.graph.identity import external_files, model_id
from trt_int8.streamer.device import HostDevice


def make(batches, **options):
    return Calibrator(batches, device=HostDevice(), **options)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "x.cache"


@pytest.fixture
def model(tmp_path):
    """y = x of [n, 2]; another name makes another model."""

    def save(name="model"):
        value = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["n", 2]) for n in "xy"]
        graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], name, value[:1], value[1:])
        path = tmp_path / f"{name}.onnx"
        onnx.save(helper.make_model(graph), path)
        return path

    return save


def refused(calibrator):
    """The error for which TensorRT got neither cache nor data."""
    assert calibrate(calibrator) == []
    with pytest.raises(CacheError) as caught:
        calibrator.raise_if_failed()
    return str(caught.value)


def test_batches_are_held_against_the_model(model):
    calibrator = make([{"x": np.zeros((2, 3), np.float32)}], model=model())
    calibrate(calibrator)
    with pytest.raises(DataError, match=r"input 'x'.*shape is \[2, 3\] and the model takes \[n, 2\]"):
        calibrator.raise_if_failed()


def test_float64_is_refused_even_without_a_model():
    calibrator = make([{"x": np.zeros((2, 3))}])
    calibrate(calibrator)
    with pytest.raises(DataError, match=r"float64.*astype\('float32'\)"):
        calibrator.raise_if_failed()


def test_a_cache_is_written_and_used_by_the_next_build(cache, model):
    options = {"cache": cache, "model": model()}
    first = make([batch(0), batch(10)], **options)
    assert len(calibrate(first)) == 2
    first.raise_if_failed()
    assert cache.read_bytes() == CACHE
    second = make([batch(0), batch(10)], **options)
    assert calibrate(second) == CACHE
    second.raise_if_failed()
    assert (second.summary().source, second.summary().batches, second.summary().tensors) == ("cache", 0, 2)


def test_the_order_of_the_samples_does_not_matter(cache, model):
    calibrate(make([batch(0), batch(10)], cache=cache, model=model()))
    assert calibrate(make([batch(10), batch(0)], cache=cache, model=model())) == CACHE


def test_everything_that_changed_is_named(cache, model):
    calibrate(make([batch(0), batch(10)], cache=cache, model=model()))
    message = refused(make([batch(0, size=4), batch(1, size=4)], cache=cache, model=model("other")))
    assert "model: " in message
    assert "calibration data: " in message
    assert "batch size: 2, now 4" in message
    assert "TensorRT:" not in message
    assert "reuse_cache=True" in message
    assert cache.read_bytes() == CACHE


def test_another_batch_size_of_the_same_samples_is_only_that(cache):
    calibrate(make([batch(0, size=2), batch(4, size=2)], cache=cache))
    message = refused(make([batch(0, size=4)], cache=cache))
    assert "batch size: 2, now 4" in message
    assert "calibration data" not in message


def test_another_tensorrt_is_refused(cache):
    calibrate(make([batch(0)], cache=cache))

    class Newer(Calibrator):
        tensorrt = "10.17"

    assert "TensorRT: 10.16.1, now 10.17" in refused(Newer([batch(0)], cache=cache, device=HostDevice()))


def test_another_normalization_on_the_device_is_refused(cache, model):
    class Scaling(HostDevice):
        def __init__(self, scale):
            self.conversion = f"x: times {scale}"

        def staged(self, name, shape, dtype):
            return shape, "float32"

    options = {"cache": cache, "model": model(), "data": "pixels"}
    calibrate(Calibrator([batch(0)], device=Scaling(0.5), **options))
    assert calibrate(Calibrator([batch(0)], device=Scaling(0.5), **options)) == CACHE
    message = refused(Calibrator([batch(0)], device=Scaling(0.25), **options))
    assert "conversion on the device: x: times 0.5, now x: times 0.25. Delete it" in message
    assert "conversion on the device: x: times 0.5, now none. Delete it" in refused(
        make([batch(0)], **options)
    )


def test_weights_in_files_of_their_own_are_part_of_the_model(tmp_path):
    """Of the graph, of a branch, and of an attribute."""

    def saved(folder, *weights):
        outer, inner, attribute = (
            numpy_helper.from_array(np.full(64, weight, np.float32), name)
            for weight, name in zip(weights, ("outer", "inner", "attribute"), strict=True)
        )
        value = helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [64])
        branch = helper.make_graph(
            [helper.make_node("Identity", ["inner"], ["z"])], "b", [], [value], [inner]
        )
        nodes = [
            helper.make_node("Constant", [], ["constant"], value=attribute),
            helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch),
        ]
        flag = helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])
        value = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [64])
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "model.onnx"
        onnx.save(
            helper.make_model(helper.make_graph(nodes, "g", [flag], [value], [outer])), path,
            save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=0, convert_attribute=True,
        )  # fmt: skip
        return path

    files = external_files(onnx.load(saved("files", 1, 1, 1), load_external_data=False))
    assert len(files) == 3
    ids = {model_id(saved(f"{w}", *w)) for w in ((1, 1, 1), (2, 1, 1), (1, 2, 1), (1, 1, 2))}
    assert len(ids) == 4


def test_one_changed_value_is_other_data(cache):
    calibrate(make([batch(0), batch(10)], cache=cache))
    changed = batch(10)
    changed["x"][1, 1] += 1e-3
    assert "calibration data: " in refused(make([batch(0), changed], cache=cache))


def test_a_missing_sample_is_other_data(cache):
    calibrate(make([batch(0), batch(10)], cache=cache))
    assert "calibration data: " in refused(make([batch(0)], cache=cache))


def test_named_data_is_compared_by_name_and_not_read(cache, model):
    calibrate(make([batch(0)], cache=cache, model=model(), data="digits v1"))

    def only_one():
        yield batch(99)
        raise AssertionError("more than the first batch was read")

    assert calibrate(make(only_one(), cache=cache, model=model(), data="digits v1")) == CACHE
    message = refused(make([batch(0)], cache=cache, model=model(), data="digits v2"))
    assert "calibration data: digits v1, now digits v2" in message


def test_what_cannot_be_compared_is_said(cache, model):
    calibrate(make([batch(0)], cache=cache))
    with pytest.warns(UserWarning, match=r"used without a check of: model$"):
        assert calibrate(make([batch(0)], cache=cache, model=model())) == CACHE


def test_reuse_takes_the_cache_and_says_what_differs(cache):
    calibrate(make([batch(0)], cache=cache))
    with pytest.warns(UserWarning, match=r"reused although.*batch size: 2, now 4"):
        assert calibrate(make([batch(0, size=4)], cache=cache, reuse_cache=True)) == CACHE


def test_a_cache_without_a_sidecar_is_used_with_a_warning(cache):
    cache.write_bytes(CACHE)
    with pytest.warns(UserWarning, match=r"no file x\.cache\.json.*used without a check"):
        assert calibrate(make([batch(0)], cache=cache)) == CACHE


def test_an_edited_cache_is_refused_and_can_be_reused_on_purpose(cache):
    calibrate(make([batch(0)], cache=cache))
    edited = CACHE.replace(b"3c008912", b"3c008913")
    cache.write_bytes(edited)
    assert "does not match the calibration cache, which was changed" in refused(make([batch(0)], cache=cache))
    with pytest.warns(UserWarning, match="does not match the cache"):
        assert calibrate(make([batch(0)], cache=cache, reuse_cache=True)) == edited


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format": 1}', "\x00"])
def test_a_damaged_sidecar_is_refused(cache, text):
    cache.write_bytes(CACHE)
    cache.with_name("x.cache.json").write_text(text)
    assert "x.cache.json: not the fingerprint" in refused(make([batch(0)], cache=cache))


def test_a_cache_of_the_other_algorithm_is_refused(cache):
    cache.write_bytes(b"TRT-8601-MinMaxCalibration\nx: 3c008912\n")
    assert "x.cache:1: the cache was made with algorithm MinMaxCalibration" in refused(
        make([batch(0)], cache=cache)
    )


def test_a_damaged_cache_is_neither_used_nor_replaced(cache):
    damaged = b"TRT-8601-EntropyCalibration2\nx: hello\n"
    cache.write_bytes(damaged)
    assert "x.cache:2" in refused(make([batch(0)], cache=cache))
    assert cache.read_bytes() == damaged


def test_tensors_that_the_cache_lacks_are_listed(cache):
    cache.write_bytes(CACHE)
    assert make([batch(0)], cache=cache).store.missing(["x", "conv1", "y", "conv2"]) == ["conv1", "conv2"]


def test_a_network_with_other_tensors_is_refused(cache):
    first = make([batch(0)], cache=cache)
    first.tensors = ("x", "conv1")
    calibrate(first)
    second = make([batch(0)], cache=cache)
    second.tensors = ("x", "conv2")
    assert "tensor names: removed 1 (conv1), new 1 (conv2)" in refused(second)


def test_a_cache_that_tensorrt_does_not_take_is_no_reason_to_calibrate_on_one_batch(cache, model):
    options = {"cache": cache, "model": model()}
    calibrate(make([batch(0), batch(10), batch(20)], **options))
    again = make([batch(0), batch(10), batch(20)], **options)
    assert bytes(again.read_calibration_cache()) == CACHE
    assert again.get_batch(["x"]) is None
    again.write_calibration_cache(memoryview(CACHE.replace(b"3c008912", b"3c000000")))
    assert cache.read_bytes() == CACHE
    with pytest.raises(CalibrationError, match=r"rejected the calibration cache .*x\.cache.*delete"):
        again.raise_if_failed()


def test_a_cache_handed_back_as_it_is_stays(cache, model):
    calibrate(make([batch(0)], cache=cache, model=model()))
    again = make([batch(0)], cache=cache, model=model())
    again.write_calibration_cache(again.read_calibration_cache())
    again.raise_if_failed()
    assert cache.read_bytes() == CACHE
    assert again.summary().source == "cache"


def test_without_a_sidecar_the_data_is_not_read(cache):
    cache.write_bytes(CACHE)

    def only_one():
        yield batch(0)
        raise AssertionError("more than the first batch was read")

    calibrator = make(only_one(), cache=cache)
    with pytest.warns(UserWarning, match="used without a check"):
        assert calibrate(calibrator) == CACHE
    calibrator.raise_if_failed()
    assert calibrator.fingerprint is None  # nobody knows what it was made from


def test_the_fingerprint_of_a_reused_cache_is_that_of_its_own_data(cache):
    first = make([batch(0)], cache=cache)
    calibrate(first)
    other = make([batch(0, size=4)], cache=cache, reuse_cache=True)
    with pytest.warns(UserWarning, match="reused"):
        calibrate(other)
    assert other.fingerprint == first.fingerprint
    assert other.fingerprint.batch_size == 2
