"""Run a built engine on the GPU of this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trt_int8.engine.log import BuildLog
from trt_int8.engine.tensorrt import TensorRT, load
from trt_int8.errors import ModelError
from trt_int8.files.inputs import read_input
from trt_int8.graph.inputs import InputSpec
from trt_int8.streamer.context import PrimaryContext, cuda_errors, load_driver
from trt_int8.streamer.gpu import find_gpus

#: Suffixes of engine files.
SUFFIXES = (".engine", ".plan", ".trt")


def is_engine(model: object) -> bool:
    """Return whether ``model`` is the name of an engine file."""
    return isinstance(model, str | os.PathLike) and Path(model).suffix in SUFFIXES


class EngineSession:
    """An engine with the interface of `trt_int8.graph.runtime.Session`.

    Raises:
        ModelError: the file cannot be read, or TensorRT rejects it.
        MissingDependencyError: TensorRT, pycuda or the driver is not installed.
        CalibrationError: there is no usable GPU.
    """

    def __init__(self, path: str | os.PathLike[str], *, tensorrt: TensorRT | None = None) -> None:
        try:
            data = read_input(path)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror or error}") from error
        self._path = path
        self._driver = load_driver(purpose=f"running {path}")
        trt = tensorrt or load()
        self._modes = trt.module.TensorIOMode
        self._nptype = trt.module.nptype
        self._log = BuildLog()
        self._context = PrimaryContext(self._driver, 0)
        with self._context.current():
            self._runtime = trt.module.Runtime(trt.logger(self._log))
            self._engine: Any = self._runtime.deserialize_cuda_engine(data)
            if self._engine is None:
                lines = "; ".join(self._log.errors[:3])
                raise ModelError(f"{path}: {trt.name} cannot load the engine: {lines}; {_advice(trt)}")
            self._execution: Any = self._engine.create_execution_context()
            self._stream = self._driver.Stream()
        self._names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]

    @property
    def specs(self) -> dict[str, InputSpec]:
        """Inputs of the engine by name."""
        return {
            name: InputSpec(
                name,
                np.dtype(self._nptype(self._engine.get_tensor_dtype(name))),
                tuple(size if size > 0 else "?" for size in self._engine.get_tensor_shape(name)),
            )
            for name in self._names
            if self._engine.get_tensor_mode(name) == self._modes.INPUT
        }

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(n for n in self._names if self._engine.get_tensor_mode(n) == self._modes.OUTPUT)

    def run(
        self, batch: Mapping[str, npt.NDArray[np.generic]], outputs: Sequence[str], *, place: str
    ) -> list[npt.NDArray[np.generic]]:
        """Run one batch and return ``outputs`` in that order; see `Session.run`."""
        with self._context.current(), cuda_errors(self._driver, f"running {self._path} on {place} failed"):
            memory = []
            for name in self.specs:
                values = np.ascontiguousarray(batch[name])
                if not self._execution.set_input_shape(name, values.shape):
                    raise ModelError(
                        f"{place}: input {name!r} with shape {list(values.shape)} is outside the engine's "
                        "optimization profile; use another batch size"
                    )
                memory.append(self._driver.to_device(values))
                self._execution.set_tensor_address(name, int(memory[-1]))
            results = {}
            for name in self.outputs:
                dtype = self._nptype(self._engine.get_tensor_dtype(name))
                host = np.empty(tuple(self._execution.get_tensor_shape(name)), dtype)
                device = self._driver.mem_alloc(max(host.nbytes, 1))
                self._execution.set_tensor_address(name, int(device))
                results[name] = (host, device)
            if not self._execution.execute_async_v3(self._stream.handle):
                raise ModelError(f"{self._path} failed on {place}: {'; '.join(self._log.errors[-3:])}")
            self._stream.synchronize()
            for host, device in results.values():
                self._driver.memcpy_dtoh(host, device)
        return [results[name][0] for name in outputs]


def _advice(tensorrt: TensorRT) -> str:
    """Say what to do with an engine that cannot be loaded."""
    gpus, _ = find_gpus()
    if gpus and not tensorrt.runs_on(gpus[0].capability):
        return (
            f"it does not run on {gpus[0].name} ({gpus[0].capability}): build the engine with TensorRT "
            "(target='tensorrt', pip install tensorrt-cu12)"
        )
    return "build the engine again with this TensorRT version and for this GPU"
