"""Mistakes on the command line end in one clear line and change nothing. See also test_bad_input.py."""

import shutil

import numpy as np
import pytest


def bad_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def corrupt(path, content=b"no model"):
    path.write_bytes(content)
    return path


def linked(folder):
    (folder / "links").mkdir()
    (folder / "links" / "a.png").symlink_to(corrupt(folder / "1.png"))
    return folder / "links"


def read_only(path):
    path.touch(mode=0o444)
    return path


def copy(path, folder):
    return shutil.copy(path, folder / f"copy{path.suffix}")


IMAGE = np.zeros((3, 1, 28, 28), np.float32)
HEADER = b"TRT-8601-EntropyCalibration2\n"


#: what is wrong → (command line, exit code, what the line must say)
MISTAKES = {
    "corrupt model": (lambda d, t, m: ["build", corrupt(t / "m.onnx"), "--data", d, "-o", t / "old"], 1, "m.onnx: "),
    "missing model": (lambda d, t, m: ["build", t / "no.onnx", "--data", d, "-o", t / "old"], 1, "no.onnx: no such file"),
    "folder as model": (lambda d, t, m: ["quantize", t, "--data", d, "-o", t / "old"], 1, "is a folder"),
    "missing data": (lambda d, t, m: ["calibrate", m, "--data", t / "no.npz", "-o", t / "old"], 1, "no.npz: no such file"),
    "missing cache": (lambda d, t, m: ["quantize", m, "--cache", t / "no", "-o", t / "old"], 1, "no: no such file"),
    "missing log": (lambda d, t, m: ["report", t / "no.log"], 1, "no.log"),
    "wrong shape": (lambda d, t, m: ["calibrate", m, "--data", bad_npz(t / "x.npz", data=IMAGE[:, :, :9]), "-o", t / "old"], 1, "batch 0, input 'data': shape is [1, 1, 9, 28] and the model takes [1, 1, 28, 28]"),
    "wrong dtype": (lambda d, t, m: ["calibrate", m, "--data", bad_npz(t / "x.npz", data=IMAGE.astype(np.uint8)), "-o", t / "old"], 1, "dtype is uint8 and the model takes float32"),
    "nan": (lambda d, t, m: ["calibrate", m, "--data", bad_npz(t / "x.npz", data=IMAGE * np.nan), "-o", t / "old"], 1, "batch 0, input 'data', index [0, 0, 0, 0]: value is nan"),
    "no samples": (lambda d, t, m: ["calibrate", m, "--data", bad_npz(t / "x.npz", data=IMAGE[:0]), "-o", t / "old"], 1, "holds no samples"),
    "wrong key": (lambda d, t, m: ["calibrate", m, "--data", bad_npz(t / "x.npz", images=IMAGE), "-o", t / "old"], 1, "has no key 'data'"),
    "bad cache line": (lambda d, t, m: ["build", m, "--cache", corrupt(t / "c", HEADER + b"data: 3c008912\nconv1 what\n"), "-o", t / "old"], 1, "c:3: 'conv1 what' is not 'tensor name: scale'"),
    "cache of another model": (lambda d, t, m: ["build", m, "--cache", corrupt(t / "c", HEADER + b"x: 3c008912\n"), "-o", t / "old"], 1, "belong to another model"),
    "a log without a build": (lambda d, t, m: ["build", m, "--data", d, "-o", t / "gone" / "e"], 1, "gone does not exist; create it first"),
    "no target": (lambda d, t, m: ["quantize", m, "--data", d, "-o", t / "old", "--target", "ampere"], 1, "there is no target 'ampere'; write rtx, rtx:sm89, tensorrt, current"),
    "unknown target": (lambda d, t, m: ["build", m, "--data", d, "-o", t / "old", "--target", "sm42"], 1, "supported targets: rtx:current, rtx:sm75"),
    "neither data nor cache": (lambda d, t, m: ["build", m, "-o", t / "old"], 2, "give --data SOURCE (samples to calibrate with) or --cache FILE"),
    "recentring with a cache": (lambda d, t, m: ["quantize", m, "--data", d, "--cache", d, "-o", t / "old", "--recentre", "data"], 2, "--recentre is for calibration, and --cache holds ranges"),
    "samples chosen of none": (lambda d, t, m: ["quantize", m, "--cache", d, "-o", t / "old", "--limit", 5], 2, "--limit needs samples: add --data SOURCE"),
    "images prepared of none": (lambda d, t, m: ["build", m, "--cache", d, "-o", t / "old", "--scale", "1/255"], 2, "--scale needs images: add --data SOURCE"),
    "bad images of random numbers": (lambda d, t, m: ["build", m, "--random", 2, "-o", t / "old", "--skip-bad"], 2, "--skip-bad needs images"),
    "algorithm for a cache": (lambda d, t, m: ["build", m, "--cache", d, "-o", t / "old", "--algorithm", "mse"], 2, "--algorithm is for calibration, and --cache holds ranges; leave one out"),
    "algorithm for a cache with samples": (lambda d, t, m: ["sensitivity", m, "--cache", d, "--data", d, "--algorithm", "mse"], 2, "--algorithm is for calibration, and --cache holds ranges; leave one out"),
    "checkpoint for a cache": (lambda d, t, m: ["quantize", m, "--cache", d, "-o", t / "old", "--checkpoint", "k"], 2, "--checkpoint is for calibration, and --cache holds ranges"),
    "unknown rule": (lambda d, t, m: ["quantize", m, "--data", d, "-o", t / "old", "--without", "residual"], 1, "there is no placement rule 'residual'"),
    "rule of the other placement": (lambda d, t, m: ["quantize", m, "--data", d, "-o", t / "old", "--without", "weightless"], 2, "--without weightless has no effect: placement rtx does not have this rule, only the other placement has"),
    "glob without a node": (lambda d, t, m: ["quantize", m, "--data", d, "-o", t / "old", "--exclude", "x*"], 1, "--exclude 'x*' matches none"),
    "bad plan": (lambda d, t, m: ["quantize", m, "--data", d, "-o", t / "old", "--plan", corrupt(t / "p", b"a: b")], 1, "p: schema is None"),
    "batch size": (lambda d, t, m: ["calibrate", m, "--data", d, "-o", t / "old", "--batch-size", 8], 2, "the model's batch size is fixed at 1"),
    "the cache over the model": (lambda d, t, m: ["calibrate", copy(m, t), "--data", d, "-o", t / "copy.onnx"], 1, "the cache would overwrite the model"),
    "the log over the data": (lambda d, t, m: ["build", m, "--data", copy(d, t), "-o", t / "old", "--log", t / "copy.npz"], 1, "the log would overwrite the data"),
    "the model over the plan": (lambda d, t, m: ["quantize", m, "--data", d, "--plan", corrupt(t / "p.yaml"), "-o", t / "p.yaml"], 1, "the Q/DQ model would overwrite the plan"),
    "the model over the configuration": (lambda d, t, m: ["quantize", m, "--data", d, "--config", corrupt(t / "c.yaml", b"limit: 2"), "-o", t / "c.yaml"], 1, "the Q/DQ model would overwrite the config"),
    "the plan over the labels": (lambda d, t, m: ["sensitivity", m, "--data", d, "--labels", corrupt(t / "l.npy"), "--max-drop", 1, "-o", t / "l.npy"], 1, "the precision plan would overwrite the labels"),
    "the plan over the metric": (lambda d, t, m: ["sensitivity", m, "--data", d, "--metric", f"{corrupt(t / 'm.py')}:f", "--max-drop", 1, "-o", t / "m.py"], 1, "the precision plan would overwrite the metric"),
    "the log over the ranges": (lambda d, t, m: ["build", m, "--ranges", corrupt(t / "r.json"), "-o", t / "old", "--log", t / "r.json"], 1, "the log would overwrite the ranges"),
    "the checkpoint over the loader": (lambda d, t, m: ["calibrate", m, "--data", f"{corrupt(t / 'd.py')}:f", "-o", t / "old", "--checkpoint", t / "d.py"], 1, "the checkpoint would overwrite the data"),
    "the cache over an image": (lambda d, t, m: ["calibrate", m, "--data", t, "-o", corrupt(t / "1.png")], 1, "1.png, an image of the data"),
    "the cache over an image by a pattern": (lambda d, t, m: ["calibrate", m, "--data", t / "*.png", "-o", corrupt(t / "1.png")], 1, "1.png, an image of the data"),
    "the cache over a linked image": (lambda d, t, m: ["calibrate", m, "--data", linked(t), "-o", t / "1.png"], 1, "1.png, an image of the data"),
    "the failed log over the data": (lambda d, t, m: ["build", m, "--data", shutil.copy(d, t / "e.log.failed"), "-o", t / "e", "--target", "sm89"], 1, "the log of a failed build would overwrite the data"),
    "the merged cache over one of them": (lambda d, t, m: ["cache", "merge", corrupt(t / "a"), corrupt(t / "b"), "-o", t / "b"], 1, "the merged cache would overwrite the right"),
    "merged histograms over a shard": (lambda d, t, m: ["ranges", "merge", corrupt(t / "a"), corrupt(t / "b"), "-o", t / "b"], 1, "the merged histograms would overwrite the shards 2"),
    "the report over a log": (lambda d, t, m: ["report", "--diff", corrupt(t / "a"), corrupt(t / "b"), "-o", t / "b"], 1, "the report would overwrite the diff 2"),
    "a read-only result": (lambda d, t, m: ["calibrate", m, "--data", d, "-o", read_only(t / "c.cache")], 1, "c.cache: it is read-only; make it writable, or choose another name"),
    "the log over the engine": (lambda d, t, m: ["build", m, "--data", d, "-o", t / "old", "--log", t / "old"], 1, "the log would overwrite the engine"),
    "no folder for the cache": (lambda d, t, m: ["calibrate", m, "--data", d, "-o", t / "gone" / "c"], 1, "gone does not exist; create it first"),
    "negative seed": (lambda d, t, m: ["calibrate", m, "--data", d, "-o", t / "old", "--shuffle", -1], 2, "-1 is not in the range x>=0"),
    "unknown command": (lambda d, t, m: ["calibrat"], 2, "No such command 'calibrat'"),
    "unknown algorithm": (lambda d, t, m: ["calibrate", m, "--data", d, "-o", t / "old", "--algorithm", "kl"], 2, "'kl' is not one of"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_end_in_one_clear_line_and_change_nothing(run, data, lenet_path, tmp_path, mistake):
    arguments, code, message = MISTAKES[mistake]
    (tmp_path / "old").write_bytes(b"precious")
    command = arguments(data / "calibration.npz", tmp_path, lenet_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    output = run(*command, code=code)
    assert message in output
    assert "Traceback" not in output
    assert len([line for line in output.splitlines() if line.startswith("Error: ")]) == 1
    assert (tmp_path / "old").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == before
