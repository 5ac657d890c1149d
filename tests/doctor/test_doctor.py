"""What is open on machines of all kinds, and what this very machine says."""

import json
import sys
from dataclasses import replace
from importlib import metadata

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

from trt_int8.cli import main
from trt_int8.doctor import Builder, Diagnosis, Facts, Gpu, Package, diagnose, find_routes
from trt_int8.doctor.facts import _gpu_on_bus, _import, gather

GPU = Gpu("NVIDIA L4", "sm89", "550.54", "12.4")
BARE = Facts(
    python="3.11.0",
    system="Linux",
    packages=(Package("onnxruntime"), Package("pycuda")),
    providers=(),
    builders=(Builder("tensorrt"), Builder("tensorrt_rtx")),
    gpus=(),
    gpu_problem="no NVIDIA driver",
    gpu_on_bus=False,
    in_container=False,
)
ORT, PYCUDA = Package("onnxruntime", "1.20"), Package("pycuda", "2026.1")
TRT10 = Builder("tensorrt", "10.16.1", implicit=True, targets=("current",))
TRT11 = Builder("tensorrt", "11.4.0", targets=("current",))
RTX = Builder("tensorrt_rtx", "1.7.1", targets=("current", "sm75", "sm89"))


def with_(*, packages=(), builders=(), **changes) -> Facts:
    return replace(
        BARE,
        packages=tuple({p.module: p for p in (*BARE.packages, *packages)}.values()),
        builders=tuple({b.flavor: b for b in (*BARE.builders, *builders)}.values()),
        **changes,
    )


def open_routes(facts: Facts) -> set[str]:
    return {route.name for route in find_routes(facts) if route.open}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (BARE, set()),
        (with_(packages=[ORT], builders=[RTX]), {"calibration", "rtx"}),
        (with_(builders=[TRT10]), set()),
        (with_(builders=[TRT10], gpus=(GPU,)), {"explicit"}),
        (with_(builders=[TRT10], packages=[PYCUDA], gpus=(GPU,)), {"explicit", "implicit"}),
        (with_(builders=[TRT11], packages=[PYCUDA], gpus=(GPU,)), {"explicit"}),
        (with_(builders=[replace(RTX, targets=("current",))]), set()),
        (with_(builders=[replace(TRT11, version="11.4", problem="libnvinfer.so.11 not found")], gpus=(GPU,)), set()),
    ],
    ids=["bare", "laptop", "no GPU", "no pycuda", "everything", "TensorRT 11", "old RTX", "broken"],
)  # fmt: skip
def test_which_routes_are_open(facts, expected):
    assert open_routes(facts) == expected


def steps(facts: Facts, name: str) -> list[tuple[str, str | None]]:
    (route,) = [route for route in find_routes(facts) if route.name == name]
    return [(step.lacks, step.command) for step in route.steps]


def test_each_closed_route_names_its_commands():
    assert steps(BARE, "calibration") == [("onnxruntime is not installed", "pip install 'onnxruntime>=1.17'")]
    assert steps(BARE, "rtx") == [("tensorrt_rtx is not installed", "pip install 'tensorrt-rtx-cu13>=1.4'")]
    assert steps(with_(gpus=(GPU,)), "explicit") == [
        ("tensorrt is not installed", "pip install 'tensorrt-cu12>=11,<12'")
    ]
    assert steps(with_(builders=[TRT11], packages=[PYCUDA], gpus=(GPU,)), "implicit") == [
        ("tensorrt 11.4.0 no longer has calibrators", "pip install 'tensorrt-cu12>=10,<11'")
    ]
    broken = Package("pycuda", "2026.1", "libcurand.so.10: cannot open shared object file")
    assert steps(with_(builders=[TRT10], packages=[broken], gpus=(GPU,)), "implicit") == [
        (
            "pycuda 2026.1 does not import: libcurand.so.10: cannot open shared object file",
            "pip install 'pycuda>=2024.1'",
        )
    ]


def test_what_to_do_without_a_gpu_depends_on_where():
    trt = with_(builders=[TRT11])
    assert steps(trt, "explicit") == [("no NVIDIA driver; use a machine with an NVIDIA GPU", None)]
    assert steps(replace(trt, gpu_on_bus=True), "explicit")[0][1] == "sudo ubuntu-drivers install"
    assert (
        steps(replace(trt, gpu_on_bus=True, in_container=True), "explicit")[0][1]
        == "docker run --gpus all IMAGE"
    )


def test_a_driver_that_shows_no_gpu_is_not_installed_again():
    hidden = with_(builders=[TRT11], gpu_on_bus=True, in_container=True)
    hidden = replace(hidden, gpu_problem="no GPU is shown", gpu_remedy="unset CUDA_VISIBLE_DEVICES")
    assert steps(hidden, "explicit") == [("no GPU is shown; unset CUDA_VISIBLE_DEVICES", None)]


def test_the_installed_extras_and_the_commands_agree():
    """doctor advises to install the packages of the extras."""
    from trt_int8.doctor.diagnosis import INSTALL

    extras = {Requirement(each.partition(";")[0]) for each in metadata.requires("trt_int8")}
    for command in INSTALL.values():
        assert Requirement(command.split("'")[1]) in extras, command


class TestThisMachine:
    def test_it_is_described_as_it_is(self):
        facts = gather()
        assert facts.python == sys.version.split()[0]
        import onnxruntime
        import tensorrt_rtx

        assert facts.package("onnxruntime") == Package("onnxruntime", onnxruntime.__version__)
        assert facts.providers == tuple(onnxruntime.get_available_providers())
        rtx = facts.builder("tensorrt_rtx")
        assert rtx.version == tensorrt_rtx.__version__
        assert not rtx.implicit
        assert "sm89" in rtx.targets
        assert {"calibration", "rtx"} <= open_routes(facts)

    def test_the_text_shows_every_fact_and_command(self):
        text = diagnose().to_text()
        assert "[open] build ahead of time with TensorRT-RTX" in text
        closed = Diagnosis(BARE, find_routes(BARE)).to_text()
        assert "on the CPU: pip install onnxruntime)" in closed
        for route in find_routes(BARE):
            assert f"[closed] {route.title}" in closed
            for step in route.steps:
                assert step.lacks in closed
                assert step.command is None or f"→ {step.command}" in closed
        full = with_(builders=[TRT10], gpus=(GPU,))
        assert "GPU           NVIDIA L4, sm89, driver 550.54 (CUDA 12.4)" in Diagnosis(full, ()).to_text()

    def test_json(self):
        result = CliRunner().invoke(main, ["doctor", "--json"])
        assert result.exit_code == 0
        found = json.loads(result.output)
        assert {route["name"]: route["open"] for route in found["routes"]}["rtx"] is True
        assert found["facts"]["python"] == sys.version.split()[0]
        assert CliRunner().invoke(main, ["doctor"]).output.startswith("Python ")


class TestPackages:
    def test_missing_broken_and_lacking(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "broken_package.py").write_text("raise OSError('libX.so.1: cannot open\\nmore')")
        (tmp_path / "lacking_package.py").write_text("import not_there_at_all")
        assert _import("not_installed_at_all") == (None, None)
        assert _import("broken_package") == (None, "libX.so.1: cannot open")
        assert _import("lacking_package") == (None, "No module named 'not_there_at_all'")


def test_an_nvidia_gpu_on_the_bus(tmp_path):
    for name, vendor, kind in (("a", "0x8086", "0x030000"), ("b", "0x10de", "0x040300")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    assert not _gpu_on_bus(tmp_path)  # another vendor's display; an audio device of NVIDIA's
    (tmp_path / "b" / "class").write_text("0x030200\n")
    assert _gpu_on_bus(tmp_path)
    assert not _gpu_on_bus(tmp_path / "nowhere")
