"""Models whose values, external data or functions would make a later step fail, hang or read too much."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trt_int8.errors import ModelError
from trt_int8.graph import load_model
from trt_int8.graph.check import all_tensors, check_external_data, check_functions, check_tensors, check_texts

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("my", 1)]


def model_of(nodes, *, weights=(), functions=()):
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], list(weights))
    return helper.make_model(graph, functions=functions, opset_imports=OPSETS, ir_version=10)


def add(tensor):
    return model_of([helper.make_node("Add", ["x", "w"], ["y"])], weights=[tensor])


def weight(**changes):
    tensor = numpy_helper.from_array(np.ones(4, np.float32), "w")
    for name, value in changes.items():
        if name == "dims":
            del tensor.dims[:]
            tensor.dims.extend(value)
        else:
            setattr(tensor, name, value)
    return tensor


def listed(field, values, data_type):
    return TensorProto(name="w", data_type=data_type, dims=[4], **{field: values})


#: tensor of 4 elements → the error
BAD = {
    "surplus raw_data": (weight(raw_data=bytes(17)), "needs 16 bytes and has 17"),
    "too little raw_data": (weight(raw_data=bytes(15)), "needs 16 bytes and has 15"),
    "no raw_data": (weight(raw_data=b""), "needs 16 bytes and has 0"),
    "another type": (weight(data_type=TensorProto.DOUBLE), r", double \[4\], needs 32 bytes and has 16"),
    "no type": (weight(data_type=0), "has the unknown data type 0"),
    "an unknown type": (weight(data_type=99), "has the unknown data type 99"),
    "a negative type": (weight(data_type=-1), "has the unknown data type -1"),
    "negative dims": (weight(dims=[-4]), r"has the dims \[-4\]"),
    "two negative dims": (weight(dims=[-2, -2]), r"has the dims \[-2, -2\]"),
    "huge dims": (weight(dims=[2**62, 2**62]), f"needs {2**126} bytes and has 16"),
    "a dim of 0": (weight(dims=[4, 0]), "needs 0 bytes and has 16"),
    "INT4": (weight(data_type=TensorProto.INT4), "needs 2 bytes and has 16"),
    "float_data": (listed("float_data", [1.0] * 3, TensorProto.FLOAT), "needs 4 values in float_data and has 3"),
    "another field": (listed("float_data", [1.0] * 4, TensorProto.INT64), "needs 4 values in int64_data and has 0"),
    "int32_data": (listed("int32_data", [1] * 5, TensorProto.INT8), "needs 4 values in int32_data and has 5"),
    "packed INT4": (listed("int32_data", [1] * 4, TensorProto.INT4), "needs 2 values in int32_data and has 4"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_tensors_with_other_values_than_their_dims(kind):
    tensor, message = BAD[kind]
    with pytest.raises(ModelError, match=rf"tensor 'w'.*{message}"):
        check_tensors(add(tensor))


@pytest.mark.parametrize("data_type", sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}))
def test_all_types_that_onnx_writes_are_read(data_type):
    """Odd numbers of elements, and no dims."""
    for dims in ([3], [], [0], [2, 5]):
        count = int(np.prod(dims))
        values = ["a"] * count if data_type == TensorProto.STRING else [1] * count
        check_tensors(add(helper.make_tensor("w", data_type, dims, values)))
        if data_type != TensorProto.STRING:
            array = numpy_helper.to_array(helper.make_tensor("w", data_type, dims, values))
            check_tensors(add(numpy_helper.from_array(array, "w")))


def bodies_of(tensor):
    """Models that have ``tensor`` in each place that can have one."""
    sparse = onnx.SparseTensorProto(values=tensor, indices=numpy_helper.from_array(np.arange(4)), dims=[9])
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    body = helper.make_graph([constant], "b", [], [])
    function = helper.make_function("my", "F", ["x"], ["y"], [constant], OPSETS)
    branch = helper.make_node(
        "If", ["c"], ["y"], then_branch=body, else_branch=helper.make_graph([], "e", [], [])
    )
    yield add(tensor)
    yield model_of([constant])
    yield model_of([helper.make_node("Constant", [], ["w"], sparse_value=sparse)])
    yield model_of([helper.make_node("Several", [], ["w"], values=[tensor, tensor])])
    yield model_of([branch])
    yield model_of([helper.make_node("F", ["x"], ["y"], domain="my")], functions=[function])
    yield model_of([], functions=[helper.make_function("my", "F", ["x"], ["y"], [branch], OPSETS)])
    for place in ("initializer", "defaults"):
        model = model_of([], functions=[helper.make_function("my", "F", ["x"], ["y"], [], OPSETS)])
        if place == "initializer":
            model.graph.sparse_initializer.append(sparse)
        else:
            model.functions[0].attribute_proto.append(helper.make_attribute("value", tensor))
        yield model


def test_every_place_of_a_tensor_is_checked():
    for model in bodies_of(weight()):
        assert "w" in [tensor.name for tensor in all_tensors(model)]
        check_tensors(model)
    for model in bodies_of(weight(raw_data=bytes(17))):
        with pytest.raises(ModelError, match="needs 16 bytes and has 17"):
            check_tensors(model)


@pytest.mark.parametrize("kind", BAD)
def test_a_file_with_such_a_tensor_is_refused_in_a_line(kind, tmp_path):
    onnx.save(add(BAD[kind][0]), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"m\.onnx: ") as caught:
        load_model(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("offset", "length", "message"),
    [
        ("0", "17", "needs 16 bytes, and its external data is 17 bytes at 0"),
        ("8", "16", r"16 bytes at 8 of .*w\.bin, which has 16"),
        ("-4", "16", "-4"),
        ("0", str(10**18), f"is {10**18} bytes at 0"),
        (str(10**30), "16", "16 bytes at 10{30}"),
        ("x", "16", "its external weights cannot be read: invalid literal"),
    ],
)
def test_external_data_outside_its_file(tmp_path, offset, length, message):
    tensor = weight()
    (tmp_path / "w.bin").write_bytes(tensor.raw_data)
    onnx.external_data_helper.set_external_data(tensor, "w.bin", 0, 16)
    tensor.ClearField("raw_data")
    for entry in tensor.external_data:
        entry.value = {"offset": offset, "length": length}.get(entry.key, entry.value)
    (tmp_path / "m.onnx").write_bytes(add(tensor).SerializeToString())
    with pytest.raises(ModelError, match=message) as caught:
        load_model(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)


def test_external_data_in_a_pipe(tmp_path):
    tensor = weight()
    onnx.external_data_helper.set_external_data(tensor, "w.bin", 0, 16)
    tensor.ClearField("raw_data")
    (tmp_path / "m.onnx").write_bytes(add(tensor).SerializeToString())
    os.mkfifo(tmp_path / "w.bin")
    with pytest.raises(ModelError, match=r"w\.bin: not a regular file"):
        load_model(tmp_path / "m.onnx")


def chain(length, calls):
    """A model with functions F0 … F``length``, each of which calls the one before ``calls`` times."""
    functions = []
    for number in range(length):
        called, domain = ("Neg", "") if number == 0 else (f"F{number - 1}", "my")
        nodes = [helper.make_node(called, [f"t{n}"], [f"t{n + 1}"], domain=domain) for n in range(calls)]
        functions.append(helper.make_function("my", f"F{number}", ["t0"], [f"t{calls}"], nodes, OPSETS))
    return model_of([helper.make_node(f"F{length - 1}", ["x"], ["y"], domain="my")], functions=functions)


@pytest.mark.parametrize(
    ("length", "calls", "message"),
    [
        (40, 2, r"has 10\^12 nodes when its functions are expanded, more than 50000"),
        (2, 300, "has 90000 nodes"),
        (99, 10, r"has 10\^99 nodes"),
        (101, 1, "functions call each other in a chain of more than 100"),
        (3000, 1, "functions call each other in a chain of more than 100"),
    ],
)
def test_functions_that_explode(length, calls, message):
    with pytest.raises(ModelError, match=message):
        check_functions(chain(length, calls))


def test_functions_that_do_not_explode():
    check_functions(chain(100, 1))
    check_functions(chain(2, 200))


def test_functions_that_call_themselves():
    model = chain(3, 1)
    model.functions[0].node[0].op_type, model.functions[0].node[0].domain = "F2", "my"
    with pytest.raises(ModelError, match="function 'F2' of domain 'my' calls itself"):
        check_functions(model)


def test_functions_in_bodies_count():
    call = helper.make_node("F0", ["x"], ["y"], domain="my")
    body = helper.make_graph([call] * 200, "b", [], [])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    nodes = [helper.make_node("Neg", ["a"], ["b"])] * 200
    function = helper.make_function("my", "F0", ["a"], ["b"], nodes, OPSETS)
    with pytest.raises(ModelError, match="has 80001 nodes"):
        check_functions(model_of([branch], functions=[function]))


@pytest.mark.parametrize(
    "kind", ["op_type", "name", "input", "doc_string", "attribute", "dim_param", "metadata"]
)
def test_texts_that_are_not_utf_8(kind, tmp_path):
    node = helper.make_node("Add", ["x", "w"], ["y"], name="TEXT" if kind == "name" else "n")
    model = model_of([node], weights=[weight()])
    if kind == "op_type":
        model.graph.node[0].op_type = "TEXT"
    elif kind == "input":
        model.graph.node[0].input[1] = "TEXT"
    elif kind == "doc_string":
        model.graph.doc_string = "TEXT"
    elif kind == "attribute":
        model.graph.node[0].attribute.add(name="TEXT", type=onnx.AttributeProto.INT)
    elif kind == "dim_param":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "TEXT"
    elif kind == "metadata":
        model.metadata_props.add(key="k", value="TEXT")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString().replace(b"TEXT", b"T\xe9\xffT"))
    with pytest.raises(
        ModelError, match=r"m\.onnx: (the \w+ b'T.xe9.xffT' is not UTF-8 text|not an ONNX file)"
    ):
        load_model(tmp_path / "m.onnx")


def test_an_attribute_may_have_any_bytes(tmp_path):
    """Only names are texts: the value of an attribute is bytes in ONNX."""
    model = add(weight())
    model.graph.node[0].attribute.add(name="s", type=onnx.AttributeProto.STRING, s=b"\xe9\xff")
    check_texts(model)


def field(number, data):
    """A field of protobuf's wire format: it neither writes nor reads so many levels itself."""
    size, length = len(data), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


@pytest.mark.parametrize("levels", [40, 5000])
def test_bodies_in_bodies(levels, tmp_path):
    """protobuf reads 100 levels of messages, of which a body needs three."""
    data = field(1, field(4, b"Neg"))
    for _ in range(levels):
        body = field(1, b"then_branch") + field(6, data) + b"\xa0\1\5"
        data = field(1, field(4, b"If") + field(5, body))
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a" + field(7, data))
    with pytest.raises(ModelError, match=r"m\.onnx: not an ONNX file, or a damaged one") as caught:
        load_model(tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)


def test_external_data_through_a_link(tmp_path):
    tensor = onnx.numpy_helper.from_array(np.ones(4, np.float32), "w")
    (tmp_path / "blob").write_bytes(tensor.raw_data)
    (tmp_path / "w.bin").symlink_to(tmp_path / "blob")
    onnx.external_data_helper.set_external_data(tensor, "w.bin", 0, 16)
    tensor.ClearField("raw_data")
    with pytest.raises(ModelError, match=r"w.bin is a symbolic link, .*; replace it by the file itself"):
        check_external_data(with_weight(tensor), tmp_path)


def test_external_data_larger_than_the_memory(tmp_path):
    """A file with holes takes no room on the disk."""
    tensor = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 40], raw_data=b"0")
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(4 << 40)
    onnx.external_data_helper.set_external_data(tensor, "w.bin", 0, 4 << 40)
    with pytest.raises(ModelError, match=r"its external weights need more than the \d+ [MG]iB of memory"):
        check_external_data(with_weight(tensor), tmp_path)


def with_weight(tensor):
    tensor.data_location = TensorProto.EXTERNAL
    return onnx.ModelProto(graph=onnx.GraphProto(name="g", initializer=[tensor]))
