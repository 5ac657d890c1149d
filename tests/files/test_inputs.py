import os
import socket
import subprocess
import sys
import threading

import pytest

from trt_int8.files import inputs
from trt_int8.files.inputs import MIB, open_input, read_input


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(inputs, "_PATIENCE", 0.2)


def refusal(path, **limit):
    with pytest.raises(OSError, match=r"^\[Errno \d+\] ") as caught:
        read_input(path, **(limit or {"limit": MIB}))
    assert "\n" not in caught.value.strerror
    return caught.value.strerror


def test_a_file_up_to_the_limit(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * MIB)
    assert read_input(path, limit=MIB) == b"x" * MIB
    with open_input(path) as file:
        assert file.read(2) == b"xx"


def test_a_larger_file_is_refused_with_the_numbers_before_it_is_read(tmp_path):
    path = tmp_path / "sparse"
    path.touch()
    os.truncate(path, 2**40)  # reading it would need as much memory
    assert refusal(path, limit=None).startswith("1024 GiB are more than ")
    assert refusal(path, limit=64 * MIB) == "1024 GiB are more than 64 MiB, the limit for such a file"


def test_a_pipe_larger_than_the_limit(tmp_path):
    command = "head -c 1048577 /dev/zero | $0 -c 'from trt_int8.files.inputs import *\nread_input(\"/dev/stdin\", limit=MIB)'"
    run = subprocess.run(["bash", "-c", command, sys.executable], capture_output=True, check=False)
    assert b"it is more than 1 MiB, the limit for such a file" in run.stderr


@pytest.mark.parametrize("path", ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "link"])
def test_pipes_of_the_caller_are_read_however_late_their_data_comes(path, tmp_path):
    if path.startswith("/proc") and not os.path.exists(path):
        pytest.skip("no /proc")
    (tmp_path / "link").symlink_to("/dev/stdin")
    program = (
        "from trt_int8.files import inputs; inputs._PATIENCE = 0.01\n"
        f"print(inputs.read_input({path!r}, limit=9))"
    )
    command = 'sleep 0.3; echo late) | "$0" -c "$1"'
    run = subprocess.run(
        ["bash", "-c", f"({command}", sys.executable, program], cwd=tmp_path, capture_output=True, check=False
    )
    assert run.stdout == b"b'late\\n'\n", run.stderr


def test_a_named_pipe_with_a_writer_is_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"log"))
    writer.start()
    assert read_input(pipe, limit=9) == b"log"
    writer.join()


def test_a_named_pipe_without_a_writer_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert (
        refusal(tmp_path / "pipe")
        == "a named pipe that nobody wrote to for 0.2 seconds; give a regular file or <(command)"
    )


def test_what_is_no_file_is_refused(tmp_path):
    assert refusal(tmp_path) == "Is a directory"
    assert refusal(tmp_path / "no") == "No such file or directory"
    assert refusal("/dev/zero") == "a device or a socket; give a regular file"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert refusal(tmp_path / "socket") == "a device or a socket; give a regular file"
    for name in ("a\0b", "\ud800"):
        assert refusal(name) == "no file can have this name; correct it"


def test_the_null_device_is_an_empty_file():
    assert read_input(os.devnull, limit=9) == b""
