from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

extras = {
    # Run the float and the quantized model on the CPU: calibration, evaluation.
    "cpu": ["onnxruntime>=1.17"],
    # Build engines without a GPU (TensorRT-RTX, plain wheels).
    "rtx": ["tensorrt-rtx-cu13>=1.4"],
    # The implicit route: calibrators and dynamic ranges exist up to TensorRT 10.
    "trt10": ["tensorrt-cu12>=10,<11", "pycuda>=2024.1", "nvidia-cuda-nvrtc-cu12"],
    # Explicit Q/DQ only.
    "trt11": ["tensorrt-cu12>=11,<12"],
    # A timing cache that builds share; dynamic ranges in YAML.
    "implicit": ["filelock>=3.12", "pyyaml>=6"],
    # Calibration several times as fast.
    "fast": ["numba>=0.59"],
    # Precision plans.
    "plan": ["pyyaml>=6"],
    "images": ["pillow>=10"],
    "config": ["pyyaml>=6"],
    "report": ["jinja2>=3.1"],
    "dask": ["distributed>=2024.1"],
    "train": ["torch>=2.2"],
    "docs": ["mkdocs>=1.6,<2", "mkdocstrings[python]>=0.26"],
    "lint": ["ruff>=0.6", "mypy>=1.11"],
}
extras["test"] = [
    *extras["cpu"],
    *extras["rtx"],
    *extras["implicit"],
    *extras["fast"],
    *extras["dask"],
    *extras["images"],
    *extras["plan"],
    *extras["config"],
    *extras["report"],
    *extras["lint"],
    *extras["docs"],
    "pytest>=8",
    "hypothesis>=6.100",
    "jsonschema>=4.20",
    # The HTML report in a real browser; tests skip without Debian's chromium.
    "selenium>=4.20",
    # Coverage-guided fuzzing, where there are wheels; tests skip elsewhere.
    "atheris>=2.3; sys_platform == 'linux' and python_version >= '3.11' and python_version < '3.14'",
    # Compiles the CUDA kernel without a GPU.
    "nvidia-cuda-nvrtc-cu12>=12.4",
]

setup(
    name="trt_int8",
    version="0.1.0.dev0",
    description="From a trained ONNX model and calibration data to a verified INT8 TensorRT engine",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["trt_int8", "trt_int8.*"]),
    package_data={
        "trt_int8": [
            "py.typed",
            "report/*.json",
            "report/views/*.j2",
            "analysis/views/*.j2",
            "streamer/normalize.cu",
        ],
    },
    install_requires=["numpy>=1.24", "onnx>=1.16", "click>=8.1", "rich>=13"],
    extras_require=extras,
    entry_points={"console_scripts": ["trt-int8 = trt_int8.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
