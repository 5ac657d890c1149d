"""How far a quantized model is from its float original, simulated in onnxruntime."""

from trt_int8.evaluation.evaluation import Evaluation, OutputDifference, Top1, evaluate

__all__ = ["Evaluation", "OutputDifference", "Top1", "evaluate"]
