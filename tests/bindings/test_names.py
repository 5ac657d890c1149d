"""Every attribute, flag and enum that the package uses exists in each TensorRT it is used with."""

import json

import pytest
import wheels
from names import Names, of_classes

from trt_int8.engine.implicit import callbacks, network

PACKAGE = wheels.REPOSITORY / "trt_int8"
EVERYWHERE = [PACKAGE / "engine" / name for name in ("builder.py", "explicit.py")]
IMPLICIT = sorted((PACKAGE / "engine" / "implicit").glob("*.py"))
TENSORRT = PACKAGE / "engine" / "tensorrt.py"

#: Of TensorRT-RTX alone; used only where `builds_ahead_of_time`.
OF_RTX = {
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
    ("", "ComputeCapability"),
    ("ComputeCapability", "__members__"),
}
#: Not in 8.6; `watch_build` asks for ``IProgressMonitor`` first, `builder_flag` says what is missing.
SINCE_10 = {
    ("", "IProgressMonitor"),
    ("IProgressMonitor", "__init__"),
    ("IBuilderConfig", "progress_monitor"),
    ("BuilderFlag", "BF16"),
}
#: Of weakly typed networks and the implicit route, hence not in 11.
UNTIL_10 = {
    ("", "IInt8EntropyCalibrator2"),
    ("BuilderFlag", "INT8"),
    ("BuilderFlag", "FP16"),
    ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH"),
}

_LOOK = """
import json, sys
import tensorrt
absent = []
for owner, name in json.loads(sys.argv[1]):
    if not hasattr(tensorrt, owner or name) or (owner and not hasattr(getattr(tensorrt, owner), name)):
        absent.append([owner, name])
print(json.dumps(absent))
"""


def absent(version, pairs):
    result = wheels.python(version, "-c", _LOOK, json.dumps(sorted(pairs)))
    assert result.returncode == 0, result.stderr
    return set(map(tuple, json.loads(result.stdout)))


def used(paths):
    return set().union(*(Names.of(path).used for path in paths))


def test_the_source_is_read_right():
    """A few names of each kind; a reader of the source that finds nothing would pass everything."""
    implicit = used(IMPLICIT)
    assert implicit >= {
        ("IBuilderConfig", "int8_calibrator"),
        ("IBuilderConfig", "set_calibration_profile"),
        ("ITensor", "set_dynamic_range"),
        ("INetworkDefinition", "get_layer"),
        ("ILayer", "num_outputs"),
        ("ITimingCache", "combine"),
        ("BuilderFlag", "TF32"),
        ("", "IInt8MinMaxCalibrator"),
    }
    engine = Names.of(TENSORRT)
    assert engine.used >= {("MemoryPoolType", "WORKSPACE"), ("LayerType", "QUANTIZE"), *OF_RTX}
    assert ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED") in engine.guarded
    assert used(EVERYWHERE) >= {
        ("", "Builder"),
        ("OnnxParser", "parse"),
        ("IOptimizationProfile", "set_shape"),
    }


@pytest.mark.parametrize("version", wheels.IMPLICIT)
def test_the_implicit_route(version):
    tables = {("BuilderFlag", name) for name in network._FLAGS.values()}
    tables |= {("DataType", name) for name in network._TYPES.values()}
    pairs = used(IMPLICIT) | used(EVERYWHERE) | tables
    assert absent(version, pairs) == ({("BuilderFlag", "BF16")} if version == "8.6.1" else set())


@pytest.mark.parametrize("version", wheels.WHEELS)
def test_what_knows_the_versions(version):
    engine = Names.of(TENSORRT)
    missing = absent(version, engine.used) - OF_RTX
    if version == "8.6.1":
        missing -= SINCE_10
    if version == "11.4":
        missing -= UNTIL_10
    assert missing <= engine.guarded


def test_the_exceptions_are_still_needed():
    engine = Names.of(TENSORRT).used
    assert absent("10.16.1", OF_RTX) == OF_RTX
    assert engine >= OF_RTX
    assert absent("8.6.1", SINCE_10) == SINCE_10
    assert engine | used(IMPLICIT) >= SINCE_10
    assert absent("11.4", UNTIL_10) == UNTIL_10


def test_explicit_builds_on_11():
    assert absent("11.4", used(EVERYWHERE)) == set()


def test_a_name_that_does_not_exist_is_found(tmp_path):
    source = tmp_path / "wrong.py"
    source.write_text(
        "def f(config, trt):\n    flags = trt.BuilderFlag\n    config.int8_calibrater = flags.INT9\n"
    )
    assert absent("10.16.1", used([source])) == {
        ("IBuilderConfig", "int8_calibrater"),
        ("BuilderFlag", "INT9"),
    }


@pytest.mark.parametrize("version", wheels.IMPLICIT)
def test_the_fake_builder_has_no_attribute_that_the_real_one_lacks(version):
    fake = of_classes(wheels.REPOSITORY / "tests" / "engine" / "fake_tensorrt.py")
    assert {("IBuilderConfig", "int8_calibrator"), ("ILayer", "precision"), ("DataType", "HALF")} <= fake
    in_8_6 = {
        *SINCE_10,
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("IProgressMonitor", "step_complete"),
        ("DataType", "BF16"),
        ("DataType", "INT64"),
    }
    assert absent(version, fake) <= (in_8_6 if version == "8.6.1" else set())


@pytest.mark.parametrize("version", wheels.IMPLICIT)
def test_the_callbacks_have_tensorrts_names(version):
    code = "import tensorrt as trt; print(*[n for n in dir(trt.IInt8EntropyCalibrator2) if n[0] != '_'])"
    names = wheels.python(version, "-c", code).stdout.split()
    own = set(vars(callbacks.CalibratorCallbacks))
    assert set(names) - own == {"get_algorithm"}  # TensorRT's class answers that
    assert len(names) == 5
