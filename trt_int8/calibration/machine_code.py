"""Loops in machine code: compiled by numba once, kept on the disk, and loaded without numba from then on.

Importing numba and its registries costs every process a third of a second, as much as all the counting of a
small calibration; llvmlite, which comes with it, loads the code in some 30 ms. `code_store` is the disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy.typing as npt

from trt_int8.calibration import code_store
from trt_int8.calibration.code_store import Code

_CTYPES = {"int64": ctypes.c_int64, "float64": ctypes.c_double}
_POINTER = ctypes.c_void_p
#: Settings of numba that do not change the code.
_WITHOUT_EFFECT = ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")


class Loop:
    """A function of pointers and numbers that returns nothing; called without the interpreter's lock.

    Args:
        function: plain Python that numba compiles; indices of pointers are not checked.
        arguments: a type each; ``float32**`` is a pointer to pointers.
    """

    def __init__(self, function: Callable[..., None], arguments: str) -> None:
        self._function = function
        self._arguments = arguments.split()
        self._call: Callable[..., Any] | None = None
        # Now, as it is compiled now: the file may be another one later. None: nothing is stored.
        self._source: bytes | None = None
        with contextlib.suppress(OSError):
            self._source = b"\0".join(
                Path(path).read_bytes() for path in (function.__code__.co_filename, __file__)
            )

    def __call__(self, *arguments: Any) -> None:
        """Call it, once it is loaded; pointers are addresses (int)."""
        assert self._call is not None
        self._call(*arguments)

    def load(self) -> bool:
        """Load the code from the disk; whether there was any.

        Raises:
            ImportError: llvmlite is not installed.
            OSError: its library cannot be loaded.
        """
        file_name = self._file_name()
        for code in code_store.read(file_name) if file_name else ():
            with contextlib.suppress(Exception):  # whatever LLVM refuses can be compiled
                self._call = self._linked(code)
                return True
        return False

    def compile(self) -> None:
        """Compile the function, and store the code where that is possible.

        Raises:
            ImportError: numba is not installed.
            Exception: whatever numba raises.
        """
        import numba

        types = [_numba_type(numba.types, name) for name in self._arguments]
        compiled: Any = numba.cfunc(numba.types.void(*types), error_model="numpy")(self._function)
        call: Any = ctypes.CFUNCTYPE(None, *self._types())(compiled.address)
        call.keep = compiled  # the memory of the code is freed with it
        self._call = call
        with contextlib.suppress(Exception):  # it is compiled, stored or not
            self._store(compiled)

    def _store(self, compiled: Any) -> None:
        # The function itself, without what numba wraps around it to report errors.
        symbol = compiled.native_name.removeprefix("cfunc.")
        file_name = self._file_name()
        if file_name and symbol != compiled.native_name:
            code = _free_standing(compiled.inspect_llvm(), symbol)
            if code is not None:
                code_store.write(file_name, Code(symbol, code))

    def _linked(self, code: Code) -> Callable[..., Any]:
        """The function in object code."""
        from llvmlite import binding

        engine = binding.create_mcjit_compiler(binding.parse_assembly(""), _target_machine())
        engine.add_object_file(binding.ObjectFileRef.from_data(code.binary))
        engine.finalize_object()
        # numba's calling convention: a status, and two addresses more, of the result and of an error.
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, _POINTER, _POINTER, *self._types())
        function = prototype(engine.get_function_address(code.symbol))
        unused = ctypes.create_string_buffer(16)
        where = ctypes.addressof(unused)

        def call(*arguments: Any) -> None:
            status = function(where, where, *arguments)
            if status:
                raise RuntimeError(f"{code.symbol} ended with status {status}")

        call.keep = (engine, unused)  # type: ignore[attr-defined]  # the memory of the code is freed with it
        return call

    def _types(self) -> list[Any]:
        return [_POINTER if "*" in name else _CTYPES[name] for name in self._arguments]

    def _file_name(self) -> str | None:
        """After everything that the code depends on: source, compiler and its settings, processor."""
        if self._source is None:
            return None
        import llvmlite
        from llvmlite import binding

        settings = sorted(
            (name, value)
            for name, value in os.environ.items()
            if name.startswith("NUMBA_") and name not in _WITHOUT_EFFECT
        )
        compiler = (_numba_version(), llvmlite.__version__, settings)
        facts = (self._arguments, compiler, binding.get_process_triple(), _processor())
        return code_store.file_name(self._function.__name__, self._source, repr(facts).encode())


def address(array: npt.NDArray[Any]) -> int:
    """Where the values of an array are."""
    return int(array.__array_interface__["data"][0])


def _numba_type(types: Any, name: str) -> Any:
    found = getattr(types, name.rstrip("*"))
    for _ in range(name.count("*")):
        found = types.CPointer(found)
    return found


@functools.cache
def _numba_version() -> str:
    """Asked for without importing it; empty where it is not installed."""
    try:
        return metadata.version("numba")
    except metadata.PackageNotFoundError:
        return ""


def _target_machine() -> Any:
    from llvmlite import binding

    with contextlib.suppress(RuntimeError):
        binding.initialize()  # llvmlite before 0.45; later ones refuse the call
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    cpu, features = _processor()
    target = binding.Target.from_default_triple()
    return target.create_target_machine(cpu=cpu, features=features, opt=3, codemodel="jitdefault", jit=True)


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
