"""Shapes for dynamic inputs: how they are written, and how they are held against a model."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from trt_int8.errors import ShapeError
from trt_int8.graph import ShapeRange, input_specs, parse_shapes
from trt_int8.graph.dims import rename_unequal_dims, unequal_dims
from trt_int8.graph.shapes import as_shapes, combine_shapes, profile_text, resolve_shapes


@pytest.fixture
def specs(make_model):
    model = make_model(
        [helper.make_node("Conv", ["x", "w"], ["y"]), helper.make_node("Identity", ["ids"], ["z"])],
        inputs={"x": ["n", 3, "h", "w_"], "w": [4, 3, 1, 1], "ids": ["n", "t"]},
        outputs=["y", "z"],
    )
    model.graph.input[2].type.tensor_type.elem_type = TensorProto.INT64
    return input_specs(model)


def test_one_input_with_three_shapes():
    (found,) = parse_shapes(["x:1x3x224x224,8x3x224x224,32x3x256x256"]).items()
    assert found == ("x", ShapeRange((1, 3, 224, 224), (8, 3, 224, 224), (32, 3, 256, 256)))


def test_several_inputs_in_one_text_and_names_with_colons():
    found = parse_shapes(["'input:0':1x2,3x2,4x2, b::c:7"])
    assert found == {
        "input:0": ShapeRange((1, 2), (3, 2), (4, 2)),
        "b::c": ShapeRange((7,), (7,), (7,)),
    }
    assert parse_shapes(["input:0:1x2,3x2,4x2", "b::c:7"]) == found


def test_trtexecs_spelling():
    found = combine_shapes("a:1x3,b:1x4", "a:2x3,b:2x4", "a:9x3,b:9x4")
    assert found == parse_shapes(["a:1x3,2x3,9x3", "b:1x4,2x4,9x4"])
    assert combine_shapes(opt_shapes="a:2x3") == parse_shapes(["a:2x3"])
    assert combine_shapes(min_shapes="a:1x3", max_shapes="a:8x3") == parse_shapes(["a:1x3,8x3,8x3"])
    assert combine_shapes(opt_shapes="a:2x3", max_shapes="a:8x3") == parse_shapes(["a:2x3,2x3,8x3"])
    assert combine_shapes() == {}


_sizes = st.lists(st.integers(1, 4096), min_size=1, max_size=5)


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][\w:/.]*\w", fullmatch=True), _sizes, min_size=1, max_size=4))
def test_what_is_written_is_read_back(shapes):
    wanted = {name: ShapeRange(tuple(s), tuple(s), tuple(x + 1 for x in s)) for name, s in shapes.items()}
    assert parse_shapes(f"{name}:{shape}" for name, shape in wanted.items()) == wanted
    assert parse_shapes([",".join(f"{name}:{shape}" for name, shape in wanted.items())]) == wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1x3x224x224", "the name of the input is missing; write name:1x3x224x224"),
        ("x:1x3,2x3", "has 2 shapes; give one, or three"),
        ("x:1xHx3", "'1xHx3' is not a shape"),
        ("x:", "'' is not a shape"),
        ("x:-1x3", "'-1x3' is not a shape"),
        ("x:1x3,2x3x4,5x3", r"have \[2, 3\] axes"),
        ("x:8x3,4x3,32x3", "axis 0 goes 8 → 4 → 32"),
        ("x:0x3", "axis 0 goes 0 → 0 → 0"),
        ("x:1x3,x:1x3", "'x' is given twice"),
    ],
)
def test_what_cannot_be_read(text, message):
    with pytest.raises(ShapeError, match=message):
        parse_shapes([text])


def test_different_inputs_in_trtexecs_options():
    with pytest.raises(ShapeError, match=r"different inputs \(a; a, b; a\)"):
        combine_shapes("a:1", "a:2,b:2", "a:3")
    with pytest.raises(ShapeError, match="'a' has more than one shape"):
        combine_shapes("a:1,2,3")


def test_every_dynamic_input_is_resolved(specs):
    given_ = parse_shapes(["x:1x3x8x8,2x3x8x8,4x3x16x16"])
    with pytest.raises(ShapeError, match=r"input ids: int64 \[n, t\] is dynamic in 't' \(axis 1\)"):
        resolve_shapes(specs, given_, batch_size=4)
    resolved = resolve_shapes(specs, {**given_, **parse_shapes(["ids:1x8,2x8,4x16"])})
    assert list(resolved) == ["x", "w", "ids"]
    assert resolved["w"] == ShapeRange(*[(4, 3, 1, 1)] * 3)


def test_the_shapes_to_add_work_as_they_stand(specs):
    with pytest.raises(ShapeError, match=r"\(and 1 more input\)") as caught:
        resolve_shapes(specs, seen=lambda: {"x": (5, 3, 48, 192), "ids": (5, 77)})
    (shapes,) = re.findall("shapes='(.*?)'", str(caught.value))
    assert shapes == "x:1x3x48x192,5x3x48x192,32x3x48x192,ids:1x77,5x77,32x77"
    assert resolve_shapes(specs, shapes)
    with pytest.raises(ShapeError) as caught:
        resolve_shapes(specs, batch_size=64)
    (shapes,) = re.findall("shapes='(.*?)'", str(caught.value))
    assert shapes == "x:1x3x224x224,64x3x224x224,64x3x224x224,ids:1x128,64x128,64x128"
    assert resolve_shapes(specs, shapes)


def test_a_dynamic_batch_needs_only_its_size(make_model):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": ["n", 3]}, outputs=["y"])
    specs = input_specs(model)
    assert resolve_shapes(specs, batch_size=8) == {"x": ShapeRange((1, 3), (8, 3), (8, 3))}
    fixed = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": [2, 3]}, outputs=["y"])
    assert resolve_shapes(input_specs(fixed), batch_size=8) == {}
    assert resolve_shapes(input_specs(fixed), parse_shapes(["x:2x3"])) == {}


def test_a_profile_in_one_line(specs):
    given_ = parse_shapes(["x:1x3x8x8,2x3x8x8,4x3x16x16", "ids:1x8,2x8,4x8"])
    text = "x 1x3x8x8 … 2x3x8x8 … 4x3x16x16; w 4x3x1x1; ids 1x8 … 2x8 … 4x8 (min, opt, max)"
    assert profile_text(resolve_shapes(specs, given_)) == text
    batch_only = {"ids": replace(specs["ids"], shape=("n", 7))}
    assert profile_text(resolve_shapes(batch_only, batch_size=5)) == "ids 1x7 … 5x7 … 5x7 (min, opt, max)"
    assert profile_text({}) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("X:1x3x8x8", r"shapes: the model has no input 'X'; its inputs are x, w, ids"),
        ("idz:1x8", "did you mean 'ids'"),
        ("x:1x3x8", r"1x3x8,1x3x8,1x3x8 do not fit input x: float32 \[n, 3, h, w_\]"),
        ("x:1x4x8x8", "keep its axes and its fixed sizes"),
        ("w:1x3x1x1", "do not fit input w"),
    ],
)
def test_shapes_that_do_not_fit(specs, text, message):
    with pytest.raises(ShapeError, match=message):
        resolve_shapes(specs, parse_shapes([text]))


class TestRepeatedNames:
    @pytest.fixture
    def model(self, make_model):
        return make_model(
            [helper.make_node("Add", ["a", "b"], ["y"])],
            inputs={"a": ["n", 3, "?", "?"], "b": ["n", 3, "?", "?"]},
            outputs=["y"],
        )

    def test_equal_sizes_need_nothing(self, model):
        shapes = parse_shapes(["a:1x3x8x8,2x3x8x8,4x3x9x9", "b:1x3x8x8,2x3x8x8,4x3x9x9"])
        assert unequal_dims(model, shapes) == []
        assert rename_unequal_dims(model, shapes) is model

    @pytest.mark.parametrize("kind", [0, 1, 2])
    def test_one_unequal_shape_of_three_is_enough(self, model, kind):
        sides = [("8x8", "8x8"), ("16x16", "16x16"), ("32x32", "32x32")]
        sides[kind] = (sides[kind][0], f"{sides[kind][0].split('x')[0]}x{(9, 17, 33)[kind] - 2}")
        if kind == 0:  # keep them in order
            sides[0] = ("8x8", "8x7")
        shapes = {
            name: parse_shapes([f"{name}:" + ",".join(f"{n}x3x{side[i]}" for n, side in zip((1, 2, 4), sides, strict=True))])[name]
            for i, name in enumerate("ab")
        }  # fmt: skip
        (found,) = unequal_dims(model, shapes)
        assert found.symbol == "?"
        assert found.axes == (("a", 2), ("a", 3), ("b", 2), ("b", 3))
        assert len(set(found.sizes)) == 2

    def test_renaming_leaves_the_other_symbols_and_the_model(self, model):
        before = model.SerializeToString()
        shapes = parse_shapes(["a:1x3x8x9", "b:1x3x8x9"])
        renamed = rename_unequal_dims(model, shapes)
        assert model.SerializeToString() == before
        assert input_specs(renamed)["a"].shape == ("n", 3, "a_2", "a_3")
        assert input_specs(renamed)["b"].shape == ("n", 3, "b_2", "b_3")
        assert unequal_dims(renamed, shapes) == []
        assert [d.dim_param for d in renamed.graph.output[0].type.tensor_type.shape.dim] == ["n", "", "", ""]


def test_shapes_may_be_given_as_they_are_on_the_command_line(specs):
    """A text, several, or a mapping; the first is what people try, and its characters are no inputs."""
    text = "x:1x3x8x8,2x3x8x8,4x3x16x16"
    wanted = ShapeRange((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 16, 16))
    ids = "ids:1x7"
    for written in (
        f"{text},{ids}",
        [text, ids],
        iter([text, ids]),
        {"x": wanted, "ids": (1, 7)},
        {"x": str(wanted), "ids": "1x7"},
        {"x": ([1, 3, 8, 8], (2, 3, 8, 8), (4, 3, 16, 16)), "ids": [1, 7]},
    ):
        found = resolve_shapes({name: specs[name] for name in ("x", "ids")}, written, batch_size=None)
        assert found == {"x": wanted, "ids": ShapeRange((1, 7), (1, 7), (1, 7))}
    assert parse_shapes(text) == {"x": wanted}
    assert as_shapes(None) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (5, "shapes are a int; write 'x:1x3x224x224,"),
        ([("x", (1, 3))], re.escape("shapes hold ('x', (1, 3)); write 'x:")),
        ({"x": 5}, re.escape("shapes['x'] is 5; give a ShapeRange, a text")),
        ({"x": ((1, 3), (2, 3))}, re.escape("shapes['x'] is ((1, 3), (2, 3)); give")),
        ({"x": (1, "3")}, re.escape("shapes['x'] is (1, '3'); give")),
        ({"x": "1xHx3"}, "'1xHx3' is not a shape"),
        ("1x3", "the name of the input is missing"),
    ],
)
def test_shapes_that_are_none(given, message):
    with pytest.raises(ShapeError, match=message):
        as_shapes(given)
