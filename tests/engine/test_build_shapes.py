"""Profiles of dynamic models, on the real TensorRT-RTX builder."""

import re
from dataclasses import replace

import numpy as np
import pytest
from builds import precisions
from onnx import TensorProto, helper

from trt_int8.engine import BuildLog, build_explicit
from trt_int8.errors import BuildError, DataError, ShapeError
from trt_int8.graph import parse_shapes
from trt_int8.graph.shapes import profile_text
from trt_int8.pipeline import Profile
from trt_int8.pipeline.build import build_engine
from trt_int8.ranges import Ranges, TensorRange


def test_dynamic_batch(make_model, rng, tmp_path):
    model = make_model(
        [helper.make_node("Gemm", ["x", "w"], ["y"], name="fc")],
        inputs={"x": ["n", 64]},
        outputs=["y"],
        weights={"w": rng.normal(size=(64, 32)).astype(np.float32)},
    )
    some = Ranges({"x": TensorRange(1.0, source="test")})
    with pytest.raises(
        ShapeError, match=r"input x: float32 \[n, 64\] is dynamic in 'n' \(axis 0\)"
    ) as caught:
        build_engine(model, tmp_path / "e", ranges=some)
    # the message holds an option that works as it stands
    (option,) = re.findall("shapes='(.*?)'", str(caught.value))
    assert option == "x:1x64,8x64,32x64"
    build_engine(model, tmp_path / "e", ranges=some, profile=Profile(shapes=parse_shapes([option])))
    result = build_engine(model, tmp_path / "e", ranges=some, profile=Profile(batch_size=8))
    assert precisions(result.report) == {"fc": "int8"}
    assert "MinShape: [1,64], OptShape: [8,64], MaxShape: [8,64]" in result.log.read_text()
    assert profile_text(result.serialized_engine.profile) == "x 1x64 … 8x64 … 8x64 (min, opt, max)"


@pytest.fixture
def same_names(make_model, rng):
    """A convolution whose batch, height and width are all called '?'."""
    return make_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="c")],
        inputs={"x": ["?", 3, "?", "?"]},
        outputs=["y"],
        weights={"w": rng.normal(size=(16, 3, 3, 3)).astype(np.float32)},
    )


class TestShapes:
    def test_a_profile_from_shapes(self, same_names, tmp_path, rng):
        shapes = parse_shapes(["x:1x3x48x192,2x3x48x192,4x3x48x384"])
        batches = [{"x": rng.normal(size=(2, 3, 48, 192)).astype(np.float32)}]
        profile = Profile(shapes=shapes, rename_dims=True)
        with pytest.raises(
            ShapeError,
            match=r"dimension '\?' is 4 on axis 0 of 'x', 48 on axis 2 of 'x', .*add rename_dims=True",
        ):
            build_engine(
                same_names, tmp_path / "e", batches=batches, profile=replace(profile, rename_dims=False)
            )
        assert not list(tmp_path.iterdir())
        result = build_engine(same_names, tmp_path / "e", batches=batches, profile=profile)
        assert precisions(result.report) == {"c": "int8"}
        log = result.log.read_text()
        assert "MinShape: [1,3,48,192]" in log
        assert "OptShape: [2,3,48,192]" in log
        assert "MaxShape: [4,3,48,384]" in log

    def test_the_builder_itself_refuses_what_was_found(self, same_names, tensorrt, monkeypatch):
        """What `require_equal_dims` says about TensorRT is true."""
        from trt_int8.engine import explicit

        monkeypatch.setattr(explicit, "require_equal_dims", lambda *_: None)
        log = BuildLog()
        with pytest.raises(BuildError):
            build_explicit(same_names, tensorrt=tensorrt, log=log, shapes=parse_shapes(["x:2x3x48x192"]))

    def test_the_option_to_add_is_taken_from_the_data(self, same_names, tmp_path):
        batches = [{"x": np.ones((2, 3, 48, 192), np.float32)}]
        with pytest.raises(
            ShapeError, match="is dynamic in '\\?' \\(axis 0\\), '\\?' \\(axis 2\\)"
        ) as caught:
            build_engine(same_names, tmp_path / "e", batches=batches)
        (option,) = re.findall("shapes='(.*?)'", str(caught.value))
        assert option == "x:1x3x48x192,2x3x48x192,32x3x48x192"
        assert str(caught.value).endswith(" rename_dims=True")
        profile = Profile(shapes=option, rename_dims=True)
        build_engine(same_names, tmp_path / "e", batches=batches, profile=profile)

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            (
                (2, 3, 192, 48),
                r"shape \[2, 3, 192, 48\] is outside the optimization profile \(axis 2: min 48, max 48\)",
            ),
            (
                (2, 3, 48, 96),
                r"shape \[2, 3, 48, 96\] is outside the optimization profile \(axis 3: min 192, max 384\)",
            ),
            (
                (5, 3, 48, 192),
                r"shape \[5, 3, 48, 192\] is outside the optimization profile \(axis 0: min 2, max 4\)",
            ),
        ],
    )
    def test_data_of_other_shapes_than_the_engine_will_take(self, same_names, tmp_path, shape, message):
        batches = [{"x": np.ones((1, 3, 48, 192), np.float32)}, {"x": np.ones(shape, np.float32)}]
        shapes = parse_shapes(["x:2x3x48x192,2x3x48x192,4x3x48x384"])
        profile = Profile(shapes=shapes, rename_dims=True)
        with pytest.raises(DataError, match=message):  # the first batch is a short one, which may be
            build_engine(same_names, tmp_path / "e", batches=batches, profile=profile)

    def test_a_network_input_that_computes_shapes(self, tensorrt):
        tensor = helper.make_tensor_value_info
        graph = helper.make_graph(
            [helper.make_node("Expand", ["x", "s"], ["y"])],
            "test",
            [tensor("x", TensorProto.FLOAT, ["n", 4]), tensor("s", TensorProto.INT64, [2])],
            [tensor("y", TensorProto.FLOAT, ["a", "b"])],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        with pytest.raises(
            ShapeError, match="input 's' is a shape tensor: its values set the shape of other tensors"
        ):
            build_explicit(model, tensorrt=tensorrt, log=BuildLog(), shapes=parse_shapes(["x:1x4,2x4,4x4"]))
