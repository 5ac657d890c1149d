"""The placement rules as one table, applied from top to bottom.

``guide`` is "Working with Quantized Types" in the TensorRT developer guide (explicit quantization, Q/DQ
placement recommendations). ``measured`` is what the builder of TensorRT-RTX 1.7 does with models that
differ in nothing but that rule; docs/placement.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trt_int8.choices import PLACEMENTS as _BOTH
from trt_int8.choices import PlacementName as Name
from trt_int8.errors import QuantizationError
from trt_int8.quantization.placement import epilogue, exact_rewrites, multiply, shared
from trt_int8.quantization.placement.draft import Draft
from trt_int8.target import default_target


@dataclass(frozen=True)
class Rule:
    """One line of the table.

    Attributes:
        name: what ``without`` and the docs call it.
        what: what it does, in a sentence.
        source: why.
        placements: the placements that have it.
        apply: adds to the draft.
    """

    name: str
    what: str
    source: str
    placements: tuple[Name, ...]
    apply: Callable[[Draft], None]


_TRT: tuple[Name, ...] = ("tensorrt",)
_RTX: tuple[Name, ...] = ("rtx",)

# fmt: off
RULES = (
    # What stays as it is.
    Rule("bodies", "Bodies of If, Loop and Scan stay float, and are named.",
         "A body has no calibrated ranges.", _BOTH, multiply.bodies),
    Rule("constant-operands", "A node whose operands are all constant stays float.",
         "TensorRT folds it at build time.", _BOTH, multiply.constant_operands),
    Rule("constant-addends", "An Add with a constant operand stays float.",
         "measured: quantized scalars are refused.", _BOTH, multiply.constant_addends),
    Rule("fused-activations", "No pair inside Relu, Clip, SiLU, HardSwish, LeakyRelu or GELU, nor before it.",
         "guide: leave activation functions for the builder to fuse.", _BOTH, multiply.fused_activations),
    # Which scales.
    Rule("concat-scales", "Inputs and output of Concat have one scale, transitively.",
         "guide; measured: a float copy less.", _BOTH, shared.concat),
    Rule("max-pool-scales", "Max-pool, and what only moves values, has one scale at input and output.",
         "guide: Q moves backward and DQ forward over them; measured.", _BOTH, shared.passing),
    Rule("softmax-range", "Softmax before a MatMul has the range [0, 1], unless its values are all small.",
         "Its values by definition; entropy calibration clips the few large ones (measured).",
         _BOTH, shared.softmax),
    Rule("per-channel-weights", "Weights have a scale for each output channel.",
         "guide.", _BOTH, multiply.per_channel),
    Rule("per-channel-batches", "So have the matrices of a batched constant operand of MatMul.",
         "measured: INT8 there; the guide grants it to matrices only.", _RTX, multiply.per_channel_batches),
    # What multiplies in INT8.
    Rule("convolution", "Quantize input and weight of Conv: plain, grouped, depthwise.",
         "guide: quantize the inputs of weighted operations.", _BOTH, multiply.convolution),
    Rule("transposed-convolution", "Quantize input and weight of ConvTranspose.",
         "guide; measured: never INT8 in TensorRT-RTX.", _TRT, multiply.transposed_convolution),
    Rule("gemm", "Quantize both operands of Gemm, whatever transA, transB, alpha and beta.",
         "guide; measured: alpha and beta keep it in INT8.", _BOTH, multiply.gemm),
    Rule("matmul-weight", "Quantize both operands of MatMul with one constant.",
         "guide.", _BOTH, multiply.matmul_weight),
    Rule("matmul-activations", "Quantize both operands of MatMul of two activations (attention).",
         "guide; measured: one fused kernel, if both MatMuls have all pairs.",
         _BOTH, multiply.matmul_activations),
    # What reads INT8 beside them.
    Rule("residual-add", "Quantize the residual input of an Add behind a convolution.",
         "guide: the sum then fuses into the convolution.", _TRT, shared.residual_add),
    Rule("weightless", "Quantize all inputs of AveragePool and Add whose output is quantized.",
         "guide: layers without weights run in INT8 only with pairs on inputs and output.",
         _TRT, shared.weightless),
    Rule("reuse", "An Add reads the pair of a tensor that is quantized for another reader.",
         "measured: a float copy less; any other pair before an Add changes nothing.", _RTX, shared.reuse),
    # How the graph changes.
    Rule("fold-batch-norm", "Fold BatchNormalization into the quantized Conv before it.",
         "Exact; the weights that are rounded are those that are multiplied.",
         _BOTH, exact_rewrites.fold_batch_norm),
    Rule("one-scale-convolution",
         "A Conv that ends behind its activation has one weight scale, if its weight bears it.",
         "measured: the convolution then does bias and activation itself.", _RTX, epilogue.one_scale),
    Rule("parts-before-transpose", "Query, key and value of one product are transposed each by itself.",
         "Exact; measured: INT8, where the weights would be dequantized, and fewer kernels.",
         _RTX, exact_rewrites.parts_before_transpose),
    Rule("fold-small-constants", "Scalars and shapes that depend on no input are computed beforehand.",
         "Exact; measured: a kernel less.", _RTX, exact_rewrites.fold_small_constants),
)
# fmt: on


@dataclass(frozen=True)
class Placement:
    """A choice of rules.

    Attributes:
        name: the placement it comes from.
        rules: the rules, in the order of the table.
    """

    name: str
    rules: tuple[Rule, ...]

    @property
    def text(self) -> str:
        """The name, with the rules that are switched off: ``rtx without reuse``."""
        kept = set(self.rules)
        left_out = [rule.name for rule in RULES if self.name in rule.placements and rule not in kept]
        return f"{self.name} without {', '.join(left_out)}" if left_out else self.name

    def without(self, *names: str) -> Placement:
        """The same placement with some rules switched off.

        Raises:
            QuantizationError: no rule has one of the names.
        """
        known = {rule.name for rule in RULES}
        for name in names:
            if name not in known:
                raise QuantizationError(
                    f"there is no placement rule {name!r}; the rules are {', '.join(sorted(known))}"
                )
        return Placement(self.name, tuple(rule for rule in self.rules if rule.name not in names))


#: ``tensorrt``: every rule of the developer guide. ``rtx``: what measurably helps TensorRT-RTX.
PLACEMENTS = {
    name: Placement(name, tuple(rule for rule in RULES if name in rule.placements)) for name in _BOTH
}


def resolve(placement: str | Placement | None = None) -> Placement:
    """The placement of a name; None: that of `trt_int8.target.default_target`.

    Raises:
        QuantizationError: unknown name.
    """
    if isinstance(placement, Placement):
        return placement
    if placement is None:
        placement = default_target().placement
    if placement not in PLACEMENTS:
        raise QuantizationError(f"there is no placement {placement!r}; choose {' or '.join(PLACEMENTS)}")
    return PLACEMENTS[placement]
