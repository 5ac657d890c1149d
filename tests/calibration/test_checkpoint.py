"""Calibrations that were killed, and go on."""

import json
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest

from trt_int8.calibration import calibrate
from trt_int8.calibration import checkpoint as checkpoints
from trt_int8.calibration.activations import Activations
from trt_int8.calibration.histograms import save_histograms, to_bytes
from trt_int8.errors import CalibrationError

# Calibrates 20 digits and dies by SIGKILL: in front of a batch, or at a step of writing a checkpoint.
CHILD = """
import os, signal, sys
import numpy as np
from trt_int8.files import atomic
from trt_int8.calibration import calibrate, checkpoint as checkpoints
from trt_int8.calibration.histograms import save_histograms

checkpoints.INTERVAL = 3
model, samples, checkpoint, result, die_at, threads = sys.argv[1:]
kind, number = die_at.split()

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def batches():
    for i, image in enumerate(np.load(samples)["calibration_images"][:20]):
        if kind == "batch" and i == int(number):
            die()
        yield {"data": image[None, None] / np.float32(256)}

writes = 0
replace, fsync = os.replace, os.fsync

def counting(function, name):
    def call(*arguments):
        global writes
        if name == kind:
            writes += 1
            if writes == int(number):
                die()
        return function(*arguments)
    return call

os.replace, os.fsync = counting(os.replace, "replace"), counting(os.fsync, "fsync")
done = calibrate(model, batches(), checkpoint=checkpoint, threads=int(threads))
save_histograms(done.histograms, result)
"""


@pytest.fixture(autouse=True)
def _every_five_batches(monkeypatch):
    monkeypatch.setattr(checkpoints, "INTERVAL", 5)


def images(digits, count=20):
    return [{"data": image[None]} for image in digits["calibration"][:count]]


def model_runs(monkeypatch) -> list:
    """Places of the batches that are run from now on."""
    runs, run = [], Activations.values

    def spy(self, batch, *, place):
        runs.append(place)
        return run(self, batch, place=place)

    monkeypatch.setattr(Activations, "values", spy)
    return runs


class KilledError(Exception):
    pass


def killed_at(batches, number):
    yield from batches[:number]
    raise KilledError


@pytest.mark.parametrize("threads", [1, 3])
def test_killed_again_and_again(lenet_path, digits, tmp_path, threads):
    samples = lenet_path.parent / "digits.npz"
    checkpoint, result = tmp_path / "c", tmp_path / "result"
    seen = []
    for die_at in ("batch 0", "batch 2", "fsync 1", "replace 1", "batch 7", "fsync 2", "batch 19", "never 0"):
        arguments = [lenet_path, samples, checkpoint, result, die_at, threads]
        ended = subprocess.run(
            [sys.executable, "-c", CHILD, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert ended.returncode == (0 if die_at == "never 0" else -signal.SIGKILL), ended.stderr
        assert result.exists() == (die_at == "never 0")
        seen.append(None if not checkpoint.exists() else batches_in(checkpoint))
    # Each was at or behind the one before, whole, and not what the killed one was about to write.
    assert seen == [None, None, None, None, 6, 9, 18, 0]
    expected = calibrate(lenet_path, images(digits)).histograms
    assert result.read_bytes() == to_bytes(expected)


def batches_in(checkpoint) -> int:
    with np.load(checkpoint) as file:
        return json.loads(file["header"].tobytes())["extra"]["batches"]


def test_what_is_counted_is_not_run_again(lenet_path, digits, tmp_path, monkeypatch):
    batches = images(digits)
    with pytest.raises(KilledError):
        calibrate(lenet_path, killed_at(batches, 14), checkpoint=tmp_path / "c")
    runs = model_runs(monkeypatch)
    done = calibrate(lenet_path, batches, checkpoint=tmp_path / "c")
    assert sorted(runs) == [f"the data, batch {i}" for i in range(10, 20)]
    assert done.samples == 20
    # A finished one is not run at all.
    again = calibrate(lenet_path, iter(batches), checkpoint=tmp_path / "c")
    assert len(runs) == 10
    plain = to_bytes(calibrate(lenet_path, batches).histograms)
    assert to_bytes(done.histograms) == to_bytes(again.histograms) == plain


@pytest.fixture
def half_done(lenet_path, digits, tmp_path):
    with pytest.raises(KilledError):
        calibrate(lenet_path, killed_at(images(digits), 14), checkpoint=tmp_path / "c")
    return tmp_path / "c"


def other_model(path):
    model = onnx.load(path)
    weight = model.graph.initializer[0]
    values = onnx.numpy_helper.to_array(weight).copy()
    values.flat[0] += 1
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    return model


def test_other_data_model_or_options_are_refused(lenet_path, digits, half_done):
    batches, before = images(digits), half_done.read_bytes()

    def refused(reason, model=lenet_path, data=batches, **options):
        with pytest.raises(CalibrationError, match=f"belongs to another calibration \\({reason}.*delete it"):
            calibrate(model, data, checkpoint=half_done, **options)
        assert half_done.read_bytes() == before

    changed = [dict(batch) for batch in batches]
    changed[3] = {"data": changed[3]["data"] + np.float32(1e-6)}
    refused("data: other samples in its first 10 batches", data=changed)
    refused("data: other samples in its first 10 batches", data=batches[1:])
    refused("data: 10 batches or more, now 7", data=batches[:7])
    refused("model [0-9a-f]{12}…, now [0-9a-f]{12}…", model=other_model(lenet_path))
    refused("algorithm entropy, now minmax", algorithm="minmax")
    refused("tensors all, now [0-9a-f]{12}…", tensors=["data"])
    # a change behind what was counted is no other calibration
    changed = [*batches[:19], {"data": batches[19]["data"] / 2}]
    done = calibrate(lenet_path, changed, checkpoint=half_done)
    assert to_bytes(done.histograms) == to_bytes(calibrate(lenet_path, changed).histograms)


def test_a_finished_one_of_other_data(lenet_path, digits, tmp_path):
    calibrate(lenet_path, images(digits), checkpoint=tmp_path / "c")
    for data in (images(digits, 19), images(digits, 21)):
        with pytest.raises(CalibrationError, match="another calibration \\(data: other samples\\)"):
            calibrate(lenet_path, data, checkpoint=tmp_path / "c")


def test_files_that_are_no_checkpoint(lenet_path, digits, tmp_path):
    path = tmp_path / "h.npz"
    path.write_text("hello")
    fix = r"h\.npz: not a histogram file.*; give another name, or delete it if it is a damaged checkpoint$"
    with pytest.raises(CalibrationError, match=fix):
        calibrate(lenet_path, images(digits), checkpoint=path)
    save_histograms(calibrate(lenet_path, images(digits, 2)).histograms, path)
    with pytest.raises(CalibrationError, match=r"h\.npz: a histogram file, not a checkpoint"):
        calibrate(lenet_path, images(digits), checkpoint=path)
