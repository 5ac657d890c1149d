"""Run models in onnxruntime. No other module imports it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.dependencies import require
from trt_int8.errors import ModelError, OutputError
from trt_int8.graph.load import serialize

#: Type of an output → bytes per element.
_FLOATS = {"tensor(float)": 4, "tensor(float16)": 2, "tensor(double)": 8, "tensor(bfloat16)": 2}
#: onnxruntime's log level: only fatal messages go to stderr, errors are exceptions.
_FATAL = 4


class Session:
    """A model loaded into onnxruntime on the CPU.

    Args:
        model: the model.
        optimize: let onnxruntime rewrite the graph. Off if two models are compared: its rewrites change the
            result of a Q/DQ model by up to 0.25 dB.
        threads: threads inside an operator; None: onnxruntime chooses.
        arena: keep freed memory for later; without, it is returned at once, which is slower.
        sizes_first: run Shape and Size nodes as early as possible, so that no tensor is kept for them.

    Raises:
        ModelError: onnxruntime rejects the model.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        *,
        optimize: bool = True,
        threads: int | None = None,
        arena: bool = True,
        sizes_first: bool = False,
    ) -> None:
        ort = _onnxruntime()
        options = _options(ort, optimize=optimize)
        options.enable_cpu_mem_arena = arena
        if sizes_first:
            options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        if threads is not None:
            options.intra_op_num_threads = threads
        self._session = _load(ort, model, options)

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(output.name for output in self._session.get_outputs())

    @property
    def float_outputs(self) -> dict[str, int]:
        """Bytes per element of the outputs that are floating-point tensors according to onnxruntime."""
        types = {output.name: output.type for output in self._session.get_outputs()}
        return {name: _FLOATS[element] for name, element in types.items() if element in _FLOATS}

    def run(
        self, batch: Mapping[str, npt.NDArray[np.generic]], outputs: Sequence[str], *, place: str
    ) -> list[npt.NDArray[np.generic]]:
        """Run one batch and return ``outputs`` in that order.

        Raises:
            ModelError: the run failed; the message names ``place`` (such as the batch).
        """
        if not outputs:
            return []  # onnxruntime would return all of them for an empty list
        try:
            return list(self._session.run(list(outputs), dict(batch)))
        except Exception as error:
            raise ModelError(f"onnxruntime failed on {place}: {_message(error)}") from error


def rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return ``model`` as onnxruntime rewrites it for speed and for this machine.

    The rewrites depend on the outputs, and so do the last bits of a tensor. The returned model, run with
    ``optimize=False``, computes the same bits as ``model``, also for fewer outputs.

    Raises:
        OutputError: onnxruntime cannot write the model to the folder for temporary files.
        MissingDependencyError: onnxruntime is not installed.
    """
    ort = _onnxruntime()
    options = _options(ort, optimize=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rewritten.onnx")
            options.optimized_model_filepath = str(path)
            _load(ort, model, options)
            return onnx.load(path)
    except (OSError, ModelError) as error:
        raise OutputError(
            f"onnxruntime cannot write the model it runs to {tempfile.tempdir or 'a temporary folder'} "
            f"({error}); make room there, or set TMPDIR to another folder"
        ) from error


def onnxruntime_version() -> str:
    """Return the version of onnxruntime; others may compute the last bits of a result differently."""
    return str(_onnxruntime().__version__)


def _onnxruntime() -> Any:
    return require("onnxruntime", purpose="running a model on the CPU")


def _options(ort: Any, *, optimize: bool) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    return options


def _load(ort: Any, model: onnx.ModelProto, options: Any) -> Any:
    data = serialize(model)
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base but Exception
        raise ModelError(f"onnxruntime rejects the model: {_message(error)}") from error


def _message(error: Exception) -> str:
    """Return onnxruntime's message on one line, without its status prefix."""
    text = " ".join(str(error).split())
    return text.split(" : ", 3)[-1] if text.startswith("[ONNXRuntimeError]") else text
