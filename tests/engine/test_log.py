import io
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
        partial = path.with_name("b.log.partial")
        assert partial.read_text() == "[V] one\ntwo\n[W] careful\n"  # there before the end
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
    log._file.close()
    log._file = FullDisk()
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
    with pytest.raises(OutputError, match="cannot write the log"):
        BuildLog(tmp_path / "no" / "b.log")


@pytest.mark.parametrize(
    ("engine", "log"),
    [("a.engine", "a.log"), ("a.plan", "a.log"), ("yolo.fp16", "yolo.fp16.log"), ("x.log", "x.log.log")],
)
def test_the_log_goes_beside_the_engine(engine, log):
    assert default_log(Path(engine)) == Path(log)
