"""Facts about ONNX operators: what they do to the values they read.

This is the one place for such facts; each set has one meaning. All hold for the standard domain. What was
measured of TensorRT's kernels stands beside the placement rule that relies on it, and the names that TensorRT
gives its own layers are known to ``report/``.
"""

from __future__ import annotations

#: Slide a weight over their input.
CONVOLUTIONS = ("Conv", "ConvTranspose")
#: Multiply two operands and sum: what a pair before each operand makes an INT8 kernel of.
MULTIPLYING = (*CONVOLUTIONS, "Gemm", "MatMul")
#: Those, and operators with such products inside, for which no pairs are placed.
MULTIPLYING_INSIDE = frozenset(
    [*MULTIPLYING, "Einsum", "Attention", "MultiHeadAttention", "LSTM", "GRU", "RNN"]
)
#: Take a constant for each output channel into their bias; MatMul's is the Add behind it. ConvTranspose has a
#: bias as well, but neither recentring nor bias correction handles it.
BIASED = ("Conv", "Gemm", "MatMul")
#: Average what they read: an integer kernel can, with a scale before it.
AVERAGE_POOLS = ("AveragePool", "GlobalAveragePool")

#: Give out exactly the values of their first input, in another shape or order.
VIEWS = frozenset(["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"])
#: Stand between a weight and its reader and leave it a constant: views, and Cast in models of mixed
#: precision. Cast may round, unlike a view.
REARRANGING = VIEWS | {"Cast"}
#: Give out values of their first input and no others, though maybe not all: they share its range and scale.
#: TensorRT's own calibration tables give a max-pool's output its input's scale, and a kernel that only moves
#: INT8 values cannot change it.
PASSING = VIEWS | {"MaxPool", "Dropout"}
#: Copy values, of several inputs (Concat) or a part of one, or put zeros between them (Pad).
COPYING = frozenset(
    ["Concat", "Split", "Slice", "Gather", "Expand", "Tile", "Pad", "DepthToSpace", "SpaceToDepth"]
)
#: A dequantized value stays dequantized through these: they commute with quantization.
COMMUTING = PASSING | COPYING
#: Compute nothing: they rename, rearrange, copy or convert what they read, or are constants. MaxPool compares
#: values, so it is not among them although it commutes.
DATA = VIEWS | COPYING | {"Dropout", "Cast", "Constant", "ConstantOfShape", "Shape"}

#: Activation functions of one node, which TensorRT fuses into what is before them.
ACTIVATIONS = frozenset(
    [
        "Relu",
        "Clip",
        "LeakyRelu",
        "HardSwish",
        "HardSigmoid",
        "Sigmoid",
        "Gelu",
        "Elu",
        "PRelu",
        "Tanh",
        "Mish",
    ]
)
#: What written-out forms are made of: x · sigmoid(x), x · clip(x + 3) / 6, x / 2 · (1 + erf(x / √2)), …
ACTIVATION_PARTS = ACTIVATIONS | {
    "Mul",
    "Div",
    "Add",
    "Sub",
    "Pow",
    "Erf",
    "Softplus",
    "Identity",
    "Cast",
    "Min",
    "Max",
}
#: A product closes the written-out form: one factor is the gate, computed from the other.
GATES = frozenset(["Sigmoid", "HardSigmoid", "Clip", "Erf", "Tanh"])
#: Turn scores into probabilities. They saturate: behind them, one undecided sample has all of the error.
SATURATING = ("Softmax", "LogSoftmax", "Sigmoid")

#: Give out no negative value, whatever they read.
NONNEGATIVE = frozenset(["Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Sqrt", "Abs"])
#: Give out no negative value if their first input holds none.
KEEPING_SIGN = PASSING | {*AVERAGE_POOLS, "GlobalMaxPool", "Slice", "Split"}
#: Give out no negative value if none of their inputs holds one.
KEEPING_SIGN_OF_ALL = frozenset(["Concat", "Add", "Mul"])

#: Give out other values each time, or may: no constants, whatever they read.
RANDOM = frozenset(
    [
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
        "Bernoulli",
        "Multinomial",
        "Dropout",
    ]
)

#: Quantize and dequantize.
QDQ = ("QuantizeLinear", "DequantizeLinear")
#: Compute with integers; TensorRT has no importer for them.
INTEGER = frozenset(
    ["QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QGemm"]
)
