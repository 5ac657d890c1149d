"""Facts about ONNX operators of the standard domain. Each set has one meaning.

Facts about TensorRT's kernels are in the placement rules that use them, and TensorRT's own names of layers in
``report/``.
"""

from __future__ import annotations

CONVOLUTIONS = ("Conv", "ConvTranspose")
#: Multiply two operands and sum. With a Q/DQ pair before each operand they run in an INT8 kernel.
MULTIPLYING = (*CONVOLUTIONS, "Gemm", "MatMul")
#: Those, and operators that contain such products, for which no Q/DQ pairs are placed.
MULTIPLYING_INSIDE = frozenset(
    [*MULTIPLYING, "Einsum", "Attention", "MultiHeadAttention", "LSTM", "GRU", "RNN"]
)
#: Can add a constant per output channel in their bias; for MatMul it is the Add after it. ConvTranspose has a
#: bias as well, but neither recentring nor bias correction handles it.
BIASED = ("Conv", "Gemm", "MatMul")
#: Average their input; they have integer kernels.
AVERAGE_POOLS = ("AveragePool", "GlobalAveragePool")
#: Output exactly the values of their first input, in another shape or order.
VIEWS = frozenset(["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"])
#: Keep a weight constant between its initializer and its consumer: views, and Cast in models of mixed
#: precision. Cast may round, unlike a view.
REARRANGING = VIEWS | {"Cast"}
#: Output only values of their first input, but maybe not all: they share its range and scale. TensorRT's own
#: calibration tables give a max-pool's output its input's scale, and a kernel that only moves INT8 values
#: cannot change it.
PASSING = VIEWS | {"MaxPool", "Dropout"}
#: Copy values of several inputs (Concat) or of a part of one, or insert zeros (Pad).
COPYING = frozenset(
    ["Concat", "Split", "Slice", "Gather", "Expand", "Tile", "Pad", "DepthToSpace", "SpaceToDepth"]
)
#: Commute with quantization: a dequantized input gives a dequantized output.
COMMUTING = PASSING | COPYING
#: Do no arithmetic: they rename, rearrange, copy or convert their input, or are constants. MaxPool compares
#: values, so it is not included although it commutes.
DATA = VIEWS | COPYING | {"Dropout", "Cast", "Constant", "ConstantOfShape", "Shape"}
_SIGMOIDS = frozenset(["Sigmoid", "HardSigmoid", "HardSwish", "Tanh"])
#: Activation functions of one node, which TensorRT fuses into the node before them.
ACTIVATIONS = _SIGMOIDS | {"Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Gelu", "Mish"}
_ARITHMETIC = frozenset(["Mul", "Div", "Add", "Sub", "Pow", "Min", "Max"])
#: Parts of functions of several nodes: x · sigmoid(x), x · clip(x + 3) / 6, x / 2 · (1 + erf(x / √2)), …
ACTIVATION_PARTS = ACTIVATIONS | _ARITHMETIC | {"Erf", "Softplus", "Identity", "Cast"}
#: The last node of such a function is a product. One factor is the gate, computed from the other.
GATES = frozenset(["Sigmoid", "HardSigmoid", "Clip", "Erf", "Tanh"])
#: Turn scores into probabilities. They saturate: one undecided sample dominates the error of their output.
SATURATING = ("Softmax", "LogSoftmax", "Sigmoid")
#: Never output a negative value.
NONNEGATIVE = frozenset(["Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Sqrt", "Abs"])
#: Output no negative value if their first input has none.
KEEPING_SIGN = PASSING | {*AVERAGE_POOLS, "GlobalMaxPool", "Slice", "Split"}
#: Output no negative value if none of their inputs has one.
KEEPING_SIGN_OF_ALL = frozenset(["Concat", "Add", "Mul"])
_GENERATORS = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
#: May output other values each time, so they are never constant.
RANDOM = frozenset([*_GENERATORS, "Bernoulli", "Multinomial", "Dropout"])
QDQ = ("QuantizeLinear", "DequantizeLinear")
#: Compute with integers; TensorRT cannot import them.
INTEGER = frozenset(
    ["QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "QGemm"]
)
