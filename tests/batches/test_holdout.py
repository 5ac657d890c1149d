import numpy as np
import pytest
from device_arrays import OnDevice

from trt_int8.batches.check import checked
from trt_int8.batches.holdout import HoldOut
from trt_int8.batches.items import DataDigest
from trt_int8.errors import DataError
from trt_int8.graph.inputs import InputSpec

SPECS = {"x": InputSpec("x", np.dtype(np.float32), ("n", 2))}
FIXED = {"x": InputSpec("x", np.dtype(np.float32), (4, 2))}


def batches(count, size=1):
    return [np.full((size, 2), i, np.float32) for i in range(count)]


def numbers(items):
    return [int(batch["x"][0, 0]) for batch in items]


def test_every_fourth_batch_is_held_back():
    data = HoldOut(batches(10), SPECS)
    assert numbers(data.held) == [1, 5, 9]
    assert numbers(data.first) == numbers(data) == [0, 2, 3, 4, 6, 7, 8]
    assert numbers(data) == numbers(data)  # it is read again
    assert data.rows == ((1, 2), (5, 6), (9, 10))


def test_no_more_is_held_back_than_is_evaluated():
    data = HoldOut(batches(40, size=4), SPECS, samples=16)
    assert numbers(data) == [i for i in range(40) if i not in (1, 5, 9, 13)]
    assert numbers(data.held) == [1, 5, 9, 13]
    assert numbers(data.first) == [0, 2, 3, 4]
    assert data.rows == ((4, 8), (20, 24), (36, 40), (52, 56))


def test_an_iterator_is_read_once_and_no_further_than_asked():
    taken = []

    def source():
        for number, batch in enumerate(batches(100)):
            taken.append(number)
            yield batch

    data = HoldOut(source(), SPECS, samples=2)
    assert numbers(data.held) == [1, 5]
    assert taken == [0, 1, 2, 3, 4, 5]
    assert data.once
    assert numbers(data.calibration) == [i for i in range(100) if i not in (1, 5)]
    assert taken == list(range(100))
    with pytest.raises(DataError, match="is an iterator that was already read"):
        list(data)


def test_a_source_that_fills_one_array_again():
    array = np.zeros((1, 2), np.float32)

    def source():
        for number in range(9):
            array[:] = number
            yield {"x": array}

    data = HoldOut(source(), SPECS)
    assert numbers(data.held) == [1, 5]
    assert numbers(data.first) == [0, 2, 3, 4, 6, 7, 8]


def test_few_batches_are_cut():
    data = HoldOut(batches(2, size=10), SPECS)
    assert [len(batch["x"]) for batch in data] == [8, 8]
    assert [len(batch["x"]) for batch in data.held] == [2, 2]
    assert data.rows == ((8, 10), (18, 20))
    assert [len(batch["x"]) for batch in data] == [8, 8]


@pytest.mark.parametrize(("count", "size", "specs"), [(3, 1, SPECS), (1, 4, FIXED), (3, 4, FIXED)])
def test_data_that_cannot_be_divided_is_evaluated_on_itself(count, size, specs):
    data = HoldOut(batches(count, size), specs)
    assert data.held == ()
    assert numbers(data) == list(range(count))
    assert data.evaluation == data.first
    assert data.rows == tuple((i * size, (i + 1) * size) for i in range(count))


def test_batches_are_checked_once():
    data = HoldOut([*batches(1), np.zeros((1, 3), np.float32)], SPECS)
    with pytest.raises(DataError, match="batch 1, input 'x': shape is"):
        list(data)
    with pytest.raises(DataError, match="holds no batches"):
        list(HoldOut([], SPECS))
    good = HoldOut(batches(5), SPECS)
    wrong = {"y": SPECS["x"]}
    assert numbers(checked(good, wrong)) == [0, 2, 3, 4]  # passed on as they are


def test_the_hash_of_all_samples():
    whole = DataDigest()
    for batch in checked(batches(10), SPECS):
        whole.add(batch)
    data = HoldOut(batches(10), SPECS)
    rest = DataDigest()
    for batch in data:
        rest.add(batch)
    assert rest.hexdigest() != whole.hexdigest()
    data.add_held_to(rest)
    assert rest.hexdigest() == whole.hexdigest()


def test_a_calibrator_gets_whole_batches_as_they_are():
    data = HoldOut(batches(3, size=8), SPECS, for_calibrator=True)
    assert data.held == ()
    source = batches(8, size=8)
    data = HoldOut(source, SPECS, for_calibrator=True)
    given = list(data)
    assert given[-1]["x"] is source[-1]  # beyond what is looked at, not even copied
    assert numbers(data.held) == [1, 5]
    assert not data.is_checked


def test_batches_in_gpu_memory_are_not_held_back():
    data = HoldOut([{"x": OnDevice((4, 2))}] * 8, SPECS, for_calibrator=True)
    assert data.evaluation == ()
    assert len(list(data)) == 8


@pytest.mark.parametrize(("on_host", "held"), [(0, []), (2, []), (6, [1, 5])])
def test_a_buffer_in_gpu_memory_is_passed_on_before_it_is_filled_again(on_host, held):
    class Buffer(OnDevice):
        content = 0

    buffer = Buffer((4, 2))

    def source():
        yield from batches(on_host)
        for buffer.content in range(on_host, 10):
            yield {"x": buffer}

    data = HoldOut(source(), SPECS, for_calibrator=True)
    assert numbers(data.held) == held
    seen = [x.content if (x := batch["x"]) is buffer else int(x[0, 0]) for batch in data]
    assert seen == [number for number in range(10) if number not in held]


def test_what_a_device_converts_is_evaluated_as_the_model_takes_it():
    """Bytes in another layout, which cannot be held against the model as they are."""
    pixels = [np.full((2, 4), number, np.uint8) for number in range(8)]

    def convert(batch):
        return {"x": batch["x"].T.astype(np.float32) / 2}

    data = HoldOut([{"x": item} for item in pixels], SPECS, for_calibrator=True, convert=convert)
    assert [batch["x"].dtype for batch in data] == [np.uint8] * 6
    assert [batch["x"].shape for batch in data.evaluation] == [(4, 2), (4, 2)]
    assert [batch["x"][0, 0] for batch in data.evaluation] == [0.5, 2.5]
    converted, raw = DataDigest(), DataDigest()
    for number in (1, 5):
        converted.add(convert({"x": pixels[number]}))
        raw.add({"x": pixels[number]})
    assert data.digest() == converted.hexdigest()
    everything = DataDigest()
    data.add_held_to(everything)  # the calibrator hashes what it was given
    assert everything.hexdigest() == raw.hexdigest()


def test_a_calibrator_may_get_lists_of_numbers():
    data = HoldOut([{"x": [[number, 0.5]]} for number in range(8)], SPECS, for_calibrator=True)
    assert [batch["x"].tolist() for batch in data.held] == [[[1, 0.5]], [[5, 0.5]]]
    assert len(list(data)) == 6
