"""Loops in machine code: compiled by numba once, kept on the disk, and loaded without numba from then on.

Importing numba and its registries costs every process a third of a second, which is as long as all the
counting of a small calibration. llvmlite, which comes with it, loads the code in a thirtieth.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy.typing as npt

from trt_int8 import atomic
from trt_int8.errors import OutputError

_DIGEST = hashlib.sha256


class Loop:
    """A function of pointers and numbers that returns nothing; called without the interpreter's lock.

    Args:
        function: plain Python that numba compiles. Pointers are indexed, without a test.
        arguments: a type each; ``float32**`` is a pointer to pointers.
    """

    def __init__(self, function: Callable[..., None], arguments: str) -> None:
        self._function = function
        self._arguments = arguments.split()
        self._name = function.__name__
        self._lock = threading.Lock()
        self._call: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> None:
        """Call it; pointers are addresses (int)."""
        (self._call or self.load())(*arguments)

    @property
    def stored(self) -> bool:
        """Whether code is on the disk, if perhaps that of another machine or version."""
        return any(any(folder.glob(f"{self._name}-*.o")) for folder in _folders())

    def load(self) -> Callable[..., Any]:
        """The code from the disk; compiled, and stored where that is possible, if there is none.

        Raises:
            ImportError: numba is not installed.
        """
        with self._lock:
            if self._call is None:
                file_name = f"{self._name}-{self._key()}.o"
                found = filter(None, (_read(folder / file_name) for folder in _folders()))
                self._call = next(filter(None, (self._linked(*code) for code in found)), None)
                self._call = self._call or self._compiled(file_name)
            return self._call

    def _compiled(self, file_name: str) -> Callable[..., Any]:
        import numba

        types = [_numba_type(numba.types, name) for name in self._arguments]
        compiled: Any = numba.cfunc(numba.types.void(*types), error_model="numpy")(self._function)
        # The function itself, without what numba wraps around it to report errors.
        symbol = compiled.native_name.removeprefix("cfunc.")
        code = None if symbol == compiled.native_name else _free_standing(compiled.inspect_llvm(), symbol)
        call = None if code is None else self._linked(symbol, code)
        if code is None or call is None:
            call = ctypes.CFUNCTYPE(None, *self._types())(compiled.address)
            call.keep = compiled  # type: ignore[attr-defined]  # the code goes with it
            return call
        _store(file_name, symbol, code)
        return call

    def _linked(self, symbol: str, code: bytes) -> Callable[..., Any] | None:
        """The function ``symbol`` of object code; None if LLVM refuses it."""
        from llvmlite import binding

        try:
            engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _target_machine())
            engine.add_object_file(binding.ObjectFileRef.from_data(code))
            engine.finalize_object()
        except RuntimeError:
            return None
        # What numba compiles returns a status and takes two addresses more: of the result, and of an error.
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *self._types())
        function = prototype(engine.get_function_address(symbol))
        unused = ctypes.create_string_buffer(16)
        address = ctypes.addressof(unused)

        def call(*arguments: Any) -> None:
            function(address, address, *arguments)

        call.keep = (engine, unused)  # type: ignore[attr-defined]  # the code goes with it
        return call

    def _types(self) -> list[Any]:
        return [
            ctypes.c_void_p if "*" in name else getattr(ctypes, _CTYPES[name]) for name in self._arguments
        ]

    def _key(self) -> str:
        """Of everything that the code depends on: source, compiler, processor."""
        import llvmlite
        from llvmlite import binding

        parts = [
            Path(self._function.__code__.co_filename).read_bytes(),
            Path(__file__).read_bytes(),
            " ".join(self._arguments).encode(),
            llvmlite.__version__.encode(),
            binding.get_process_triple().encode(),
            *(part.encode() for part in _processor()),
        ]
        return _DIGEST(b"\0".join(parts)).hexdigest()[:32]


def address(array: npt.NDArray[Any]) -> int:
    """Where the values of an array are."""
    return int(array.__array_interface__["data"][0])


_CTYPES = {"int64": "c_int64", "float64": "c_double"}


def _numba_type(types: Any, name: str) -> Any:
    found = getattr(types, name.rstrip("*"))
    for _ in range(name.count("*")):
        found = types.CPointer(found)
    return found


def _target_machine() -> Any:
    from llvmlite import binding

    cpu, features = _processor()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple().create_target_machine(
        cpu=cpu,
        features=features,
        opt=3,
        codemodel="jitdefault",
        jit=True,
    )


def _processor() -> tuple[str, str]:
    """Name and features of this machine's; not every system tells the features."""
    from llvmlite import binding

    try:
        return binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten()
    except RuntimeError:
        return binding.get_host_cpu_name(), ""


def _free_standing(assembly: str, symbol: str) -> bytes | None:
    """Object code of one function of a module; None if it calls anything that only numba has."""
    from llvmlite import binding

    module = binding.parse_assembly(assembly)
    functions = {function.name: function for function in module.functions}
    needed, pending = set(), [symbol]
    for name in pending:
        if name in needed or name.startswith("llvm."):
            continue
        if name not in functions or functions[name].is_declaration:
            return None
        needed.add(name)
        pending.extend(_called(functions[name]))
    for name in set(functions) - needed:
        if not functions[name].is_declaration:
            functions[name].linkage = "available_externally"  # neither compiled nor missed
    return bytes(_target_machine().emit_object(module))


def _called(function: Any) -> Iterator[str]:
    for block in function.blocks:
        for instruction in block.instructions:
            if instruction.opcode in ("call", "invoke"):
                yield list(instruction.operands)[-1].name


def _folders() -> tuple[Path, ...]:
    """Where Python keeps what it compiles, and, where that is not to be written, the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(__file__).parent / "__pycache__", Path(cache) / "trt_int8"


def _read(path: Path) -> tuple[str, bytes] | None:
    """Symbol and code; None if there is none, others may have written it, or it is damaged.

    LLVM ends the process on damaged code.
    """
    try:
        status = path.stat()
        if hasattr(os, "getuid") and (status.st_uid not in (0, os.getuid()) or status.st_mode & stat.S_IWOTH):
            return None
        digest, symbol, code = path.read_bytes().split(b"\n", 2)
    except (OSError, ValueError):
        return None
    if digest.decode("ascii", "replace") != _DIGEST(symbol + b"\n" + code).hexdigest():
        return None
    return symbol.decode(), code


def _store(file_name: str, symbol: str, code: bytes) -> None:
    body = symbol.encode() + b"\n" + code
    content = _DIGEST(body).hexdigest().encode() + b"\n" + body
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(folder / file_name, content)
        except (OSError, OutputError):
            continue
        return
