import os
import stat
import subprocess
import sys

import pytest

from trt_int8.errors import OutputError
from trt_int8.files import atomic


def test_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o640)
    atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["f"]


def test_new_files_get_ordinary_permissions(tmp_path):
    atomic.write_text(tmp_path / "a", "x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_writes_through_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    atomic.write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failure_keeps_the_old_file_and_cleans_up(tmp_path, monkeypatch, step, error):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt):
        atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_messages_say_what_to_do(tmp_path):
    with pytest.raises(
        OutputError, match=r"cannot write .*: the folder .*/no does not exist; create it first"
    ):
        atomic.write_text(tmp_path / "no" / "f", "x")
    with pytest.raises(OutputError, match="it is a folder; give a file name"):
        atomic.write_text(tmp_path, "x")


def test_what_is_no_file_is_written_to_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic.write_bytes(pipe, b"through the pipe")
    assert os.read(reader, 100) == b"through the pipe"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_long_names(tmp_path):
    path = tmp_path / ("x" * 250)
    atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_standard_output_goes_on_even_if_it_is_a_file(tmp_path):
    code = "from trt_int8.files import atomic; print('before', flush=True); atomic.write_text('/dev/stdout', 'x'); print('after')"
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\nxafter\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
