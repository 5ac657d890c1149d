import math
import textwrap

import numpy as np
import pytest
from onnx import helper

from trt_int8.engine import load
from trt_int8.errors import DataError, ModelError
from trt_int8.evaluation import engine, evaluate
from trt_int8.evaluation.engine import EngineSession, is_engine
from trt_int8.evaluation.layers import compare_layers
from trt_int8.evaluation.metrics import load_metric
from trt_int8.streamer.gpu import Gpu


def chain(make_model, factor):
    """x → Relu → a → Mul → b → Add → c; ``factor`` is 1 in the float model."""
    return make_model(
        [
            helper.make_node("Relu", ["x"], ["a"], "first"),
            helper.make_node("Mul", ["a", "f"], ["b"], "second"),
            helper.make_node("Add", ["b", "big"], ["c"], "third"),
        ],
        inputs={"x": ["n", 8]},
        outputs=["c"],
        weights={"f": np.float32(factor), "big": np.float32(-0.5)},
    )


def test_the_loss_is_found_where_it_begins_and_where_it_grows(make_model):
    x = np.ones((5, 8), np.float32)
    layers = compare_layers(chain(make_model, 1), chain(make_model, 1.1), [{"x": x}])
    a, b, c = layers
    assert [layer.node for layer in layers] == ["first", "second", "third"]
    assert (a.sqnr_db, a.begins, a.drop_db) == (math.inf, False, 0)
    assert (b.sqnr_db, b.begins) == (pytest.approx(20, abs=1e-3), True)
    # the same error on half the signal: 6 dB less
    assert c.sqnr_db == pytest.approx(20 - 20 * math.log10(2), abs=1e-3)
    assert c.drop_db == pytest.approx(20 * math.log10(2), abs=1e-3)
    assert not c.begins
    assert a.to_dict()["sqnr_db"] is None


def test_top5(make_model, rng):
    model = make_model([helper.make_node("Identity", ["x"], ["y"])], inputs={"x": ["n", 7]}, outputs=["y"])
    worse = make_model(
        [helper.make_node("Mul", ["x", "f"], ["y"])],
        inputs={"x": ["n", 7]},
        outputs=["y"],
        weights={"f": np.array([1, 1, 1, 1, 1, 1, -1], np.float32)},
    )
    x = np.arange(7, 0, -1, dtype=np.float32) * np.ones((4, 7), np.float32)
    x[:, 6] = 4.5  # the class the second model loses: fourth best in the first one
    result = evaluate(model, worse, [{"x": x}], labels=[0, 4, 6, 5])
    assert (result.top1.reference, result.top1.quantized, result.top1.agreement) == (0.25, 0.25, 1)
    # best five of the first: 0, 1, 2, 6, 3; of the second: 0, 1, 2, 3, 4
    assert (result.top5.reference, result.top5.quantized, result.top5.agreement) == (0.5, 0.5, 0)
    assert evaluate(model, worse, [{"x": x}]).top5 is None


def test_a_metric_of_ones_own(make_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "score.py").write_text(
        textwrap.dedent("""
        def mean(outputs, labels):
            assert labels is None
            return outputs["c"].mean()
        def beside(outputs, labels, float_outputs, times=1):
            return times * (outputs["c"] - float_outputs["c"]).mean()
        def broken(outputs, labels):
            raise RuntimeError("no such thing")
        def nothing(outputs, labels):
            return float("nan")
        """)
    )
    pair = chain(make_model, 1), chain(make_model, 2)
    batches = [{"x": np.ones((n, 8), np.float32)} for n in (2, 3)]
    result = evaluate(*pair, batches, metric=load_metric("score.py:mean"))
    assert (result.metric.reference, result.metric.quantized, result.drop) == (0.5, 1.5, -1)
    result = evaluate(*pair, batches, metric=load_metric("score.py:beside"))
    assert (result.metric.reference, result.metric.quantized) == (0, 1)
    for name, message in {
        "broken": "raised RuntimeError: no such thing",
        "nothing": "returned nan; it must return a finite number",
    }.items():
        with pytest.raises(DataError, match=message):
            evaluate(*pair, batches, metric=load_metric(f"score.py:{name}"))
    for source, message in {"score.py:men": "has no function 'men'; did you mean 'mean'", "score.py": "does not name a function", "gone.py:f": "no such file"}.items():  # fmt: skip
        with pytest.raises(DataError, match=message):
            load_metric(source)


def test_models_of_different_kinds(make_model):
    other = make_model([helper.make_node("Relu", ["x"], ["z"])], inputs={"x": ["n", 8]}, outputs=["z"])
    with pytest.raises(ModelError, match="share no tensor"):
        compare_layers(chain(make_model, 1), other, [{"x": np.ones((1, 8), np.float32)}])


def test_engines_are_told_by_their_name(tmp_path):
    assert is_engine("a.engine")
    assert is_engine(tmp_path / "b.plan")
    assert not is_engine("a.onnx")
    with pytest.raises(ModelError, match=r"gone\.engine: cannot be read"):
        EngineSession(tmp_path / "gone.engine")


def test_an_engine_that_cannot_be_loaded_is_built_again_or_with_tensorrt(monkeypatch):
    """TensorRT-RTX builds engines for GPUs that its runtime refuses."""
    rtx = load("tensorrt_rtx")
    for capability, advice in (
        ("sm90", "it does not run on H100 (sm90): build the engine with TensorRT"),
        ("sm89", "build the engine again with this TensorRT version and for this GPU"),
    ):
        gpu = Gpu("H100", capability, "580", "13.0")
        monkeypatch.setattr(engine, "find_gpus", lambda gpu=gpu: ((gpu,), None))
        assert engine._advice(rtx).startswith(advice)
