"""Read JSON and YAML that others wrote, and write YAML. No document makes a reader wait, recurse or run code.

Documents may be nested `DEPTH` levels deep, and numbers may have `DIGITS` digits. YAML has no aliases and no
tags here, at most `VALUES` values, and only text, numbers, booleans and null as scalars: a date is text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import Any

from trt_int8.dependencies import require
from trt_int8.printable import printable

DEPTH = 64
DIGITS = 300
#: Values, keys, lists and mappings of a YAML document: libyaml reads them in seconds.
VALUES = 500_000
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_TAG = "tag:yaml.org,2002:"


class DocumentError(ValueError):
    """The text is not a document of this kind. ``at`` is ``":12"`` for an error on line 12, else empty."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.at = "" if line is None else f":{line}"


def parse_json(data: bytes | str, *, unique: bool = True) -> Any:
    r"""Return the value of a JSON document in UTF-8, -16 or -32. Control characters may stand in texts.

    NaN and Infinity are read as floats, which callers check.

    Args:
        data: the document.
        unique: refuse an object that has a key twice. Else the last one counts, in its place.

    Examples:
        >>> parse_json(b'{"conv1": 6.5}')
        {'conv1': 6.5}
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ...
        trt_int8.documents.DocumentError: 'a' is given twice

    Raises:
        DocumentError: it is not JSON, too deep, or has a number of too many digits or half a character.
    """
    try:
        text = data if isinstance(data, str) else data.decode(json.detect_encoding(data))
        document = json.loads(
            text.removeprefix("\ufeff"),
            strict=False,
            object_pairs_hook=_unique if unique else _last,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        raise DocumentError(f"not JSON: {error.msg} (column {error.colno})", error.lineno) from error
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8 text ({error})") from error
    except RecursionError as error:
        raise DocumentError(_too_deep()) from error
    _check(document, texts=_SURROGATE.search(text) is not None)
    return document


def parse_yaml(
    text: str, *, typed: bool = True, unique: bool = True, purpose: str
) -> tuple[Any, Mapping[Any, int]]:
    """Return the value of a YAML document, and the line (from 1) of each key of its outermost mapping.

    Args:
        text: the document.
        typed: read numbers, booleans and null as such. Else all scalars are texts: ``106`` and ``yes`` may
            be names.
        unique: refuse a mapping that has a key twice. Else the last one counts, in its place.
        purpose: what YAML is needed for, in the message if PyYAML is not installed.

    Examples:
        >>> parse_yaml("limit: 5\\nmean: [0.5, 0.4]", purpose="an example")
        ({'limit': 5, 'mean': [0.5, 0.4]}, {'limit': 1, 'mean': 2})

    Raises:
        DocumentError: it is not YAML, too deep or too large, or has an alias, a tag, a key twice, a number of
            too many digits, or half a character.
        MissingDependencyError: PyYAML is not installed.
    """
    yaml: Any = require("yaml", purpose=purpose)
    loader = None
    try:
        _check_events(yaml, yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        loader = _loader(typed)(text)
        node = loader.get_single_node()
        if node is None:
            return None, {}
        _check_keys(yaml, node, unique=unique)
        lines = {}
        if isinstance(node, yaml.MappingNode):
            lines = {loader.construct_object(key): key.start_mark.line + 1 for key, _ in node.value}
        return loader.construct_document(node), lines
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise DocumentError(f"not YAML: {problem}", mark and mark.line + 1) from error
    finally:
        if loader is not None:
            loader.dispose()


def to_yaml(document: Any, *, purpose: str) -> str:
    """Return ``document`` as YAML that `parse_yaml` reads back, with escapes for what `printable` escapes.

    Raises:
        MissingDependencyError: PyYAML is not installed; the message begins with ``purpose``.
    """
    yaml: Any = require("yaml", purpose=purpose)
    options = {"sort_keys": False, "width": 10**6}
    text: str = yaml.safe_dump(document, allow_unicode=True, **options)
    if printable(text, keep="\n") != text:  # PyYAML would not read all of them back
        text = yaml.safe_dump(document, **options)
    return text


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise DocumentError(f"{twice!r} is given twice")
    return found


def _last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        found.pop(name, None)
        found[name] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > DIGITS:
        raise DocumentError(f"a number of {len(digits)} digits ({digits[:8]}…); {DIGITS} are read at most")
    return int(digits)


def _check(document: Any, *, texts: bool) -> None:
    """Check the depth of lists and dicts, and, if ``texts``, that all texts are whole characters."""
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > DEPTH + 1:
            raise DocumentError(_too_deep())
        if texts:
            for value in level:
                for text in value if isinstance(value, dict) else [value]:
                    _check_text(text)
        level = [
            child
            for value in level
            if isinstance(value, dict | list)
            for child in (value.values() if isinstance(value, dict) else value)
            if texts or isinstance(child, dict | list)
        ]


def _check_text(text: Any, line: int | None = None) -> None:
    try:
        if isinstance(text, str):
            text.encode()
    except UnicodeEncodeError as error:
        raise DocumentError(f"{text[:40]!r} has half a character (a lone surrogate)", line) from error


def _too_deep() -> str:
    return f"nested more than {DEPTH} levels deep"


def _check_events(yaml: Any, events: Any) -> None:
    """Check a stream of events; the first that is refused ends the reading."""
    depth = 0
    for count, event in enumerate(events):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            raise DocumentError(f"the alias *{event.anchor} is not read; write the value itself", line)
        elif isinstance(event, yaml.ScalarEvent):
            _check_text(event.value, line)
        if depth > DEPTH:
            raise DocumentError(_too_deep(), line)
        if count > VALUES:
            raise DocumentError(f"more than {VALUES} values", line)
        if getattr(event, "tag", None) not in (None, "!"):
            raise DocumentError(f"the tag {event.tag!r:.80} is not read; remove it", line)


def _check_keys(yaml: Any, node: Any, *, unique: bool) -> None:
    """Check that all keys are scalars. Refuse a key given twice, or (not ``unique``) drop the first."""
    nodes = [node]
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise DocumentError("a key is a list or a mapping; write a name", line)
                if unique and key.value in lines:
                    raise DocumentError(
                        f"{key.value!r} is given twice (first on line {lines[key.value]})", line
                    )
                lines[key.value] = line
                nodes.append(value)
            if len(lines) < len(node.value):
                node.value = list(_last([(key.value, (key, value)) for key, value in node.value]).values())
        elif isinstance(node, yaml.SequenceNode):
            nodes += node.value


@cache
def _loader(typed: bool) -> Any:
    """Return a class of PyYAML that reads text, numbers, booleans and null, or (not ``typed``) text."""
    yaml: Any = require("yaml", purpose="reading YAML")
    if not typed:
        return getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag.removeprefix(_TAG) in _SCALARS]
        for first, known in base.yaml_implicit_resolvers.items()
    }
    loader_class: Any = type("Loader", (base,), {"yaml_implicit_resolvers": resolvers})

    def number(loader: Any, node: Any) -> Any:
        if ":" in node.value:  # a time of day, which YAML 1.1 reads as a number
            return node.value
        if len(node.value) <= DIGITS:
            try:
                return base.yaml_constructors[node.tag](loader, node)
            except (ValueError, OverflowError):
                return node.value  # such as 0b_
        raise DocumentError(
            f"a number of {len(node.value)} digits ({node.value[:8]}…); {DIGITS} are read at most",
            node.start_mark.line + 1,
        )

    loader_class.add_constructor(f"{_TAG}int", number)
    loader_class.add_constructor(f"{_TAG}float", number)
    return loader_class


_SCALARS = ("int", "float", "bool", "null")
