"""The corrections of a model, for the tests of this folder."""

from trt_int8.correction.correct import correct
from trt_int8.quantization import quantize


def corrected_by(model, ranges, histograms, fit, *, held_back, recentred=(), bias_correction=False):
    """All of `correct`, by the placement of TensorRT."""

    def place(changed, found):
        return quantize(changed, found, placement="tensorrt")

    return correct(
        model,
        place(model, ranges),
        fit=fit,
        held_back=held_back,
        place=place,
        ranges=ranges,
        histograms=histograms,
        recentred=recentred,
        bias_correction=bias_correction,
    )
