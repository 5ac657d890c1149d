import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile

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


def test_a_read_only_file_is_refused_by_root_too(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o444)
    for write in (lambda: atomic.write_bytes(path, b"new"), lambda: atomic.require_writable(path)):
        with pytest.raises(OutputError, match="f: it is read-only; make it writable, or choose another name"):
            write()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_set_user_id_is_not_copied(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o6755)
    atomic.write_bytes(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_has_is_not(tmp_path):
    code = "import os, sys; from trt_int8.files.atomic import Staged; Staged(sys.argv[1]); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "f"], check=False)
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".f.")
    (tmp_path / ".f.somebody.tmp").write_text("another program's")
    with atomic.Staged(tmp_path / "f") as other:
        assert sorted(os.listdir(tmp_path)) == sorted([".f.somebody.tmp", other.path.name])
        atomic.write_text(tmp_path / "f", "new")
        assert other.path.exists()
    assert sorted(os.listdir(tmp_path)) == [".f.somebody.tmp", "f"]


def pair(folder, text, *, fail=lambda: None):
    with atomic.Staged(folder / "m") as main, atomic.Staged(folder / "m.log") as log:
        for staged in (main, log):
            staged.write(text.encode())
        fail()
        atomic.commit(main, log)


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize("step", range(1, 6))
def test_results_that_belong_together_are_both_old_if_one_fails(tmp_path, monkeypatch, existed, step):
    if existed:
        pair(tmp_path, "old")
    calls = []

    def failing(do):
        def call(*arguments):
            calls.append(do)
            if len(calls) == step:
                raise OSError(28, "No space left on device")
            return do(*arguments)

        return call

    for name in ("rename", "replace", "fsync"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    if step > (5 if existed else 4):
        pair(tmp_path, "new")
        return
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        pair(tmp_path, "new")
    monkeypatch.undo()
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == ({"m": "old", "m.log": "old"} if existed else {})


def test_files_and_streams_are_written_together(tmp_path, capfd):
    atomic.write_together((tmp_path / "a", b"1"), ("/dev/stdout", b"2"), (tmp_path / "b", b"3"))
    assert capfd.readouterr().out == "2"
    (tmp_path / "b").chmod(0o444)
    with pytest.raises(OutputError, match="b: it is read-only"):
        atomic.write_together((tmp_path / "a", b"4"), (tmp_path / "b", b"5"))
    assert [(tmp_path / name).read_text() for name in "ab"] == ["1", "3"]


def test_several_writers_never_mix_their_results(tmp_path):
    """A reader may find no log, but never one of another writer."""
    code = (
        "import sys; from pathlib import Path; from trt_int8.files import atomic\n"
        "folder, text = Path(sys.argv[1]), sys.argv[2].encode()\n"
        "for _ in range(100):\n"
        "    with atomic.Staged(folder / 'm') as main, atomic.Staged(folder / 'm.log') as log:\n"
        "        main.write(text), log.write(text)\n"
        "        atomic.commit(main, log)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, tmp_path, str(n)]) for n in range(3)]
    while any(writer.poll() is None for writer in writers):
        pass
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert sorted(os.listdir(tmp_path)) == ["m", "m.log"]
    assert (tmp_path / "m").read_text() == (tmp_path / "m.log").read_text()


def test_ctrl_c_waits_until_results_that_belong_together_are_in_place(tmp_path, monkeypatch):
    real = os.replace

    def interrupted(*arguments):
        real(*arguments)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(os, "replace", interrupted)
    with atomic.recorded() as written, pytest.raises(KeyboardInterrupt):
        pair(tmp_path, "new")
    assert [path.name for path in written] == ["m", "m.log"]
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"m": "new", "m.log": "new"}


def test_all_is_as_before_where_there_are_no_hard_links(tmp_path, monkeypatch):
    pair(tmp_path, "old")
    real, moves = os.replace, []

    def refuse(old, new):
        moves.append(new)
        if len(moves) == 2:
            raise OSError(5, "Input/output error")
        real(old, new)

    def unsupported(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unsupported)
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match="Input/output error"):
        pair(tmp_path, "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"m": "old", "m.log": "old"}


def test_a_lock_that_stays_is_passed_over(tmp_path, monkeypatch):
    """Whoever can read a folder can lock it."""
    monkeypatch.setattr(atomic, "_PATIENCE", 0.1)
    other = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    pair(tmp_path, "new")
    os.close(other)
    assert sorted(os.listdir(tmp_path)) == ["m", "m.log"]


UNREADABLE = """
import os, sys
from pathlib import Path
from trt_int8.files import atomic
folder = Path(sys.argv[1])
if os.geteuid() == 0:
    os.chown(folder, 65534, 65534)
    os.setegid(65534), os.seteuid(65534)
folder.chmod(0o333)
atomic.require_writable(folder / "m")
atomic.write_text(folder / "m", "new")
with atomic.Staged(folder / "m") as main, atomic.Staged(folder / "log") as log:
    atomic.commit(main, log)
folder.chmod(0o755)
print(*sorted(os.listdir(folder)))
"""


def test_a_folder_that_cannot_be_read_can_be_written():
    with tempfile.TemporaryDirectory() as folder:  # other users do not come to that of the tests
        os.chmod(folder, 0o755)
        command = [sys.executable, "-c", UNREADABLE, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("log m\n", "")


def test_a_stream_that_cannot_be_written_is_found_before(tmp_path):
    code = "import sys; from trt_int8.files.atomic import require_writable; require_writable(sys.argv[1])"
    with (tmp_path / "in").open("w+") as file:
        for name in ("/dev/stdin", "/dev/fd/9"):
            command = [sys.executable, "-c", code, name]
            with open(__file__) as stdin:
                done = subprocess.run(command, stdin=stdin, capture_output=True, text=True, check=False)
            assert f"OutputError: cannot write {name}: " in done.stderr
        subprocess.run([sys.executable, "-c", code, "/dev/stdout"], stdout=file, check=True)


FULL = """
import subprocess, sys
from pathlib import Path
from trt_int8.files import atomic
path = Path(sys.argv[1])
mounted = path.with_name("small")
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", mounted], check=True)
(mounted / "b").write_bytes(b"old" * 1000)
subprocess.run(["mount", "--bind", mounted / "b", path], check=True)
try:
    atomic.write_bytes(path, b"n" * 1_000_000)
finally:
    assert path.read_bytes() == b"old" * 1000
"""


def test_a_mounted_file_stays_if_there_is_no_room_for_the_new_content(tmp_path):
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root and the right to unshare")
    (tmp_path / "f").touch()
    (tmp_path / "small").mkdir()
    command = ["unshare", "-m", sys.executable, "-c", FULL, tmp_path / "f"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "OutputError: cannot write" in done.stderr
    assert "No space left on device" in done.stderr
    assert "AssertionError" not in done.stderr


MOUNTED = """
import subprocess, sys
from pathlib import Path
from trt_int8.files import atomic
path = Path(sys.argv[1])
subprocess.run(["mount", "--bind", path.with_name("b"), path], check=True)
atomic.require_writable(path)
atomic.write_bytes(path, b"new")
import os
os.chdir(path.parent)
with atomic.Staged("f", follow=False) as staged:
    staged.write(b"once more, by a relative name")
    atomic.commit(staged)
"""


@pytest.mark.parametrize("folder", ["folder", "with a space"])
def test_a_mounted_file_is_written_in_place(tmp_path, folder):
    (tmp_path / folder).mkdir()
    path, mounted = tmp_path / folder / "f", tmp_path / folder / "b"
    path.write_bytes(b"")
    mounted.write_bytes(b"old and longer")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root and the right to unshare")
    command = ["unshare", "-m", sys.executable, "-c", MOUNTED, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == 2 * (
        f"{path} is a mount point, so it was written in place; other readers may have seen a part of it\n"
    )
    assert mounted.read_bytes() == b"once more, by a relative name"
    assert sorted(os.listdir(tmp_path / folder)) == ["b", "f"]


def test_what_cannot_be_written_is_found_before(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "pool")
    (tmp_path / "pool").symlink_to(tmp_path / "loop")
    (tmp_path / "away").symlink_to(tmp_path / "no" / "f")
    (tmp_path / "file").touch()
    for path, message in (
        (tmp_path / ("x" * 256), "the name is too long; choose a shorter one"),
        (tmp_path / "loop", "it is a link that leads back to itself; choose another name"),
        (tmp_path / "away", "the folder .*/no does not exist; create it first"),
        (tmp_path / "file" / "f", "the folder .*/file does not exist; create it first"),
        (f"{tmp_path}/new/", "it is a folder; give a file name"),
        ("/dev/fd/987", "Bad file descriptor"),
        ("f\0", "embedded null byte; choose another name"),
    ):
        with pytest.raises(OutputError, match=message):
            atomic.require_writable(path)
        with pytest.raises(OutputError, match=message):
            atomic.write_bytes(path, b"new")
    assert sorted(os.listdir(tmp_path)) == ["away", "file", "loop", "pool"]


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
