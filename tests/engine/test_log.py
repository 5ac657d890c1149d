import threading

import pytest

from trt_int8.engine.log import BuildLog
from trt_int8.errors import OutputError


def test_streams_to_the_file_and_keeps_errors(tmp_path):
    path = tmp_path / "b.log"
    with BuildLog(path) as log:
        log.add("V", "one\ntwo")
        log.add("W", "careful")
        assert path.read_text() == "[V] one\ntwo\n[W] careful\n"  # there before the end
        log.add("E", "broken")
        log.add("F", "worse")
    assert log.errors == ["broken", "worse"]
    assert log.warnings == ["careful"]
    assert log.lines[:3] == ["[V] one", "two", "[W] careful"]


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


def test_a_full_disk_is_raised_at_the_end_not_into_tensorrt():
    log = BuildLog("/dev/full")
    log.add("V", "x")
    log.add("E", "still recorded")
    assert log.errors == ["still recorded"]
    with pytest.raises(OutputError, match="cannot write the log /dev/full: No space left on device"):
        log.close()


def test_an_error_of_the_build_goes_before_one_of_the_disk():
    def build():
        with BuildLog("/dev/full") as log:
            log.add("V", "x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        build()


def test_unwritable_path(tmp_path):
    with pytest.raises(OutputError, match="cannot write the log"):
        BuildLog(tmp_path / "no" / "b.log")
