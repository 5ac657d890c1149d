"""What may be at the address of a scheduler, and is none; workers that cannot start."""

import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from distributed import LocalCluster

from trt_int8.calibration.dask.cluster import cluster, require_scheduler
from trt_int8.errors import CalibrationError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def other_program():
    """A port that takes a connection and says ``what``."""
    servers = []

    def listen(what=b""):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve():
            connection, _ = server.accept()
            connection.sendall(what)
            connection.recv(1 << 20)
            servers.append(connection)

        threading.Thread(target=serve, daemon=True).start()
        return f"tcp://127.0.0.1:{server.getsockname()[1]}"

    yield listen
    for server in servers:
        server.close()


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"])
def test_another_program_is_no_scheduler(says, other_program):
    address = other_program(says)
    with pytest.raises(CalibrationError) as caught:
        require_scheduler(address, patience=0.5)
    assert str(caught.value).startswith(f"no Dask scheduler answers at {address} (")
    assert str(caught.value).endswith("); give the address that dask scheduler prints when it starts")


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "tcp://localhost", "what://ever:1", "tcp://127.0.0.1:x"]
)
def test_nothing_answers(address):
    with pytest.raises(CalibrationError, match=f"no Dask scheduler answers at {address} "):
        require_scheduler(address, patience=0.5)


@pytest.mark.parametrize(
    ("address", "instead"),
    [
        ("localhost", "tcp://localhost:8786"),
        ("http://127.0.0.1:8787/status", "tcp://127.0.0.1:8786"),
        ("", "tcp://host:8786"),
        ("tcp://[::1", "tcp://host:8786"),
    ],
)
def test_what_is_no_address(address, instead):
    with pytest.raises(CalibrationError) as caught, cluster(scheduler=address):
        pass
    assert str(caught.value) == (
        f"{address!r} is not the address of a Dask scheduler; give the one that dask scheduler prints, such as {instead}"
    )


def test_schedulers_and_workers():
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", processes=False
    ) as local:
        # As in a notebook, whose loop is running.
        async def inside():
            require_scheduler(local.scheduler.address, patience=5)

        asyncio.run(inside())
        (worker,) = local.workers.values()
        with pytest.raises(
            CalibrationError, match="is the address of a Dask Worker; give the address of its scheduler"
        ):
            require_scheduler(worker.address, patience=5)


@pytest.mark.slow
def test_a_script_without_a_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from trt_int8.calibration.dask.cluster import cluster\n"
        "with cluster(workers=1):\n"
        "    print('started')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "would start more; in a Python script, start them inside if __name__ ==" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "trt_int8.errors.CalibrationError: 1 Dask workers cannot be started (Nanny failed to start.); calibrate in "
        "this process, without workers, or, in a Python script, start them inside if __name__ == '__main__':"
    )
    text = script.read_text().replace("with cluster", "if __name__ == '__main__':\n  with cluster")
    script.write_text(text)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr
