"""Call the Python function that a text names: ``file.py:function`` or ``package.module:function``."""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from trt_int8.errors import DataError
from trt_int8.files.inputs import TEXT_LIMIT, read_input


def is_entry(source: str) -> bool:
    """Return whether ``source`` names a function rather than a file."""
    module, colon, function = source.rpartition(":")
    if not colon or not function.isidentifier() or os.path.exists(source):
        return False
    return module.endswith(".py") or all(part.isidentifier() for part in module.split("."))


def call_entry(source: str) -> Any:
    """Call the function that ``source`` names, without arguments, and return its result.

    It can be imported from the current folder. It should return an iterable of batches (a generator, a
    torch ``DataLoader``, a list; see `trt_int8.batches.items`) or `Samples`.

    Raises:
        DataError: the file, module or function does not exist, or it raises.
    """
    with _current_folder():
        return _guarded(source, load_entry(source))


def load_entry(source: str) -> Callable[..., Any]:
    """Import the function that ``source`` names; `DataError` if that fails."""
    module_name, colon, function_name = source.rpartition(":")
    if not colon or not function_name:
        raise DataError(f"{source!r} does not name a function; write module:function or file.py:function")
    with _current_folder():
        module = _guarded(source, lambda: _import(module_name))
        return _function(module, module_name, function_name)


def top_level_functions(file: str) -> list[str]:
    """Return the names of the public functions in a Python file, without running it."""
    try:
        tree = ast.parse(read_input(file, limit=TEXT_LIMIT))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: too deep
        return []
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [name for name in names if not name.startswith("_")]


@contextlib.contextmanager
def _current_folder() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def guarded(source: str, batches: Any) -> Iterator[Any]:
    """Yield ``batches``; an exception of the user's code becomes a `DataError` that names its line."""
    iterator = _guarded(source, lambda: iter(batches))
    while True:
        item = _guarded(source, lambda: next(iterator, _END))
        if item is _END:
            return
        yield item


_END = object()


def _import(name: str) -> ModuleType:
    if not name.endswith(".py"):
        return importlib.import_module(name)
    path = Path(name)
    if not os.path.isfile(path):
        raise DataError(f"{name}: no such file; check the path of the Python file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # so that worker processes of a DataLoader can pickle from it
    spec.loader.exec_module(module)
    return module


def _function(module: ModuleType, module_name: str, name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]  # checked to be callable
    names = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f" (it has: {', '.join(names) or 'none'})"
    raise DataError(f"{module_name} has no function {name!r}{hint}")


def _guarded(source: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except DataError:
        raise
    except SystemExit as error:  # would end the program without an error message
        raise DataError(f"{source}: calls sys.exit({error.code!r}); let it return instead") from error
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
        own = [f for f in frames if not f.filename.startswith("<frozen") and f.filename != importlib.__file__]
        where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
        raise DataError(f"{source}: {type(error).__name__}: {error}{where}") from error
