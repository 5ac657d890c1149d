"""Differences between two results: Q/DQ models, reports as JSON, and which samples were held back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

#: Metadata property of a Q/DQ model that says how it was made, as JSON.
RECORD = "trt_int8.record"
#: Its field with the samples that only judged: [[start, stop], …].
HELD_BACK = "held_back"
#: Operators whose third input is a bias.
BIASED = ("Conv", "ConvTranspose", "Gemm")


@dataclass(frozen=True)
class ModelDifference:
    """Differences between two Q/DQ models, metadata aside.

    Attributes:
        biases: name of a tensor → largest absolute change of the bias that is added to it.
        others: everything else that differs, in words.
    """

    biases: Mapping[str, float]
    others: tuple[str, ...]

    @property
    def identical(self) -> bool:
        return not self.biases and not self.others


def model_difference(old: onnx.ModelProto, new: onnx.ModelProto) -> ModelDifference:
    """Compare two models field by field; metadata properties of the model are left out.

    A bias is the third input of a Conv, ConvTranspose or Gemm, or a constant row that an Add adds to a
    product. A model without a bias where the other one has one counts as having zeros there.
    """
    if _without_metadata(old) == _without_metadata(new):
        return ModelDifference({}, ())
    others = _frame_differences(old, new)
    constants = tuple({t.name: t for t in model.graph.initializer} for model in (old, new))
    biases: dict[str, float] = {}
    bias_names: set[str] = set()
    other_names: set[str] = set()
    pairs = list(zip(old.graph.node, new.graph.node, strict=False))
    if len(old.graph.node) != len(new.graph.node):
        others.append(f"{len(old.graph.node)} nodes in the old model, {len(new.graph.node)} in the new one")
    products = [_products(model) for model in (old, new)]
    for pair in pairs:
        slots = {
            slot
            for node, known, made in zip(pair, constants, products, strict=True)
            for slot in _bias_slots(node, known, made)
        }
        for node in pair:
            for slot, name in enumerate(node.input):
                (bias_names if slot in slots else other_names).add(name)
        if not _same_apart_from(*pair, slots):
            others.append(f"node {pair[0].name or pair[0].output[0]} ({pair[0].op_type}) differs")
        for slot in slots:
            values = [_bias(node, slot, known) for node, known in zip(pair, constants, strict=True)]
            if change := _largest_change(*values):
                biases[pair[0].output[0]] = change
    for name in sorted(set(constants[0]) | set(constants[1])):
        if name in bias_names and name not in other_names:
            continue
        tensors = [known.get(name) for known in constants]
        if any(tensor is None for tensor in tensors):
            others.append(f"initializer {name} is in one model only")
        elif not _same_tensor(*tensors):
            others.append(f"initializer {name} differs")
    if not biases and not others:
        others.append("the order of initializers, or names of biases, differ")
    return ModelDifference(biases, tuple(others))


def held_back(model: onnx.ModelProto) -> tuple[tuple[int, int], ...]:
    """Read from the record which samples only judged, as (start, stop); empty where there is no record."""
    for entry in model.metadata_props:
        if entry.key == RECORD:
            return tuple((int(a), int(b)) for a, b in json.loads(entry.value).get(HELD_BACK) or ())
    return ()


def split_samples(
    arrays: Mapping[str, np.ndarray], ranges: Sequence[tuple[int, int]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Split arrays along axis 0 into (samples outside ``ranges``, samples in them), both in order.

    Raises:
        ValueError: a range is not within the samples.
    """
    count = len(next(iter(arrays.values())))
    inside = np.zeros(count, bool)
    for start, stop in ranges:
        if not 0 <= start < stop <= count:
            raise ValueError(f"samples {start} to {stop} are not among the {count} that were given")
        inside[start:stop] = True
    return (
        {name: array[~inside] for name, array in arrays.items()},
        {name: array[inside] for name, array in arrays.items()},
    )


def json_differences(old: Any, new: Any, *, known: Sequence[str] = (), path: str = "") -> Iterator[str]:
    """Yield the paths at which two JSON documents differ, such as ``builds.0.layers.3.precision``.

    Args:
        known: patterns of paths that are left out; ``*`` stands for any characters.
    """
    if any(fnmatchcase(path, pattern) for pattern in known):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        keys = list(dict.fromkeys([*old, *new]))
        pairs = [(str(key), old.get(key, _MISSING), new.get(key, _MISSING)) for key in keys]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(str(i), a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        if type(old) is not type(new) or (old != new and not (old != old and new != new)):
            yield path or "the whole document"
        return
    for key, a, b in pairs:
        yield from json_differences(a, b, known=known, path=f"{path}.{key}" if path else key)


_MISSING = object()


def _frame_differences(old: onnx.ModelProto, new: onnx.ModelProto) -> list[str]:
    """Fields of model and graph that differ, other than nodes and initializers."""
    found = []
    for what, a, b, skipped in (
        ("model", old, new, ("graph", "metadata_props")),
        ("graph", old.graph, new.graph, ("node", "initializer")),
    ):
        for field in a.DESCRIPTOR.fields:
            if field.name in skipped:
                continue
            if _field_bytes(a, field.name) != _field_bytes(b, field.name):
                found.append(f"{what}.{field.name} differs")
    return found


def _field_bytes(message, name):
    alone = type(message)()
    value = getattr(message, name)
    if hasattr(value, "extend"):
        getattr(alone, name).extend(value)
    elif message.HasField(name):
        getattr(alone, name).CopyFrom(value) if hasattr(value, "CopyFrom") else setattr(alone, name, value)
    return alone.SerializeToString(deterministic=True)


def _without_metadata(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.metadata_props[:]
    return copy.SerializeToString(deterministic=True)


def _products(model):
    return {node.output[0] for node in model.graph.node if node.op_type == "MatMul"}


def _bias_slots(node, constants, products):
    if node.op_type in BIASED:
        return (2,) if len(node.input) < 3 or not node.input[2] or node.input[2] in constants else ()
    if node.op_type != "Add":
        return ()
    return tuple(
        slot
        for slot, name in enumerate(node.input)
        if name in constants and node.input[1 - slot] in products and _is_row(constants[name])
    )


def _is_row(tensor):
    return len(tensor.dims) > 0 and int(np.prod(tensor.dims)) == tensor.dims[-1]


def _same_apart_from(old, new, slots):
    copies = []
    for node in (old, new):
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        kept = [name for slot, name in enumerate(node.input) if slot not in slots]
        del copy.input[:]
        copy.input.extend(kept)
        if node.op_type == "Gemm" and slots:  # the bias is compared as it counts, times beta
            for attribute in [a for a in copy.attribute if a.name == "beta"]:
                copy.attribute.remove(attribute)
        copies.append(copy.SerializeToString(deterministic=True))
    return copies[0] == copies[1]


def _bias(node, slot, constants):
    if slot >= len(node.input) or not node.input[slot]:
        return np.zeros(1)
    if node.input[slot] not in constants:
        return np.full(1, np.nan)  # computed here, a constant in the other model
    beta = next((a.f for a in node.attribute if a.name == "beta"), 1.0) if node.op_type == "Gemm" else 1.0
    return beta * numpy_helper.to_array(constants[node.input[slot]]).astype(np.float64).reshape(-1)


def _largest_change(old, new):
    if old.size != new.size and 1 not in (old.size, new.size):
        return float("inf")
    change = float(np.abs(old - new).max(initial=0.0))
    return float("inf") if np.isnan(change) else change


def _same_tensor(old, new):
    if (old.data_type, list(old.dims)) != (new.data_type, list(new.dims)):
        return False
    return numpy_helper.to_array(old).tobytes() == numpy_helper.to_array(new).tobytes()
