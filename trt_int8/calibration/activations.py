"""Run a model with its float tensors as outputs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx

from trt_int8.errors import CalibrationError
from trt_int8.graph.model import Model
from trt_int8.graph.passes.subgraph import part_of, with_outputs
from trt_int8.graph.runtime import Session, rewritten
from trt_int8.graph.tensors import tied_outputs, view_outputs


class Activations:
    """A model in onnxruntime with the float tensors to calibrate as its outputs.

    Several threads may use it at the same time; each batch runs on the calling thread.

    Args:
        model: the float model.
        tensors: names to calibrate; None: every float input and activation.
        only: the outputs of this session, a part of ``tensors``. Their values have the same bits as if all
            tensors were outputs.
        arena: let onnxruntime keep memory for the next batch.

    Attributes:
        names: the tensors to calibrate, in graph order.
        ties: tensor → the tensor whose range it shares.
        views: tensor → the tensor with the same values that is counted instead.

    Raises:
        CalibrationError: ``tensors`` has a name that is not a float tensor of the model.
        ModelError: onnxruntime rejects the model.
        MissingDependencyError: onnxruntime is not installed.
    """

    def __init__(
        self,
        model: onnx.ModelProto | Model,
        *,
        tensors: Collection[str] | None = None,
        only: Collection[str] | None = None,
        arena: bool = True,
    ) -> None:
        whole = Model.unchecked(model)
        self.specs, index = whole.inputs, whole.index
        views = view_outputs(index)
        wanted = None if tensors is None else {views.get(name, name) for name in tensors}
        computed = [name for node in index.graph.node if node.op_type != "Constant" for name in node.output]
        shown = [name for name in computed if name and name not in views]
        extended = with_outputs(whole.proto, (name for name in shown if wanted is None or name in wanted))
        if only is not None:
            tensors = wanted = set(only)
            ends = [name for name in only if name in index.producers]
            # onnxruntime rejects a graph without nodes.
            extended = part_of(rewritten(extended), ends or [extended.graph.output[0].name])
        # One core per run: batches run in parallel, and the results do not depend on how work is divided.
        self._session = Session(extended, threads=1, arena=arena, optimize=only is None)
        floats = {name for name, spec in self.specs.items() if spec.is_float}
        floats.update(self._session.float_outputs)
        counted = [
            name
            for name in index.order
            if name in floats and name not in views and (wanted is None or name in wanted)
        ]
        known = {*counted, *(name for name, root in views.items() if root in counted)}
        self.names = tuple(name for name in index.order if name in (known if tensors is None else tensors))
        unknown = sorted(set(tensors or ()) - known)
        if unknown:
            raise CalibrationError(f"the model has no float tensor {unknown[0]!r} that can be calibrated")
        self._inputs = [name for name in counted if name in self.specs]
        self._outputs = [name for name in counted if name not in self.specs]
        self.views = {name: root for name, root in views.items() if name in self.names}
        self.ties = tied_outputs(index, set(self.names))

    @property
    def counted(self) -> tuple[str, ...]:
        """The tensors whose values `values` yields; `views` gives the others."""
        return (*self._inputs, *self._outputs)

    @property
    def element_sizes(self) -> dict[str, int]:
        """Bytes per element of each counted tensor."""
        fed = {name: self.specs[name].dtype.itemsize for name in self._inputs}
        computed = self._session.float_outputs
        return {**fed, **{name: computed[name] for name in self._outputs}}

    def values(
        self, batch: Mapping[str, npt.NDArray[np.generic]], *, place: str
    ) -> Iterator[tuple[str, npt.NDArray[np.generic]]]:
        """Yield name and values of each counted tensor for one checked batch, without copies."""
        for name in self._inputs:
            yield name, batch[name]
        if self._outputs:
            outputs = self._session.run(batch, self._outputs, place=place)
            outputs.reverse()
            for name in self._outputs:
                yield name, outputs.pop()  # its memory is free again once it is counted
