"""What an engine is built by, and for which GPU."""

import pytest

from trt_int8 import target
from trt_int8.errors import BuildError
from trt_int8.quantization.placement import resolve
from trt_int8.target import Target, default_target, resolve_target


@pytest.fixture
def machine(monkeypatch):
    """Pretend that TensorRT is installed, or a GPU is there, or not."""

    def pretend(*, tensorrt, gpu):
        monkeypatch.setattr(target, "_tensorrt_is_installed", lambda: tensorrt)
        monkeypatch.setattr(target, "_has_gpu", lambda: gpu)

    return pretend


@pytest.mark.parametrize(
    ("text", "flavor", "gpu", "name"),
    [
        ("tensorrt", "tensorrt", "current", "tensorrt"),
        ("rtx", "tensorrt_rtx", "sm89", "rtx:sm89"),
        ("rtx:sm120", "tensorrt_rtx", "sm120", "rtx:sm120"),
        ("rtx:current", "tensorrt_rtx", "current", "rtx:current"),
        ("sm75", "tensorrt_rtx", "sm75", "rtx:sm75"),
        (" RTX:SM86 ", "tensorrt_rtx", "sm86", "rtx:sm86"),
    ],
)
def test_each_form_means_one_target(text, flavor, gpu, name):
    found = resolve_target(text)
    assert found == Target(flavor, gpu)
    assert found.name == name
    assert resolve_target(found.name) == found
    assert resolve_target(found) is found
    assert found.text == f"target: {name}"
    assert resolve(found.placement).name == ("tensorrt" if flavor == "tensorrt" else "rtx")


@pytest.mark.parametrize("gpu", [True, False])
def test_current_is_what_is_installed(machine, gpu):
    machine(tensorrt=True, gpu=gpu)
    assert resolve_target("current") == Target("tensorrt", "current")
    machine(tensorrt=False, gpu=gpu)
    assert resolve_target("current") == Target("tensorrt_rtx", "current")


@pytest.mark.parametrize(
    "text", ["", "rtx:", "sm8", "sm8900", "rtx:tensorrt", "tensorrt:sm89", "cuda", "xsm89"]
)
def test_anything_else_is_refused_with_the_forms(text):
    with pytest.raises(BuildError) as caught:
        resolve_target(text)
    assert str(caught.value) == (
        f"there is no target {text!r}; write rtx, rtx:sm89, tensorrt, current, or sm89 for rtx:sm89"
    )


@pytest.mark.parametrize(
    ("tensorrt", "gpu", "name", "reason"),
    [
        (True, True, "tensorrt", "default: TensorRT is installed and there is a GPU"),
        (True, False, "rtx:sm89", "default: there is no GPU, and RTX builds without one"),
        (False, True, "rtx:sm89", "default: TensorRT is not installed, and RTX needs no GPU"),
        (False, False, "rtx:sm89", "default: TensorRT is not installed, and RTX needs no GPU"),
    ],
)
def test_the_default_follows_the_machine_and_says_why(machine, tensorrt, gpu, name, reason):
    machine(tensorrt=tensorrt, gpu=gpu)
    found = default_target()
    assert resolve_target(None) == found
    assert (found.name, found.reason) == (name, reason)
    assert found.text == f"target: {name} ({reason})"
    assert found.placement == ("tensorrt" if name == "tensorrt" else "rtx")


def test_without_tensorrt_no_gpu_is_looked_for(machine, monkeypatch):
    machine(tensorrt=False, gpu=True)
    monkeypatch.setattr(target, "_has_gpu", lambda: pytest.fail("looked for a GPU"))
    assert default_target().name == "rtx:sm89"
