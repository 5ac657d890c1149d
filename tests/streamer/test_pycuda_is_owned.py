"""CUDA has one owner, and it never makes a context of its own."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "trt_int8"


def strings_and_imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif isinstance(node, ast.Call):
            found |= {
                arg.value for arg in node.args if isinstance(arg, ast.Constant) and type(arg.value) is str
            }
    return {name for name in found if name.split(".")[0] == "pycuda"}


def test_one_module_loads_pycuda():
    users = {
        path.relative_to(PACKAGE).as_posix(): strings_and_imports(path) for path in PACKAGE.rglob("*.py")
    }
    assert {path: names for path, names in users.items() if names} == {
        "streamer/context.py": {"pycuda.driver"}
    }


def test_importing_the_streamer_imports_no_pycuda():
    code = "import sys, trt_int8.streamer.cuda; sys.exit('pycuda' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
