"""The command line as a user meets it: files in, files and lines out, exit codes."""

import json
import re
import shutil

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

import trt_int8
from trt_int8.cli import _COMMANDS, main


@pytest.fixture
def run():
    def invoke(*arguments: object, code: int = 0) -> str:
        result = CliRunner().invoke(main, [str(a) for a in arguments])
        # click's own exits only: a traceback would be another exception
        assert isinstance(result.exception, SystemExit | type(None)), result.exception
        assert result.exit_code == code, result.output
        return result.output

    return invoke


@pytest.fixture(scope="module")
def data(tmp_path_factory, digits):
    folder = tmp_path_factory.mktemp("data")
    np.savez(folder / "calibration.npz", data=digits["calibration"][:30])
    np.savez(folder / "evaluation.npz", data=digits["evaluation"][:50], labels=digits["labels"][:50])
    return folder


def test_the_whole_chain(run, data, lenet_path, tmp_path):
    out = run(
        "build",
        lenet_path,
        "--data",
        data / "calibration.npz",
        "-o",
        tmp_path / "lenet.engine",
        "--target",
        "sm89",
    )
    assert "4 of 4 nodes that multiply run in INT8" in out
    assert "route: explicit" in out
    assert (tmp_path / "lenet.engine").stat().st_size > 100_000
    report = json.loads(run("report", tmp_path / "lenet.log", "--format", "json"))
    assert report["schema"] == 1
    assert report["builds"][0]["summary"]["int8_layers"] == 4


def test_step_by_step_gives_the_same_scales(run, data, lenet_path, tmp_path):
    run("calibrate", lenet_path, "--data", data / "calibration.npz", "-o", tmp_path / "lenet.cache")
    sources = ["--data", data / "calibration.npz", "--algorithm", "entropy"]
    run("quantize", lenet_path, *sources, "-o", tmp_path / "a.onnx")
    out = run("quantize", lenet_path, "--cache", tmp_path / "lenet.cache", "-o", tmp_path / "b.onnx")
    assert "4 nodes quantized, 0 left in float" in out
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    run("build", tmp_path / "b.onnx", "-o", tmp_path / "b.engine")
    run(
        "build",
        lenet_path,
        "--cache",
        tmp_path / "lenet.cache",
        "-o",
        tmp_path / "c.engine",
        "--log",
        tmp_path / "c.log",
    )
    assert "ip1" in run("cache", "show", tmp_path / "lenet.cache")
    shown = json.loads(run("cache", "show", tmp_path / "lenet.cache", "--format", "json"))
    ranges = trt_int8.CalibrationCache.read(tmp_path / "lenet.cache").ranges()
    assert {name: entry["amax"] for name, entry in shown["tensors"].items()} == {
        n: r.amax for n, r in ranges.items()
    }


def test_options_reach_the_work(run, data, lenet_path, tmp_path):
    out = run(
        "calibrate",
        lenet_path,
        "--data",
        data / "calibration.npz",
        "-o",
        tmp_path / "c",
        "--limit",
        7,
        "--algorithm",
        "minmax",
        "--shuffle",
        3,
    )
    assert "10 tensors from 7 samples (minmax)" in out
    assert trt_int8.CalibrationCache.read(tmp_path / "c").header == "TRT-8601-MinMaxCalibration"


def test_qdq_nodes_get_the_ranges_with_the_least_squared_error(run, data, lenet_path, tmp_path):
    scales = {}
    for algorithm in (None, "mse", "entropy"):
        path = tmp_path / f"{algorithm}.onnx"
        chosen = [] if algorithm is None else ["--algorithm", algorithm]
        run("quantize", lenet_path, "--data", data / "calibration.npz", "-o", path, *chosen)
        scales[algorithm] = {
            tensor.name: onnx.numpy_helper.to_array(tensor).tolist()
            for tensor in onnx.load(path).graph.initializer
            if "scale" in tensor.name
        }
    assert scales[None] == scales["mse"]
    assert scales[None] != scales["entropy"]
    # build inserts the same ones
    images = np.load(data / "calibration.npz")["data"]
    built = trt_int8.build_engine(
        lenet_path, tmp_path / "e.engine", batches=[{"data": image[None]} for image in images]
    )
    again = trt_int8.quantize(
        lenet_path, built.calibration.histograms.ranges(algorithm="mse"), placement="rtx"
    )
    assert built.quantized.scales == again.scales


def test_the_algorithm_reaches_quantize_and_build(run, data, lenet_path, tmp_path):
    def data_scale(path):
        model = onnx.load(path)
        return next(
            float(onnx.numpy_helper.to_array(t)) for t in model.graph.initializer if t.name == "data_scale"
        )

    found = {}
    for algorithm in ("minmax", "percentile"):
        run(
            "quantize",
            lenet_path,
            "--data",
            data / "calibration.npz",
            "-o",
            tmp_path / "q.onnx",
            "--algorithm",
            algorithm,
        )
        found[algorithm] = data_scale(tmp_path / "q.onnx")
        run(
            "build",
            lenet_path,
            "--data",
            data / "calibration.npz",
            "-o",
            tmp_path / algorithm,
            "--algorithm",
            algorithm,
            "--log",
            tmp_path / "l.log",
        )
    assert found["minmax"] == np.float32(255 / 256 / 127)
    assert found["percentile"] < found["minmax"]
    assert (tmp_path / "minmax").read_bytes() != (tmp_path / "percentile").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["l.log", "minmax", "percentile", "q.onnx"]


def test_batch_options_reach_a_dynamic_model(run, make_model, tmp_path):
    model = make_model([helper.make_node("Relu", ["x"], ["y"])], inputs={"x": ["n", 2]}, outputs=["y"])
    onnx.save(model, tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.ones((7, 2), np.float32))
    for last, samples in (("keep", 7), ("drop", 6), ("pad", 9)):
        out = run(
            "calibrate",
            tmp_path / "m.onnx",
            "--data",
            tmp_path / "x.npy",
            "-o",
            tmp_path / "c",
            "--batch-size",
            3,
            "--last",
            last,
        )
        assert f"from {samples} samples" in out


def test_labels_follow_the_limit(run, data, lenet_path, tmp_path):
    run("quantize", lenet_path, "--data", data / "calibration.npz", "-o", tmp_path / "q.onnx")
    arguments = [
        "evaluate",
        lenet_path,
        tmp_path / "q.onnx",
        "--data",
        data / "evaluation.npz",
        "--labels",
        "labels",
    ]
    assert "20 samples" in run(*arguments, "--limit", 20, "--scores", "prob")
    for more in (["--shuffle", 1], ["--last", "pad"]):
        assert "--labels follow the samples as they are" in run(*arguments, *more, code=2)
    assert "output 'logits' is not in both models" in run(*arguments, "--scores", "logits", code=1)


def test_evaluate(run, data, lenet_path, tmp_path):
    run("quantize", lenet_path, "--data", data / "calibration.npz", "-o", tmp_path / "q.onnx")
    out = run(
        "evaluate", lenet_path, tmp_path / "q.onnx", "--data", data / "evaluation.npz", "--labels", "labels"
    )
    assert "50 samples, simulated in onnxruntime (nothing was executed by TensorRT)" in out
    top1 = float(re.search(r"top-1 on prob: float ([0-9.]+)%", out)[1])
    assert top1 >= 96
    result = json.loads(
        run(
            "evaluate", lenet_path, tmp_path / "q.onnx", "--data", data / "evaluation.npz", "--format", "json"
        )
    )
    assert result["outputs"]["prob"]["sqnr_db"] > 25
    np.save(tmp_path / "l.npy", np.arange(50) % 10 * 1.0)
    assert "give the class of each sample as an integer" in run(
        "evaluate",
        lenet_path,
        tmp_path / "q.onnx",
        "--data",
        data / "evaluation.npz",
        "--labels",
        tmp_path / "l.npy",
        code=1,
    )


def test_dead_tensors_are_listed(run, data, lenet_path, tmp_path):
    (tmp_path / "c").write_text(
        "TRT-8601-EntropyCalibration2\ndata: 3c008912\npool1: 0\nconv1: 0\nip1: 3f800000\n"
    )
    out = run("quantize", lenet_path, "--cache", tmp_path / "c", "-o", tmp_path / "q.onnx")
    assert "stays float: conv2: tensor 'pool1' was always zero in calibration" in out
    assert "stays float: ip1: no range for tensor 'pool2_flat'" in out
    assert "2 nodes quantized, 2 left in float" in out


def test_quantize_options_reach_the_work(run, lenet_path, tmp_path):
    cache = tmp_path / "c"
    names = ["data", "pool1", "pool2_flat", "ip1"]
    cache.write_text("TRT-8601-EntropyCalibration2\n" + "".join(f"{n}: 3c008912\n" for n in names))
    (tmp_path / "plan.yaml").write_text("schema: 1\nnodes: {ip2: float}\n")
    base = ["quantize", lenet_path, "--cache", cache, "-o", tmp_path / "q.onnx"]
    out = run(
        *base,
        "--placement",
        "rtx",
        "--op-types",
        "Conv,Gemm",
        "--exclude",
        "conv1",
        "--plan",
        tmp_path / "plan.yaml",
    )
    assert "stays float: conv1: excluded by --exclude 'conv1'" in out
    assert "stays float: ip2: float in the precision plan" in out
    assert "2 nodes quantized, 2 left in float" in out
    assert "1 nodes quantized" in run(*base, "--nodes", "conv1")
    assert "2 nodes quantized" in run(*base, "--without", "gemm")
    run(*base, "--high-precision", "fp16", "--scales", "fp16")
    halves = [
        t for t in onnx.load(tmp_path / "q.onnx").graph.initializer if t.data_type == onnx.TensorProto.FLOAT16
    ]
    assert {"conv1_bias", "data_scale"} <= {t.name for t in halves}


def test_migrate_and_back(run, lenet_path, tmp_path):
    text = "TRT-6001-EntropyCalibration2\ndata: 3c008912\npool1: 3c88edfc\npool2: 3ddc858b\nip1: 3db6bd6e\nold: 0\n"
    (tmp_path / "c").write_text(text)
    out = run("migrate", lenet_path, tmp_path / "c", "-o", tmp_path / "q.onnx")
    assert "ip1    Gemm  ?         int8      pool2_flat 3ddc858b" in out
    assert "4 of 4 nodes in INT8" in out
    assert "in the cache and not in the model:\n  old" in out
    assert "5 tensors" in run("cache", "from-qdq", tmp_path / "q.onnx", "-o", tmp_path / "back")
    assert (tmp_path / "back").read_text() == text


def test_check_qdq(run, lenet_path, data, tmp_path):
    run("quantize", lenet_path, "--data", data / "calibration.npz", "-o", tmp_path / "q.onnx")
    assert run("check-qdq", tmp_path / "q.onnx") == "0 findings\n"
    model = onnx.load(tmp_path / "q.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "data_zero_point":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.uint8(128), tensor.name))
    onnx.save(model, tmp_path / "bad.onnx")
    out = run("check-qdq", tmp_path / "bad.onnx", code=1)
    assert "refused: data_Q: its type is UINT8" in out
    assert "[symmetric-int8]" in out
    found = json.loads(run("check-qdq", tmp_path / "bad.onnx", "--format", "json", code=1))
    assert {entry["node"] for entry in found["findings"]} == {"data_Q", "data_DQ"}
    out = run("check-qdq", tmp_path / "bad.onnx", "--fix", "-o", tmp_path / "good.onnx")
    assert "mended: data_Q: " in out
    assert "0 findings, 2 mended" in out
    run("build", tmp_path / "good.onnx", "-o", tmp_path / "e")
    assert "--fix and -o FILE go together" in run("check-qdq", tmp_path / "bad.onnx", "--fix", code=2)


def bad_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def corrupt(path, content=b"no model"):
    path.write_bytes(content)
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
    "unknown target": (lambda d, t, m: ["build", m, "--data", d, "-o", t / "old", "--target", "sm42"], 1, "it can for current, sm75"),
    "neither data nor cache": (lambda d, t, m: ["build", m, "-o", t / "old"], 2, "one, not both"),
    "both": (lambda d, t, m: ["quantize", m, "--data", d, "--cache", d, "-o", t / "old"], 2, "one, not both"),
    "unknown rule": (lambda d, t, m: ["quantize", m, "--data", d, "-o", t / "old", "--without", "residual"], 1, "there is no placement rule 'residual'"),
    "glob without a node": (lambda d, t, m: ["quantize", m, "--data", d, "-o", t / "old", "--exclude", "x*"], 1, "--exclude 'x*' matches none"),
    "bad plan": (lambda d, t, m: ["quantize", m, "--data", d, "-o", t / "old", "--plan", corrupt(t / "p", b"a: b")], 1, "p: schema is None"),
    "batch size": (lambda d, t, m: ["calibrate", m, "--data", d, "-o", t / "old", "--batch-size", 8], 2, "the model's batch size is fixed at 1"),
    "the cache over the model": (lambda d, t, m: ["calibrate", copy(m, t), "--data", d, "-o", t / "copy.onnx"], 1, "the cache would overwrite the model"),
    "the log over the data": (lambda d, t, m: ["build", m, "--data", copy(d, t), "-o", t / "old", "--log", t / "copy.npz"], 1, "the log would overwrite the data"),
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


def test_a_refused_build_keeps_the_old_engine_and_names_the_log(run, lenet_path, tmp_path, data):
    run("quantize", lenet_path, "--data", data / "calibration.npz", "-o", tmp_path / "q.onnx")
    model = onnx.load(tmp_path / "q.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "data_zero_point":
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.uint8(128), tensor.name))
    onnx.save(model, tmp_path / "q.onnx")
    (tmp_path / "e.engine").write_bytes(b"precious")
    output = run("build", tmp_path / "q.onnx", "-o", tmp_path / "e.engine", code=1)
    assert "cannot parse the model" in output
    assert "shiftIsAllZeros" in output
    assert f"whole log: {tmp_path / 'e.log.failed'}" in output
    assert (tmp_path / "e.engine").read_bytes() == b"precious"


@pytest.mark.parametrize("command", _COMMANDS)
def test_every_command_has_help_with_an_example(run, command):
    if command == "cache":
        assert "Commands:" in run("cache", "--help")
        command = "cache show"
    text = run(*command.split(), "--help")
    assert f"trt-int8 {command} " in text.split("Options:")[0].split("\n", 1)[1]


def test_python_dash_m(lenet_path):
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "trt_int8", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("trt-int8, version 0.")


class TestCalibrationOptions:
    @pytest.fixture
    def arguments(self, lenet_path, digits, tmp_path):
        np.savez(tmp_path / "data.npz", data=digits["calibration"][:20])
        return [
            "calibrate",
            str(lenet_path),
            "--data",
            str(tmp_path / "data.npz"),
            "-o",
            str(tmp_path / "c.cache"),
        ]

    def test_checkpoint_memory_and_workers_give_the_same_bytes(self, arguments, tmp_path):
        pytest.importorskip("distributed")
        found = set()
        for more in (
            [],
            ["--checkpoint", str(tmp_path / "c"), "--checkpoint-every", "3"],
            ["--max-memory", "4G"],
            ["--workers", "2"],
        ):
            result = CliRunner().invoke(main, [*arguments, *more])
            assert result.exit_code == 0, result.output
            found.add((tmp_path / "c.cache").read_bytes())
        assert len(found) == 1
        assert (tmp_path / "c").exists()

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--dask", "tcp://h:1", "--workers", "2"], "give either --dask"),
            (["--workers", "2", "--checkpoint", "c"], "--checkpoint is for calibration in one process"),
            (["--max-memory", "lots"], "'lots' is no amount of memory; write 800M or 2G"),
            (["--max-memory", "1M"], "--max-memory 1 MiB is too little"),
        ],
    )
    def test_what_does_not_go(self, arguments, more, message):
        result = CliRunner().invoke(main, [*arguments, *more])
        assert result.exit_code in (1, 2)
        assert message in result.output


def test_migration_and_mending_overwrite_nothing_they_read(run, data, lenet_path, tmp_path):
    model, cache = copy(lenet_path, tmp_path), tmp_path / "c.cache"
    run("calibrate", lenet_path, "--data", data / "calibration.npz", "-o", cache)
    before = {path: path.read_bytes() for path in (model, cache)}
    assert "would overwrite the model" in run("migrate", model, cache, "-o", model, code=1)
    assert "would overwrite the cache" in run("migrate", model, cache, "-o", cache, code=1)
    assert "would overwrite the model" in run("check-qdq", model, "--fix", "-o", model, code=1)
    assert {path: path.read_bytes() for path in before} == before
