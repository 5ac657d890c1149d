"""The placement rules in the order in which they are applied, and the two placements made of them."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module

from trt_int8.choices import PLACEMENTS as _NAMES
from trt_int8.errors import QuantizationError
from trt_int8.quantization.placement import rules as _rules
from trt_int8.quantization.placement.rule import REGISTERED, Rule
from trt_int8.target import default_target

for _module in pkgutil.iter_modules(_rules.__path__, f"{_rules.__name__}."):
    import_module(_module.name)

RULES = tuple(sorted(REGISTERED.values(), key=lambda rule: (rule.order, rule.name)))


@dataclass(frozen=True)
class Placement:
    """A choice of rules.

    Attributes:
        name: the placement it comes from.
        rules: the rules, in the order of `RULES`.
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
        """Return the placement with some rules switched off.

        Raises:
            QuantizationError: no rule has one of the names.
        """
        for name in names:
            if name not in REGISTERED:
                raise QuantizationError(
                    f"there is no placement rule {name!r}; the rules are {', '.join(sorted(REGISTERED))}"
                )
        return Placement(self.name, tuple(rule for rule in self.rules if rule.name not in names))


#: ``tensorrt``: every rule of the developer guide. ``rtx``: what measurably helps TensorRT-RTX.
PLACEMENTS = {
    name: Placement(name, tuple(rule for rule in RULES if name in rule.placements)) for name in _NAMES
}


def resolve(placement: str | Placement | None = None) -> Placement:
    """Return the placement of that name; None: the one for `trt_int8.target.default_target`.

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
