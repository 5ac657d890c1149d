"""A short run of the coverage-guided fuzzer; a long one: ATHERIS_SECONDS=3600 pytest tests/report/test_atheris.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import CORPUS

pytest.importorskip("atheris", reason="atheris is not installed (no wheel for this Python)")

HERE = Path(__file__).parent
SECONDS = int(os.environ.get("ATHERIS_SECONDS", "10"))


@pytest.mark.slow
@pytest.mark.parametrize(("target", "seeds"), [("log", HERE / "logs"), ("json", CORPUS / "layer_info")])
def test_fuzzing_finds_nothing(target, seeds, tmp_path):
    if not seeds.is_dir():
        pytest.skip(f"no corpus at {CORPUS}")
    run = subprocess.run(
        [sys.executable, HERE / "atheris_report.py", target, str(SECONDS), seeds],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    assert list(tmp_path.iterdir()) == []
    runs = int(run.stderr.split("stat::number_of_executed_units:")[1].split()[0])
    assert runs > 0
