"""The scheduler or all workers of a running calibration die: it ends with an error, and does not wait."""

import contextlib
import json
import subprocess
import sys
import time
from concurrent.futures import CancelledError

import numpy as np
import pytest

from trt_int8.calibration import calibrate
from trt_int8.calibration.dask import cluster, collect
from trt_int8.errors import CalibrationError


@contextlib.contextmanager
def started(module, *options):
    command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def processes(tmp_path):
    """A scheduler, its address, and a worker that nobody starts again."""
    file = tmp_path / "scheduler.json"
    with (
        started(
            "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file)
        ) as scheduler,
        started("dask_worker", "--no-nanny", "--nthreads", "1", "--scheduler-file", str(file)) as worker,
    ):
        deadline = time.monotonic() + 60
        while not (file.exists() and (text := file.read_text()).endswith("}")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        address = json.loads(text)["address"]
        while True:
            with contextlib.suppress(CalibrationError), cluster(scheduler=address):
                break
            assert time.monotonic() < deadline
        yield scheduler, worker, address


def digits(dying):
    for number in range(40):
        if number == 10:
            dying.kill()
            dying.wait()
        yield {"data": np.full((1, 1, 28, 28), number % 7, np.float32)}


@pytest.mark.slow
def test_the_scheduler_dies(processes, lenet_path, capfd):
    scheduler, _, address = processes
    with pytest.raises(CalibrationError) as caught:
        calibrate(lenet_path, digits(scheduler), scheduler=address)
    assert str(caught.value) == (
        f"the connection to the Dask scheduler was lost ({type(caught.value.__cause__).__name__}); look into its log, "
        "start it again if it died, and repeat the calibration"
    )
    assert isinstance(caught.value.__cause__, (OSError, CancelledError))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_all_workers_die(processes, lenet_path, monkeypatch):
    _, worker, address = processes
    monkeypatch.setattr(collect, "_PATIENCE", 2)
    with pytest.raises(CalibrationError) as caught:
        calibrate(lenet_path, digits(worker), scheduler=address)
    assert str(caught.value) == (
        "all Dask workers are gone, and none came back within 2 s; look into their logs; if they ran out of memory, "
        "use fewer workers on a machine or set max_memory="
    )
