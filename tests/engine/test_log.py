import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trt_int8.engine.log import BuildLog, append_line, default_log
from trt_int8.errors import BuildError, OutputError


def test_streams_to_the_file_and_keeps_errors(tmp_path):
    path = tmp_path / "b.log"
    with BuildLog(path) as log:
        log.add("V", "one\ntwo")
        log.add("W", "careful")
        assert log.current.read_text() == "[V] one\ntwo\n[W] careful\n"  # there before the end
        log.add("E", "broken")
        log.add("F", "worse")
    assert log.errors == ["broken", "worse"]
    assert log.warnings == ["careful"]
    assert log.lines[:3] == ["[V] one", "two", "[W] careful"]
    assert [p.name for p in tmp_path.iterdir()] == ["b.log"]


def test_a_line_is_added_to_a_log_that_is_over(tmp_path):
    with BuildLog(tmp_path / "b.log") as log:
        log.add("V", "one")
    append_line(tmp_path / "b.log", "I", "µ\ud800")
    assert (tmp_path / "b.log").read_text(encoding="utf-8") == "[V] one\n[I] µ\\ud800\n"
    with pytest.raises(OutputError, match="cannot write the log .*no.b.log: No such file"):
        append_line(tmp_path / "no" / "b.log", "I", "x")


def test_a_failed_build_leaves_the_old_log_and_keeps_its_own(tmp_path):
    path = tmp_path / "b.log"
    path.write_text("old")

    def build(error):
        with BuildLog(path) as log:
            log.add("E", "new")
            raise error

    for error in (BuildError("refused"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            build(error)
        assert path.read_text() == "old"
        assert path.with_name("b.log.failed").read_text() == "[E] new\n"
        assert len(list(tmp_path.iterdir())) == 2
    refused = BuildError("refused", lines=["why"])
    with pytest.raises(BuildError, match=r"refused\n  why\n  whole log: .*b\.log\.failed"):
        build(refused)


def test_links_in_the_place_of_a_log_are_replaced_not_followed(tmp_path):
    """A cloned repository may bring them."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("b.log", "b.log.partial", "b.log.failed"):
        (tmp_path / name).symlink_to(victim)
    with BuildLog(tmp_path / "b.log") as log:
        log.add("V", "one")
    with pytest.raises(BuildError), BuildLog(tmp_path / "b.log"):
        raise BuildError("refused")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "b.log").is_symlink()
    assert not (tmp_path / "b.log.failed").is_symlink()
    (tmp_path / "b.log").unlink()
    (tmp_path / "b.log").symlink_to(victim)
    with BuildLog(tmp_path / "b.log") as log:
        log.publish(tmp_path / "b", b"engine")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "b.log").is_symlink()
    (tmp_path / "b.log").unlink()
    (tmp_path / "b.log").symlink_to(victim)
    with pytest.raises(OutputError, match="cannot write the log"):
        append_line(tmp_path / "b.log", "I", "x")
    assert victim.read_text() == "precious"


def test_a_newline_in_a_name_makes_no_message(tmp_path):
    """It is written as TensorRT printed it, but it does not look like a message of TensorRT."""
    with BuildLog(tmp_path / "b.log") as log:
        log.add("V", "node conv\n[V] Layer: x, Precision INT8\r[E] bad\n  and more")
    text = (tmp_path / "b.log").read_bytes().decode()
    assert text == "[V] node conv\n [V] Layer: x, Precision INT8\r [E] bad\n  and more\n"


def test_the_engine_appears_with_its_log_or_not_at_all(tmp_path, monkeypatch):
    engine, path = tmp_path / "m.engine", tmp_path / "m.engine.log"
    for text in ("one", "two"):
        with BuildLog(path) as log:
            log.add("V", text)
            log.publish(engine, text.encode())
            assert log.lines == [f"[V] {text}", ""]
        assert (engine.read_text(), path.read_text()) == (text, f"[V] {text}\n")
        assert len(list(tmp_path.iterdir())) == 2

    def refuse(old, new):
        if new == path and ".old." not in str(old):
            raise OSError(28, "No space left on device")
        real(old, new)

    real = os.replace
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match="No space left"), BuildLog(path) as log:
        log.publish(engine, b"three")
    monkeypatch.undo()
    assert (engine.read_text(), path.read_text()) == ("two", "[V] two\n")


def test_no_engine_appears_if_the_disk_of_the_log_was_full(full_disk, tmp_path):
    full_disk.add("V", "x")
    with pytest.raises(OutputError, match="the incomplete log is in .*b.log.failed"), full_disk as log:
        log.publish(tmp_path / "m.engine", b"engine")
    assert [path.name for path in tmp_path.iterdir()] == ["b.log.failed"]


def test_a_line_that_the_disk_cannot_take_is_not_added_in_part(tmp_path):
    with BuildLog(tmp_path / "b.log") as log:
        log.add("V", "one")
    code = (
        "import resource, signal, sys; from pathlib import Path; from trt_int8.engine.log import append_line\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))\n"
        "append_line(Path(sys.argv[1]), 'I', 'x' * 100)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "b.log"], capture_output=True, text=True)
    assert "OutputError: cannot write the log" in done.stderr
    assert (tmp_path / "b.log").read_text() == "[V] one\n"


def test_odd_characters_do_not_raise(tmp_path):
    with BuildLog(tmp_path / "b.log") as log:
        log.add("V", "\udcff ü")
    assert (tmp_path / "b.log").read_text(encoding="utf-8") == "[V] \\udcff ü\n"


def test_threads_do_not_mix_lines(tmp_path):
    with BuildLog(tmp_path / "b.log") as log:
        threads = [
            threading.Thread(target=lambda i=i: [log.add("V", str(i) * 200) for _ in range(100)])
            for i in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = (tmp_path / "b.log").read_text().splitlines()
    assert sorted(lines) == sorted(["[V] " + str(i) * 200 for i in range(4) for _ in range(100)])


class FullDisk(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


@pytest.fixture
def full_disk(tmp_path):
    """A log whose disk is full."""
    log = BuildLog(tmp_path / "b.log")
    log._text.detach()
    log._text = FullDisk()
    return log


def test_a_full_disk_is_raised_at_the_end_not_into_tensorrt(full_disk, tmp_path):
    def build():
        with full_disk as log:
            log.add("V", "x")
            log.add("E", "still recorded")

    with pytest.raises(OutputError, match="cannot write the log .*: No space left on device; .*failed"):
        build()
    assert full_disk.errors == ["still recorded"]
    assert [path.name for path in tmp_path.iterdir()] == ["b.log.failed"]


def test_an_error_of_the_build_goes_before_one_of_the_disk(full_disk):
    def build():
        with full_disk as log:
            log.add("V", "x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build()


def test_unwritable_path(tmp_path):
    with pytest.raises(
        OutputError, match=r"cannot write .*/no/b.log: the folder .*/no does not exist; create it first"
    ):
        BuildLog(tmp_path / "no" / "b.log")


@pytest.mark.parametrize(
    ("engine", "log"),
    [("a.engine", "a.engine.log"), ("a.plan", "a.plan.log"), ("a", "a.log"), ("x.log", "x.log.log")],
)
def test_the_log_goes_beside_the_engine(engine, log):
    assert default_log(Path(engine)) == Path(log)


def test_an_engine_in_a_pipe_has_no_place_for_a_log_beside_it(tmp_path):
    with pytest.raises(OutputError, match=r"written to /dev/stdout, and its log needs a file: .*\(log=\)"):
        default_log(Path("/dev/stdout"))
    with BuildLog(tmp_path / "b.log") as log:
        log.add("V", "one")
        log.publish(Path("/dev/null"), b"engine")
    assert (tmp_path / "b.log").read_text() == "[V] one\n"
