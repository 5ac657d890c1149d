"""Format combinations of the tuning lines: ``Int8(512,64:32,8,1), Float(…) -> Half(…)`` → datatypes."""

from __future__ import annotations

import re
from functools import lru_cache

from trt_int8.report.datatypes import dtype

# Strides may be symbolic and nested: "Float((* (# 1 (SHAPE x)) (# 2 (SHAPE x))),…)".
_TYPED = re.compile(r"(?:^|, )([A-Za-z]\w*)\(")


@lru_cache(maxsize=8192)
def combination(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The datatypes of the inputs and of the outputs."""
    inputs, _, outputs = text.partition("-> ")
    return _datatypes(inputs), _datatypes(outputs)


def _datatypes(side: str) -> tuple[str, ...]:
    return tuple(found for word in _TYPED.findall(side.strip()) if (found := dtype(word)) != "unknown")
