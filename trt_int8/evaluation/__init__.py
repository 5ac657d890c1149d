"""Measure how far the outputs of a quantized model are from those of the float model."""

from trt_int8.evaluation.evaluation import Evaluation, OutputDifference, Top1, evaluate

__all__ = ["Evaluation", "OutputDifference", "Top1", "evaluate"]
