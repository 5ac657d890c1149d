import signal
import threading
import traceback

import numpy as np
import pytest
from stand_ins import CACHE, Calibrator, batch, calibrate

from trt_int8.errors import CalibrationError, DataError, OutputError
from trt_int8.streamer.device import HostDevice


def make(batches, **options):
    return Calibrator(batches, device=HostDevice(), **options)


class CountingDevice(HostDevice):
    """Keeps its streams, to see that they are closed."""

    def __init__(self):
        self.streams = []

    def stream(self, batches):
        self.streams.append(super().stream(batches))
        return self.streams[-1]


def test_batches_arrive_in_order_and_end():
    calibrator = make([batch(0), batch(10), batch(20)])
    assert calibrator.get_batch_size() == 2
    assert calibrate(calibrator) == [[[0, 1, 2, 3]], [[10, 11, 12, 13]], [[20, 21, 22, 23]]]
    calibrator.raise_if_failed()


def test_asking_for_the_batch_size_loses_no_batch_of_a_generator():
    calibrator = make(batch(start) for start in (0, 10))
    assert [calibrator.get_batch_size() for _ in range(3)] == [2, 2, 2]
    assert len(calibrate(calibrator)) == 2


def test_pointers_are_in_the_order_of_the_names():
    data = [{"a": np.full((1, 4), 1, np.float32), "b": np.full((1, 4), 2, np.float32)}]
    assert calibrate(make(data), ("b", "a")) == [[[2, 2, 2, 2], [1, 1, 1, 1]]]
    assert calibrate(make(data), ("a", "b")) == [[[1, 1, 1, 1], [2, 2, 2, 2]]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("x", "mask"), r"batch 0: the network's input 'mask' is missing; the batch has x"),
        (("images",), r"'images' is missing"),
        (("x1",), r"did you mean 'x'"),
    ],
)
def test_an_input_missing_in_the_batch_is_refused(names, message):
    calibrator = make([batch(0)])
    assert calibrate(calibrator, names) == []
    with pytest.raises(DataError, match=message):
        calibrator.raise_if_failed()


def test_an_input_unknown_to_the_network_is_refused():
    calibrator = make([{**batch(0), "labels": np.zeros((2, 1), np.float32)}])
    assert calibrate(calibrator) == []
    with pytest.raises(DataError, match=r"batch 0: the network has no input 'labels'; its inputs are x"):
        calibrator.raise_if_failed()


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, MemoryError, GeneratorExit])
def test_what_the_loader_raises_is_raised_after_the_build_with_its_traceback(kind, tmp_path):
    def loader():
        yield batch(0)
        broken_line(kind)

    def broken_line(kind):
        raise kind("sample 2 is damaged")

    device = CountingDevice()
    calibrator = Calibrator(loader(), cache=tmp_path / "x.cache", device=device)
    assert len(calibrate(calibrator)) == 1
    assert calibrator.failed
    with pytest.raises(kind, match="sample 2 is damaged") as caught:
        calibrator.raise_if_failed()
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "broken_line" in frames
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(CalibrationError, match="closed"):
        device.streams[0].next()


def test_after_an_error_nothing_more_is_asked_of_the_loader():
    asked = []

    class Loader:
        def __iter__(self):
            return self

        def __next__(self):
            asked.append(1)
            raise OSError("disk gone")

    calibrator = make(Loader())
    assert [calibrator.get_batch(["x"]) for _ in range(3)] == [None, None, None]
    assert len(asked) == 1


def test_a_failing_device_is_reported():
    class Broken:
        def stream(self, batches):
            raise RuntimeError("cuMemAlloc failed: out of memory")

    calibrator = Calibrator([batch(0)], device=Broken())
    calibrate(calibrator)
    with pytest.raises(RuntimeError, match="out of memory"):
        calibrator.raise_if_failed()


def test_the_first_error_wins_over_one_from_cleaning_up():
    class Stream:
        def next(self):
            raise ValueError("first")

        def close(self):
            raise RuntimeError("second")

    class Device:
        def stream(self, batches):
            return Stream()

    calibrator = Calibrator([batch(0)], device=Device())
    calibrate(calibrator)
    with pytest.raises(ValueError, match="first") as caught:
        calibrator.raise_if_failed()
    assert str(caught.value.__context__) == "second"


def test_a_disk_that_cannot_take_the_cache_is_reported(tmp_path):
    (tmp_path / "folder").mkdir()
    calibrator = make([batch(0)], cache=tmp_path / "folder" / "x.cache")
    (tmp_path / "folder").rmdir()
    calibrate(calibrator)
    with pytest.raises(OutputError, match="does not exist; create it"):
        calibrator.raise_if_failed()


def test_a_cache_that_could_not_be_written_is_refused_before_anything_is_read(tmp_path):
    def unread():
        raise AssertionError("a batch was read")
        yield

    with pytest.raises(OutputError, match="cannot write .*x.cache: the folder .* does not exist; create it"):
        make(unread(), cache=tmp_path / "missing" / "x.cache")


def test_no_batch_at_all_lists_likely_causes():
    used_up = iter([batch(0)])
    list(used_up)
    calibrator = make(used_up)
    assert calibrate(calibrator) == []
    with pytest.raises(
        CalibrationError, match=r"no batches[\s\S]*generator that was already consumed[\s\S]*empty folder"
    ):
        calibrator.raise_if_failed()


def test_a_short_batch_is_an_error_with_the_fix(tmp_path):
    calibrator = make([batch(0), batch(10, size=1)], cache=tmp_path / "x.cache")
    assert len(calibrate(calibrator)) == 1
    with pytest.raises(
        DataError, match=r"batch 1, input 'x' has 1 samples, but batch 0 has 2.*drop_last=True"
    ):
        calibrator.raise_if_failed()
    assert not (tmp_path / "x.cache").exists()


def test_a_cache_from_a_calibration_that_was_cut_off_unseen_is_not_kept(tmp_path):
    calibrator = make([batch(0), batch(10)], cache=tmp_path / "x.cache")
    calibrator.get_batch(["x"])
    calibrator.write_calibration_cache(memoryview(CACHE))  # as if the next get_batch had raised unseen
    assert not (tmp_path / "x.cache").exists()
    with pytest.raises(CalibrationError, match="interrupted after 1 batches"):
        calibrator.raise_if_failed()


def test_a_builder_that_gives_up_is_not_taken_for_success():
    calibrator = make([batch(0), batch(10)])
    calibrator.get_batch(["x"])
    with pytest.raises(CalibrationError, match="stopped calibration after 1 batches"):
        calibrator.raise_if_failed()


def test_ctrl_c_between_two_callbacks_is_kept_and_raised_after_the_build(tmp_path):
    calibrator = make([batch(0), batch(10)], cache=tmp_path / "x.cache")
    with calibrator.interrupts.held():
        assert calibrator.get_batch(["x"])
        signal.raise_signal(signal.SIGINT)  # would be lost in TensorRT's bindings if it were raised here
        assert calibrator.failed
        assert calibrator.get_batch(["x"]) is None
        calibrator.write_calibration_cache(memoryview(CACHE))
    assert not (tmp_path / "x.cache").exists()
    with pytest.raises(KeyboardInterrupt):
        calibrator.raise_if_failed()


def test_ctrl_c_in_the_loader_stops_it_at_once():
    reached = []

    def loader():
        yield batch(0)
        signal.raise_signal(signal.SIGINT)
        reached.append("the line after Ctrl-C")
        yield batch(10)

    calibrator = make(loader())
    with calibrator.interrupts.held():
        assert len(calibrate(calibrator)) == 1
    assert reached == []
    with pytest.raises(KeyboardInterrupt):
        calibrator.raise_if_failed()


def test_ctrl_c_does_not_tear_a_device_apart_but_pressed_again_it_ends_the_wait():
    class Waiting(HostDevice):
        """Presses Ctrl-C while it is at work."""

        def __init__(self):
            self.progress = []

        def stream(self, batches):
            self.progress.append("before")
            signal.raise_signal(signal.SIGINT)
            self.progress.append("between")
            signal.raise_signal(signal.SIGINT)
            self.progress.append("after")

    device = Waiting()
    calibrator = Calibrator([batch(0)], device=device)
    with calibrator.interrupts.held():
        assert calibrator.get_batch(["x"]) is None
    assert device.progress == ["before", "between"]
    with pytest.raises(KeyboardInterrupt):
        calibrator.raise_if_failed()


def test_ctrl_c_works_as_ever_after_the_build():
    calibrator = make([batch(0)])
    with calibrator.interrupts.held():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_builds_in_other_threads_leave_signals_alone():
    problems = []

    def build():
        try:
            calibrator = make([batch(0)])
            with calibrator.interrupts.held():
                calibrate(calibrator)
            calibrator.raise_if_failed()
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    thread.join()
    assert problems == []


def test_the_device_is_freed_at_the_end_of_the_data():
    device = CountingDevice()
    calibrate(Calibrator([batch(0)], device=device))
    with pytest.raises(CalibrationError, match="closed"):
        device.streams[0].next()


def test_a_second_calibration_without_data_is_an_error():
    calibrator = make([batch(0)])
    calibrate(calibrator)
    assert calibrator.get_batch(["x"]) is None
    with pytest.raises(CalibrationError, match="new calibrator per build"):
        calibrator.raise_if_failed()


def test_a_second_calibration_of_the_same_build_gets_the_result_of_the_first():
    calibrator = make([batch(0)])
    calibrate(calibrator)
    assert calibrate(calibrator) == CACHE
    calibrator.raise_if_failed()


def test_summary_of_a_calibration(tmp_path):
    cache = tmp_path / "x.cache"
    calibrator = make([batch(0), batch(10)], cache=cache)
    calibrate(calibrator)
    assert calibrator.summary().explain() == (
        f"calibration: 2 scales (EntropyCalibration2) from 2 batches of 2, written to {cache}"
    )


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"quantized": True, "int8": True}, "never called: the network has Q/DQ layers"),
        ({"quantized": False, "int8": False}, "never called: the builder's INT8 flag is not set"),
        ({"quantized": False, "int8": True}, "every tensor has a dynamic range already"),
        ({}, "int8_calibrator was not set"),
    ],
)
def test_a_calibrator_that_was_never_called_says_why(known, message):
    calibrator = make([batch(0)])
    calibrator.raise_if_failed()
    assert message in calibrator.summary().explain(**known)
