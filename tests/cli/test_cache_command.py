import json

import numpy as np
import pytest

from trt_int8.ranges import CalibrationCache

OLD = "TRT-7000-EntropyCalibration2\nconv1: 3f800000\nrelu1: 3f000000\n(Unnamed Layer* 4) [Fully Connected]_output: 3dc6a9ed\n"
NEW = "TRT-8601-EntropyCalibration2\nconv1: 40000000\nrelu1: 3f000000\nextra: 3f800000\n"


@pytest.fixture
def run(run, tmp_path, monkeypatch):
    """``cache …`` in a folder with two caches."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").write_text(OLD)
    (tmp_path / "new").write_text(NEW)

    return lambda *arguments, code=0: run("cache", *arguments, code=code)


def test_diff_gates(run):
    out = run("diff", "old", "new")
    assert out.splitlines()[0].split() == ["2.0000", "127", "254", "conv1"]
    assert "only in new: extra" in out
    assert "differs by more than 1.5: conv1 (2)" in run("diff", "old", "new", "--fail-above", "1.5", code=1)
    document = json.loads(run("diff", "old", "new", "--format", "json"))
    assert document["tensors"][0] == {"name": "conv1", "left": 127, "right": 254, "ratio": 2}


def test_diff_gates_on_what_one_cache_lacks(run, tmp_path):
    lone = "(Unnamed Layer* 4) [Fully Connected]_output"
    out = run("diff", "old", "new", "--fail-above", "2", code=1)
    assert out.splitlines()[-2:] == [
        f"not met: in old and not in new: {lone}",
        "not met: in new and not in old: extra",
    ]
    assert "differs by more" not in out
    run("set", "new", "conv1=127", "--unset", "extra", "-o", "less")  # a subset of old, else the same
    assert f"in old and not in less: {lone}" in run("diff", "old", "less", "--fail-above", "2", code=1)
    assert f"in old and not in less: {lone}" in run("diff", "less", "old", "--fail-above", "2", code=1)
    run("set", "old", "conv1=254", "-o", "doubled")  # the same tensors: the ratio alone decides
    run("diff", "old", "doubled", "--fail-above", "2")


def test_merge_keeps_the_header_and_the_bits(run, tmp_path):
    run("merge", "old", "new", "--how", "left", "-o", "m")
    assert (tmp_path / "m").read_text() == OLD + "extra: 3f800000\n"
    run("merge", "old", "new", "-o", "m", "--header", "TRT-101600-EntropyCalibration2")
    merged = CalibrationCache.read(tmp_path / "m")
    assert (merged.header, merged.scales["conv1"]) == ("TRT-101600-EntropyCalibration2", 2)


def test_set_and_unset(run, tmp_path):
    run("set", "old", "relu*=6.0", "--unset", "(Unnamed Layer* 4) [Fully Connected]_output", "-o", "s")
    changed = CalibrationCache.read(tmp_path / "s")
    assert dict(changed.scales) == {"conv1": 1, "relu1": np.float32(6 / 127)}
    assert changed.header == "TRT-7000-EntropyCalibration2"
    assert (tmp_path / "old").read_text() == OLD


def test_convert_there_and_back(run, tmp_path):
    for form in ("json", "yaml", "ort-json", "ort-flatbuffers", "ort-cache"):
        assert f"3 tensors ({form})" in run("convert", "old", "--to", form, "-o", "x")
        run("convert", "x", "--to", "tensorrt", "--header", "TRT-7000-EntropyCalibration2", "-o", "back")
        assert sorted((tmp_path / "back").read_text().splitlines()) == sorted(OLD.splitlines()), form
    assert "ort-cache, 3 tensors" in run("show", "x")


def test_from_qdq_overwrites_no_model(run, tmp_path):
    out = run("from-qdq", "old", "-o", "old", code=1)
    assert "the cache would overwrite the model" in out


MISTAKES = {
    "missing": (["show", "gone"], 1, "gone: no such file"),
    "folder": (["diff", ".", "new"], 1, "is a folder"),
    "in place": (["set", "old", "conv1=1", "-o", "old"], 1, "would overwrite the file"),
    "merge over": (["merge", "old", "new", "-o", "new"], 1, "would overwrite the right"),
    "no change": (["set", "old", "-o", "x"], 2, "say what to change"),
    "bad value": (["set", "old", "conv1=big", "-o", "x"], 2, "'conv1=big' is not GLOB=AMAX"),
    "too small": (["set", "old", "conv1=1e-46", "-o", "x"], 2, "is out of range for a float32 scale"),
    "too large": (["set", "old", "conv1=1e41", "-o", "x"], 2, "is out of range for a float32 scale"),
    "negative": (["set", "old", "conv1=-1", "-o", "x"], 2, "is not GLOB=AMAX"),
    "no such tensor": (["set", "old", "conv9=1", "-o", "x"], 1, "'conv9' matches none of the 3 tensors; nearest names: conv1"),
    "bad header": (["convert", "old", "--to", "tensorrt", "--header", "TRT", "-o", "x"], 1, "'TRT' is not the header"),
    "header for yaml": (["convert", "old", "--to", "yaml", "--header", "1", "-o", "x"], 2, "--header is for TensorRT caches"),
    "no common tensor": (["diff", "old", "other"], 1, "have no tensor in common"),
    "no folder": (["convert", "old", "--to", "yaml", "-o", "gone/x"], 1, "gone does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(run, tmp_path, mistake):
    (tmp_path / "other").write_text("unknown 1.0\n")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    arguments, code, message = MISTAKES[mistake]
    out = run(*arguments, code=code)
    assert message in out
    assert len([line for line in out.splitlines() if line.startswith("Error: ")]) == 1
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("command", ["show", "diff", "merge", "set", "convert", "from-qdq"])
def test_help_shows_an_example(run, command):
    assert f"trt-int8 cache {command} " in run(command, "--help").split("Options:")[0].split("\n", 1)[1]
