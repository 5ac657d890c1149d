"""What the benchmarks write: their rows as JSON, with the machine and the versions they were measured on."""

import json
import os
import platform
from importlib import metadata
from pathlib import Path

#: Everything the benchmarks download and write.
CACHE = Path(__file__).parents[1] / ".cache"
PACKAGES = ("numpy", "onnx", "onnxruntime", "numba", "llvmlite", "distributed")


def save(name, rows, *, path=None, **about):
    """Write ``rows`` to ``.cache/NAME.json``, and print where they were measured."""
    document = write(name, rows, path=path, **about)
    machine = document["machine"]
    told = ", ".join(f"{package} {version}" for package, version in document["versions"].items())
    print(f"\n{machine['cores']} cores of {machine['processor']}, Python {machine['python']}, {told}")


def write(name, rows, *, path=None, **about):
    """Write ``rows`` to ``.cache/NAME.json`` or ``path``; what was written."""
    machine = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
    }
    versions = {package: version(package) for package in PACKAGES}
    target = Path(path) if path else CACHE / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine, "versions": versions, **about, "results": rows}
    target.write_text(json.dumps(document, indent=2) + "\n")
    return document


def version(package):
    """The version of ``package``, or "not installed"."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor():
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
