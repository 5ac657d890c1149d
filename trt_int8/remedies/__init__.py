"""What helps against lost accuracy, short of training: all of it keeps zero point 0."""

from trt_int8.remedies.bias_correction import correct_bias
from trt_int8.remedies.recentre import recentre
from trt_int8.remedies.remedied import Remedied, quantize_with_remedies

__all__ = ["Remedied", "correct_bias", "quantize_with_remedies", "recentre"]
