"""A build in TensorRT 8.5's grammar, written by hand after real logs, for the tests of this folder."""

from trt_int8.report import PrecisionReport

NAME = "conv1.weight + /q/QuantizeLinear + /conv1/Conv"
BLANK = " "  # many lines end in one
BUILD_85 = f"""\
Adding network input: x with dtype: float32, dimensions: (1, 3, 8, 8)
Parsing node: /q/QuantizeLinear [QuantizeLinear]
/q/QuantizeLinear [QuantizeLinear] inputs: [conv1.weight -> (4, 3, 3, 3)[FLOAT]], [s -> ()[FLOAT]],{BLANK}
/q/QuantizeLinear [QuantizeLinear] outputs: [wq -> (4, 3, 3, 3)[INT8]],{BLANK}
Parsing node: /conv1/Conv [Conv]
/conv1/Conv [Conv] inputs: [x -> (1, 3, 8, 8)[FLOAT]], [wd -> (4, 3, 3, 3)[FLOAT]], [optional input, not set],{BLANK}
/conv1/Conv [Conv] outputs: [y -> (1, 4, 8, 8)[FLOAT]],{BLANK}
=============== Computing costs for{BLANK}
*************** Autotuning format combination: Int8(64,64:4,8,1) -> Float(256,64,8,1) ***************
--------------- Timing Runner: {NAME} (CudaDepthwiseConvolution)
CudaDepthwiseConvolution has no valid tactics for this config, skipping
--------------- Timing Runner: {NAME} (CaskConvolution)
{NAME} Set Tactic Name: i8_kernel_time 3 Tactic: 0x00000000000000aa
Tactic: 0x00000000000000aa Time: 0.04
{NAME} Set Tactic Name: i8_other Tactic: 0x00000000000000ab
Tactic: 0x00000000000000ab Time: 0.02
Fastest Tactic: 0x00000000000000ab Time: 0.02
>>>>>>>>>>>>>>> Chose Runner Type: CaskConvolution Tactic: 0x00000000000000ab
*************** Autotuning format combination: Float(192,64,8,1) -> Float(256,64,8,1) ***************
--------------- Timing Runner: {NAME} (CudnnConvolution)
Tactic: 0x0000000000000001 skipped. Scratch requested: 9999, available: 16
Tactic: 0x0000000000000002 Time: 0.011
Fastest Tactic: 0x0000000000000002 Time: 0.011
=============== Computing reformatting costs
*************** Autotuning Reformat: Float(192,64,8,1) -> Int8(64,64:4,8,1) ***************
--------------- Timing Runner: Optimizer Reformat(x -> <out>) (Reformat)
Tactic: 0x0000000000000000 Time: 0.005
Fastest Tactic: 0x0000000000000000 Time: 0.005
Engine Layer Information:
Layer(CudnnConvolution): {NAME}, Tactic: 0x0000000000000002, x (Float[1,3,8,8]) -> y (Float[1,4,8,8])
"""


def read(text, **prefix):
    return PrecisionReport.from_lines(text.split("\n"))


def candidates(layer):
    return {(c.inputs, c.outcome): (c.runner, c.best_time_ms, c.line) for c in layer.candidates}
