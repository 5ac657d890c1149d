"""benchmarks/calibrate.py on the sample's LeNet: which groups it runs, and what is kept of them."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def calibrate(tmp_path, monkeypatch):
    """The module, with a cache of its own."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), str(BENCHMARKS / "calibration"), *sys.path])
    import calibrate

    monkeypatch.setattr(calibrate, "CACHE", tmp_path / "cache")
    return calibrate


@pytest.fixture
def run(calibrate, tmp_path, monkeypatch):
    def run(*arguments):
        """(model, images, method) of each row written."""
        path = tmp_path / "result.json"
        arguments = ("--models", "lenet", "--rounds", "1", "--json", str(path), *arguments)
        monkeypatch.setattr(sys, "argv", ["calibrate.py", *arguments])
        try:
            calibrate.main()
        finally:
            rows = json.loads(path.read_text())["results"] if path.exists() else []
            run.written = [(row["images"], row["method"]) for row in rows]
        return run.written

    return run


@pytest.fixture
def log(calibrate, monkeypatch):
    """What was called, in order; nothing is measured: 100 MB, and 100 more an image."""
    calls = []

    def measured(model, images, count, methods, rounds):
        calls.append((count, *methods))
        return {method: [calibrate.Measured(1.0, 1.0, 100.0 * count)] * rounds for method in methods}

    monkeypatch.setattr(calibrate, "measured", measured)
    monkeypatch.setattr(calibrate, "load_all", lambda: calls.append("loops"))
    return calls


def test_counts_run_in_ascending_order_once_each(run, log):
    assert run("--images", "4,1,4,2", "--methods", "T1,ours") == [
        (count, method) for count in (1, 2, 4) for method in ("T1", "ours")
    ]
    assert log == ["loops", (1, "T1", "ours"), (2, "T1", "ours"), (4, "T1", "ours")]


def test_a_group_without_methods_is_passed_over(run, log, capsys):
    assert run("--images", "2,1024", "--methods", "modelopt max") == [(2, "modelopt max")]
    assert "lenet, 1024 images\n" not in capsys.readouterr().out


def test_what_needs_too_much_memory_is_left_out(run, log, calibrate, monkeypatch, capsys):
    monkeypatch.setattr(calibrate, "available", lambda: 500.0)
    assert run("--images", "1,2,60", "--methods", "T1") == [(1, "T1"), (2, "T1")]
    assert "lenet, 60 images, T1: not run, would need some 6 GB" in capsys.readouterr().out


def test_what_keeps_everything_is_left_out_after_one_run(run, log, calibrate, monkeypatch):
    monkeypatch.setattr(calibrate, "available", lambda: 500.0)
    methods = "onnxruntime entropy,onnxruntime min-max"
    assert run("--images", "2,60", "--methods", methods) == [
        (2, "onnxruntime entropy"),
        (2, "onnxruntime min-max"),
        (60, "onnxruntime min-max"),
    ]


def test_groups_before_a_failure_are_kept(run, calibrate, log, monkeypatch):
    def fails(model, images, count, *rest, measured=calibrate.measured):
        if count == 2:
            raise RuntimeError("out of memory")
        return measured(model, images, count, *rest)

    monkeypatch.setattr(calibrate, "measured", fails)
    with pytest.raises(RuntimeError):
        run("--images", "1,2", "--methods", "T0,ours")
    assert run.written == [(1, "T0"), (1, "ours")]


def test_processes_are_measured(run):
    assert run("--images", "2", "--methods", "T0,ours") == [(2, "T0"), (2, "ours")]


def test_versions_of_what_is_not_installed(calibrate, tmp_path, monkeypatch, capsys):
    import results

    monkeypatch.setattr(results, "PACKAGES", ("pytest", "distributed-not-here"))
    results.save("name", [{"a": 1}], path=tmp_path / "name.json", rounds=2)
    written = json.loads((tmp_path / "name.json").read_text())
    assert written["versions"] == {"pytest": pytest.__version__, "distributed-not-here": "not installed"}
    assert (written["rounds"], written["results"]) == (2, [{"a": 1}])
    assert "distributed-not-here not installed" in capsys.readouterr().out
