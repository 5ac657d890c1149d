"""``trt-int8 calibrate``."""

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper

import trt_int8
from trt_int8.cli import main


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

    def test_checkpoint_memory_and_workers_give_the_same_bytes(self, run, arguments, tmp_path):
        pytest.importorskip("distributed")
        found = set()
        for more in (
            [],
            ["--checkpoint", str(tmp_path / "c")],
            ["--max-memory", "4G"],
            ["--workers", "2"],
        ):
            run(*arguments, *more)
            found.add((tmp_path / "c.cache").read_bytes())
        assert len(found) == 1
        assert (tmp_path / "c").exists()

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            (["--dask", "tcp://h:1", "--workers", "2"], "give either --dask"),
            (["--workers", "2", "--checkpoint", "c"], "--checkpoint does not work with --dask and --workers"),
            (["--max-memory", "lots"], "'lots' is not an amount of memory; write 800M or 2G"),
            (["--max-memory", "1M"], "1 MiB (--max-memory) is too small"),
        ],
    )
    def test_what_does_not_go(self, arguments, more, message):
        result = CliRunner().invoke(main, [*arguments, *more])
        assert result.exit_code in (1, 2)
        assert message in result.output
