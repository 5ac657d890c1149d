"""The environment of the peers: torch, which trains the small networks, and modelopt."""

import json
import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"
MODELOPT = "nvidia-modelopt==0.47.0"
#: What modelopt's ONNX quantizer imports on a CPU; its own requirements also name GPU packages.
NEEDS = [
    "cppimport",
    "filelock",
    "fsspec",
    "jinja2",
    "lief",
    "ml_dtypes",
    "networkx",
    "ninja",
    "numpy",
    "nvidia-ml-py",
    "omegaconf",
    "onnx",
    "onnx-graphsurgeon",
    "onnxconverter-common",
    "onnxruntime",
    "onnxscript",
    "onnxslim",
    "packaging",
    "polygraphy",
    "pulp",
    "pydantic",
    "pyyaml",
    "regex",
    "rich",
    "safetensors",
    "scipy",
    "setuptools<81",
    "sympy",
    "tqdm",
    "typing_extensions",
]
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"


class Environment:
    """Made once in ``work``, used again afterwards."""

    def __init__(self, work):
        self.work = work
        self.peers = work / "venv/bin/python"
        ready = work / "venv/.ready"
        if not ready.exists():
            work.mkdir(parents=True, exist_ok=True)
            subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
            self._pip("--no-deps", TORCH, MODELOPT, "--extra-index-url", CPU_WHEELS)
            self._pip(*NEEDS)
            ready.touch()

    def _pip(self, *arguments):
        command = [self.peers, "-m", "pip", "install", "--quiet", *arguments]
        subprocess.run(command, check=True, stdout=sys.stderr)

    def python(self, tool):
        """The interpreter for a quantizer of ``tool``."""
        return self.peers if tool == "modelopt" else sys.executable

    def train(self, digits):
        """Train the small networks, unless they are there."""
        folder = self.work / "trained"
        folder.mkdir(exist_ok=True)
        if not (folder / "attention.onnx").exists():
            script = Path(__file__).with_name("networks.py")
            subprocess.run([self.peers, script, digits, folder], check=True, stdout=sys.stderr)

    def versions(self):
        """Package → version, of what the table compares."""
        found = {}
        for python in (sys.executable, self.peers):
            listed = subprocess.run(
                [python, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
            )
            found.update({entry["name"]: entry["version"] for entry in json.loads(listed.stdout)})
        wanted = ("onnxruntime", "nvidia-modelopt", "tensorrt_rtx_cu13", "torch", "onnx", "numpy")
        return {name: found[name] for name in wanted if name in found}
