"""Import optional packages on use; an error has the command to install them."""

from __future__ import annotations

import importlib
from types import ModuleType

from trt_int8.errors import MissingDependencyError

#: Module → the package to install, if the names differ.
_INSTALL = {
    "PIL": "pillow",
    "distributed": "distributed cryptography",
    "tensorrt": "'tensorrt-cu12>=10,<11'",
    "tensorrt_rtx": "tensorrt-rtx-cu13",
    "yaml": "pyyaml",
}


def install_command(module: str) -> str:
    """Return the command that installs a module.

    Examples:
        >>> install_command("PIL")
        'pip install pillow'
    """
    top = module.split(".")[0]
    return f"pip install {_INSTALL.get(top, top)}"


def require(module: str, *, purpose: str) -> ModuleType:
    """Import ``module``.

    Raises:
        MissingDependencyError: it is not installed or broken; the message begins with ``purpose``
            ("calibration on the CPU").
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that lacks one of its own dependencies is broken rather than missing.
        if error.name and error.name.split(".")[0] != module.split(".")[0]:
            raise MissingDependencyError(
                f"{purpose} needs {module}, which fails to import: {error}"
            ) from error
        raise MissingDependencyError(
            f"{purpose} needs {module}, which is not installed: {install_command(module)}"
        ) from error
    except (ImportError, OSError) as error:  # OSError: a shared library that ctypes cannot load
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise error.__cause__ from None  # Ctrl-C inside a compiled module's initialization
        raise MissingDependencyError(f"{purpose} needs {module}, which fails to import: {error}") from error
