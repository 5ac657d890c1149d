"""Progress: what lines say, when they come, and that nothing reaches stdout."""

import io
import re
import threading

import pytest

from trt_int8 import progress
from trt_int8.progress import Display, Lines, Phase
from trt_int8.progress.terminal import Bars, choose


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("phase", "text"),
    [
        (Phase("calibrating", total=100, unit="batches", done=12), "calibrating: 12 of 100 batches (12 %)"),
        (Phase("calibrating", unit="batches", done=7), "calibrating: 7 batches"),
        (Phase("building", total=1, done=0.456), "building: 46 %"),
        (Phase("building", total=1, done=0.5, detail="Timing 1/2"), "building: 50 %, Timing 1/2"),
        (Phase("loading"), "loading"),
    ],
)
def test_what_a_phase_says(phase, text):
    assert str(phase) == text


def test_nothing_is_shown_unless_asked_for(capsys):
    assert list(progress.track(range(3), "working")) == [0, 1, 2]
    progress.note("hello")
    assert capsys.readouterr() == ("", "")


class TestLines:
    def test_a_line_at_each_tick_and_one_at_the_end(self):
        stream = io.StringIO()
        with progress.show(Lines(stream, every=3600)) as lines:
            lines.tick()
            for number in progress.track(range(4), "calibrating", total=4):
                if number == 2:
                    lines.tick()
            assert list(progress.track(range(4), "short")) == [0, 1, 2, 3]
        assert [re.sub(r"\d+ s", "_ s", line) for line in stream.getvalue().splitlines()] == [
            "calibrating: 2 of 4 batches (50 %), _ s",
            "calibrating: 4 of 4 batches (100 %), _ s",
        ]

    def test_the_innermost_phase_is_told(self):
        stream = io.StringIO()
        with progress.show(Lines(stream, every=3600)) as lines, progress.phase("outer"):
            with progress.phase("inner"):
                lines.tick()
            lines.tick()
        assert [line.split(",")[0] for line in stream.getvalue().splitlines()] == [
            "inner",
            "inner",
            "outer",
            "outer",
        ]

    def test_a_thread_ticks_while_work_hangs(self):
        class Stream(io.StringIO):
            written = threading.Event()

            def write(self, text):
                self.written.set()
                return super().write(text)

        stream = Stream()
        with progress.show(Lines(stream, every=0.001)), progress.phase("hanging"):
            assert stream.written.wait(30)
        assert stream.getvalue().startswith("hanging, 0 s\n")
        assert not [thread for thread in threading.enumerate() if thread.name == "progress"]

    def test_notes(self):
        stream = io.StringIO()
        with progress.show(Lines(stream)):
            progress.note("20 images")
        assert stream.getvalue() == "20 images\n"


class TestBars:
    def test_a_bar_with_the_numbers(self):
        terminal = Terminal()
        with (
            progress.show(Bars(terminal)) as bars,
            progress.phase("calibrating", total=8, unit="[bold]batches") as phase,
        ):
            phase.advance(6)
            bars._progress.refresh()
            progress.note("a [note]")
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
        assert "calibrating: 6 of 8 [bold]batches (75 %)" in plain
        assert "a [note]" in plain


def test_which_display_fits():
    assert type(choose(Terminal())) is Bars
    assert type(choose(io.StringIO())) is Lines
    assert type(choose(Terminal(), quiet=True)) is Display


def test_the_interrupted_phase_is_remembered():
    with progress.show(Display()) as display:
        with (
            pytest.raises(ZeroDivisionError),
            progress.phase("outer"),
            progress.phase("inner", lost=lambda: "the log"),
        ):
            raise ZeroDivisionError
        assert (display.interrupted.name, display.interrupted.lost()) == ("inner", "the log")
        with progress.phase("next"):
            pass
        assert display.interrupted is None
