"""How far a quantized model is from the float one on images neither calibration nor training saw."""

import numpy as np
import onnx

from trt_int8.evaluation.metrics import Difference
from trt_int8.graph.runtime import Session

#: Of the detector's probability map, as in PP-OCR's own post-processing.
TEXT = 0.3


class Reference:
    """The float model's outputs, computed once; onnxruntime's optimizations are off for all models."""

    def __init__(self, model, images, truth, metric):
        session = Session(model, optimize=False)
        self.images, self.truth, self.metric, self.names = images, truth, metric, session.outputs
        constants = {tensor.name for tensor in model.graph.initializer}
        (self.input,) = [entry.name for entry in model.graph.input if entry.name not in constants]
        self.characters = _characters(model)
        self.outputs = self._run(session)

    def _run(self, session):
        # One array for each image: the first output.
        return [session.run({self.input: i[None]}, self.names[:1], place="an image")[0] for i in self.images]

    def compare(self, path):
        """SQNR in dB over all images, and the task metric."""
        outputs = self._run(Session(onnx.load(path), optimize=False))
        difference = Difference()
        for reference, quantized in zip(self.outputs, outputs, strict=True):
            difference.add(reference, quantized)
        return {"sqnr_db": difference.sqnr_db, "metric": self.score(outputs)}

    def score(self, outputs):
        """The task metric of ``outputs``, in per cent; None where there is none."""
        if self.metric == "top1":
            found = np.array([int(output.argmax()) for output in outputs])
            return 100 * float((found == np.array(self.truth)).mean())
        if self.metric == "text":
            pairs = zip((self._text(output) for output in outputs), self.truth, strict=True)
            return 100 * float(np.mean([found == true for found, true in pairs]))
        if self.metric == "text_mask":
            # F-score of text pixels against the float model's.
            pairs = zip(outputs, self.outputs, strict=True)
            masks = [(quantized > TEXT, reference > TEXT) for quantized, reference in pairs]
            both = sum(int((a & b).sum()) for a, b in masks)
            return 100 * 2 * both / max(1, sum(int(a.sum() + b.sum()) for a, b in masks))
        return None

    def _text(self, output):
        """Greedy CTC decoding: class 0 is the blank."""
        codes = output[0].argmax(-1)
        kept = codes[np.concatenate([[True], codes[1:] != codes[:-1]])]
        return "".join(self.characters[code - 1] for code in kept if code).strip()


def _characters(model):
    """PP-OCR keeps its alphabet in the model's metadata; the last class is the space."""
    listed = [entry.value for entry in model.metadata_props if entry.key == "character"]
    return [*listed[0].splitlines(), " "] if listed else []
