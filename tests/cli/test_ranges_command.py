import json

import numpy as np
import pytest

from trt_int8.calibration.histograms import load_histograms, to_bytes


@pytest.fixture
def shards(tmp_path, digits):
    np.savez(tmp_path / "all.npz", data=digits["calibration"][:30])
    np.savez(tmp_path / "a.npz", data=digits["calibration"][:11])
    np.savez(tmp_path / "b.npz", data=digits["calibration"][11:30])
    return tmp_path


def test_histograms_are_saved_merged_and_analyzed(run, shards, lenet_path):
    for name in ("all", "a", "b"):
        run("calibrate", lenet_path, "--data", shards / f"{name}.npz", "-o", shards / "c", "--histograms", shards / f"{name}.h.npz", "--algorithm", "mse")  # fmt: skip
    out = run("ranges", "merge", shards / "a.h.npz", shards / "b.h.npz", "-o", shards / "m.npz")
    assert "10 tensors from 30 samples" in out
    assert to_bytes(load_histograms(shards / "m.npz")) == to_bytes(load_histograms(shards / "all.h.npz"))
    document = json.loads(run("ranges", "analyze", shards / "m.npz", "--format", "json"))
    # the algorithm of the calibration is the default
    assert {t["algorithm"] for t in document["tensors"]} == {"mse"}
    assert "one_sided" in next(t for t in document["tensors"] if t["name"] == "prob")["flags"]
    assert "pool2" in run("ranges", "analyze", shards / "m.npz", "--algorithm", "minmax")


def test_html_goes_to_a_file(run, shards, lenet_path):
    pytest.importorskip("jinja2")
    run(
        "calibrate",
        lenet_path,
        "--data",
        shards / "a.npz",
        "-o",
        shards / "c",
        "--histograms",
        shards / "h.npz",
    )
    run("ranges", "analyze", shards / "h.npz", "--format", "html", "-o", shards / "r.html")
    assert (shards / "r.html").read_text(encoding="utf-8").count("<svg") == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ranges", "analyze", "no.npz"], "no.npz"),
        (["ranges", "analyze", "a.npz"], "an .npz file, but not one of histograms"),
        (["ranges", "analyze", "a.npz", "-o", "a.npz"], "the analysis would overwrite the histograms"),
        (["ranges", "merge", "a.npz", "b.npz", "-o", "a.npz"], "would overwrite the shard"),
        (["ranges", "merge", "a.npz", "-o", "gone/x.npz"], "gone does not exist; create it first"),
    ],
)
def test_mistakes(run, shards, monkeypatch, arguments, message):
    monkeypatch.chdir(shards)
    before = {p.name: p.read_bytes() for p in shards.iterdir()}
    out = run(*arguments, code=1)
    assert message in out
    assert len([line for line in out.splitlines() if line.startswith("Error: ")]) == 1
    assert {p.name: p.read_bytes() for p in shards.iterdir()} == before


def test_histograms_overwrite_nothing(run, shards, lenet_path):
    data = shards / "a.npz"
    before = data.read_bytes()
    out = run("calibrate", lenet_path, "--data", data, "-o", shards / "c", "--histograms", data, code=1)
    assert "the histograms would overwrite the data" in out
    assert data.read_bytes() == before
    assert not (shards / "c").exists()
