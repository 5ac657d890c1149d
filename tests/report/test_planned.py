from trt_int8.report.planned import deviations
from trt_int8.report.records import Build, Layer, Node


def layer(name, *nodes):
    return Layer(name, "kgen", onnx_nodes=nodes)


def test_each_deviation_has_its_reason():
    build = Build(
        layers=(
            layer("first_kernel", "a", "x_Q", "relu"),
            layer("big", "b", "n1", "n2", "n3", "n4", "n5", "w_DQ"),
            layer("alone", "c"),
        ),
        nodes=(
            Node("good", "Conv", "int8", ("first_kernel",)),
            Node("a", "Conv", "fp32", ("first_kernel",)),
            Node("b", "MatMul", "int8_io", ("big",)),
            Node("c", "Conv", "int8", ("alone",)),
            Node("d", "Conv", "fp16", ("gone",)),
            *(Node(name, "Add", "fp32", ("big",)) for name in ("n1", "n2", "n3", "n4", "n5", "relu")),
        ),
    )
    planned = {"good": "int8", "a": "int8", "b": "int8", "c": "float", "d": "float", "e": "int8"}
    assert deviations(planned, build) == [
        "a is planned as int8 and runs in fp32: TensorRT fused it with relu into first_kernel",
        "b is planned as int8 and runs in int8_io: TensorRT fused it with n1, n2, n3, n4 and 1 more into big",
        "c is planned as float and runs in int8: TensorRT took the kernel alone",
        "e is planned as int8, and the report does not name it",
    ]
