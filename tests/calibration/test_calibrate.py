import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from trt_int8.batches import ArraySamples, batched
from trt_int8.calibration import calibrate, collect
from trt_int8.errors import CalibrationError, DataError, ModelError

TABLE = ["data", "conv1", "pool1", "conv2", "pool2", "pool2_flat", "ip1_pre", "ip1", "ip2", "prob"]


def cache_bytes(calibration) -> str:
    return calibration.cache().text


def digit_batches(images, batch_size=1, **kwargs):
    return batched(ArraySamples({"data": images}), batch_size, **kwargs)


@pytest.fixture(scope="module")
def lenet_calibration(lenet_path, digits):
    return calibrate(lenet_path, digit_batches(digits["calibration"][:100]))


def test_every_float_tensor_in_graph_order(lenet_calibration):
    assert list(lenet_calibration.ranges) == TABLE
    assert lenet_calibration.samples == 100


def test_histograms_hold_what_onnxruntime_computes(lenet_path, digits, lenet_calibration):
    model = onnx.load(lenet_path)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("conv1", "ip1"))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    seen = [session.run(["conv1", "ip1"], {"data": image[None]}) for image in digits["calibration"][:100]]
    for i, name in enumerate(["conv1", "ip1"]):
        values = np.concatenate([outputs[i].ravel() for outputs in seen])
        histogram = lenet_calibration.histograms.tensors[name]
        assert (histogram.minimum, histogram.maximum) == (values.min(), values.max())
        assert histogram.zeros == (values == 0).sum()
        assert histogram.total == values.size
        assert histogram.magnitudes().sum() == (values != 0).sum()


def test_order_and_shards_give_byte_identical_caches(lenet_path, digits, lenet_calibration):
    images = digits["calibration"][:100]
    expected = cache_bytes(lenet_calibration)
    shuffled = calibrate(lenet_path, digit_batches(images, shuffle=7))
    assert cache_bytes(shuffled) == expected
    shards = [calibrate(lenet_path, digit_batches(part)) for part in np.array_split(images, 3)]
    merged = shards[2].merge(shards[0]).merge(shards[1])
    assert cache_bytes(merged) == expected
    assert merged.samples == 100
    # and it is not just that every calibration gives the same
    assert cache_bytes(shards[0]) != expected


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_change_a_byte(lenet_path, digits, lenet_calibration, threads):
    calibration = calibrate(lenet_path, digit_batches(digits["calibration"][:100]), threads=threads)
    assert cache_bytes(calibration) == cache_bytes(lenet_calibration)
    assert calibration.samples == 100


def test_a_source_may_fill_the_same_array_again(lenet_path, digits):
    """Batches are in use on every core while the source makes the next one."""
    images = digits["calibration"][:64]

    def reusing():
        array = np.empty((1, 1, 28, 28), np.float32)
        for image in images:
            array[:] = image
            yield {"data": array}

    fresh = collect(onnx.load(lenet_path), digit_batches(images))
    again = collect(onnx.load(lenet_path), reusing(), threads=3)
    for name, histogram in fresh.tensors.items():
        np.testing.assert_array_equal(histogram.counts, again.tensors[name].counts, err_msg=name)


def test_views_share_one_histogram(lenet_calibration):
    tensors = lenet_calibration.histograms.tensors
    assert tensors["pool2_flat"] is tensors["pool2"]
    assert tensors["pool1"] is not tensors["conv1"]


def test_only_the_tensors_asked_for(lenet_path, digits, lenet_calibration):
    images = digit_batches(digits["calibration"][:100])
    some = collect(onnx.load(lenet_path), images, tensors=["pool2_flat", "data", "conv2"])
    assert list(some.tensors) == ["data", "conv2", "pool2_flat"]
    for name, histogram in some.tensors.items():
        assert np.array_equal(histogram.counts, lenet_calibration.histograms.tensors[name].counts)
    # a tie to a tensor outside the choice starts at the nearest one inside
    assert some.ties == {"pool2_flat": "conv2"}
    assert (
        collect(onnx.load(lenet_path), [{"data": digits["calibration"][:1]}], tensors=["pool2_flat"]).ties
        == {}
    )
    with pytest.raises(CalibrationError, match="the model has no float tensor 'conv9' that"):
        collect(onnx.load(lenet_path), images, tensors=["conv9"])


def test_the_first_error_by_batch_number_is_raised(lenet_path, digits):
    good, bad = {"data": digits["calibration"][:1]}, {"data": np.zeros((1, 1, 28, 28))}

    def loader():
        yield from [good] * 3
        yield bad
        raise RuntimeError("the loader came too far")

    with pytest.raises(DataError, match="batch 3, input 'data': dtype is float64"):
        calibrate(lenet_path, loader(), threads=3)


def test_an_error_of_the_loader_comes_out_as_it_is(lenet_path, digits):
    def loader():
        yield {"data": digits["calibration"][:1]}
        raise ZeroDivisionError("in the loader")

    with pytest.raises(ZeroDivisionError, match="in the loader"):
        calibrate(lenet_path, loader(), threads=2)


def test_a_loader_that_exits_is_an_error(lenet_path, digits):
    def loader():
        yield {"data": digits["calibration"][:1]}
        sys.exit(0)

    with pytest.raises(DataError, match=r"the data source called sys\.exit\(0\); let it return instead"):
        calibrate(lenet_path, loader())


def test_max_pool_and_reshape_take_their_inputs_range(lenet_calibration):
    ranges = lenet_calibration.ranges
    assert ranges["pool1"].amax == ranges["conv1"].amax
    assert ranges["pool2_flat"].amax == ranges["conv2"].amax
    assert ranges["pool2_flat"].source == "entropy of conv2"
    # though their own histograms differ
    tensors = lenet_calibration.histograms.tensors
    assert tensors["pool1"].total < tensors["conv1"].total


def test_data_and_prob_have_the_bits_of_tensorrts_own_table(lenet_calibration):
    # TensorRT 6.0.1, LeNet on MNIST. The other tensors depend on the weights, which are others there.
    text = cache_bytes(lenet_calibration)
    assert "\ndata: 3c008912\n" in text
    assert "\nprob: 3c010a14\n" in text


def test_minmax_keeps_the_maxima(lenet_path, digits):
    calibration = calibrate(lenet_path, digit_batches(digits["calibration"][:20]), algorithm="minmax")
    assert calibration.ranges["data"].amax == digits["calibration"][:20].max()
    for name in ("conv1", "ip2"):
        assert calibration.ranges[name].amax == calibration.histograms.tensors[name].amax


def peak_memory_mb(batches: int) -> float:
    """Peak resident memory of a process that calibrates that many batches, each with 16 MB of activations."""
    code = f"""
import re
from pathlib import Path
import numpy as np
from onnx import TensorProto, helper
from trt_int8.calibration import collect
shape = [1, 1 << 20]
graph = helper.make_graph(
    [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["a"], ["b"]), helper.make_node("Exp", ["b"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
batches = ({{"x": np.full(shape, i, np.float32)}} for i in range({batches}))
assert collect(model, batches, threads=2).samples == {batches}
# Not ru_maxrss: a child inherits the peak of the process that started it.
print(int(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_memory_does_not_grow_with_the_number_of_batches():
    # 60 more batches pass 960 MB of activations through.
    assert peak_memory_mb(70) - peak_memory_mb(10) < 60


def test_int_inputs_and_tensors_are_left_out(make_model):
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "tokens"], ["embedded"]),
            helper.make_node("Shape", ["embedded"], ["shape"]),
            helper.make_node("Mul", ["embedded", "gain"], ["out"]),
        ],
        "g",
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("gain", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("shape", TensorProto.INT64, [2]),
        ],
        [onnx.numpy_helper.from_array(np.array([[1, -2], [3, 4]], np.float32), "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    batch = {"tokens": np.array([0, 1, 1]), "gain": np.array([2], np.float32)}
    ranges = calibrate(model, [batch], algorithm="minmax").ranges
    assert {name: entry.amax for name, entry in ranges.items()} == {"gain": 2, "embedded": 4, "out": 8}


def test_nan_inside_the_model_names_tensor_and_batch(make_model):
    model = make_model(
        [helper.make_node("Sqrt", ["x"], ["root"]), helper.make_node("Relu", ["root"], ["y"])],
        inputs={"x": [1, 2]},
        outputs=["y"],
    )
    good, bad = np.array([[1, 4]], np.float32), np.array([[1, -4]], np.float32)
    with pytest.raises(CalibrationError, match=r"batch 1, tensor 'root': the value at flat index 1 is NaN"):
        calibrate(model, [{"x": good}, {"x": bad}])


def test_no_batches(lenet_path):
    with pytest.raises(DataError, match="holds no batches; a generator may"):
        calibrate(lenet_path, iter([]))


def test_a_model_that_onnxruntime_refuses(make_model):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": [1]}, outputs=["y"])
    model.graph.node[0].domain = "unknown.domain"
    model.opset_import.append(helper.make_opsetid("unknown.domain", 1))
    with pytest.raises(ModelError, match="onnxruntime rejects the model: .*unknown.domain"):
        calibrate(model, [{"x": np.ones(1, np.float32)}])


def test_merging_shards_of_different_models(make_model, lenet_calibration):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": [1]}, outputs=["y"])
    other = calibrate(model, [{"x": np.ones(1, np.float32)}])
    with pytest.raises(CalibrationError, match="different models cannot be merged"):
        other.merge(lenet_calibration)


def test_unknown_algorithm(lenet_calibration):
    with pytest.raises(ValueError, match="'kl'; it must be one of entropy, minmax, percentile, mse"):
        lenet_calibration.histograms.ranges(algorithm="kl")


@pytest.mark.parametrize(
    ("option", "error", "message"),
    [
        ({"max_memory": "2G"}, TypeError, r"max_memory is '2G' \(str\); .* such as 2 << 30, in bytes"),
        ({"max_memory": 0}, ValueError, "max_memory is 0; it must be at least 1"),
        ({"threads": "2"}, TypeError, r"threads is '2' \(str\); give a whole number"),
        ({"threads": 0}, ValueError, "threads is 0; it must be at least 1"),
        ({"workers": 1.5}, TypeError, r"workers is 1.5 \(float\)"),
        ({"threads": True}, TypeError, r"threads is True \(bool\)"),
    ],
)
def test_numbers_that_are_none(lenet_path, option, error, message):
    with pytest.raises(error, match=message):
        calibrate(lenet_path, [], **option)
