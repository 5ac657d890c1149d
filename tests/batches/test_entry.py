"""Data from a Python function that somebody names."""

import sys

import numpy as np
import pytest

from trt_int8.batches import ArraySamples, batches_from, open_data
from trt_int8.batches.entry import call_entry, is_entry
from trt_int8.errors import DataError
from trt_int8.graph import InputSpec

SPECS = {
    "x": InputSpec("x", np.dtype(np.float32), ("n", 2)),
    "ids": InputSpec("ids", np.dtype(np.int64), ("n",)),
}

LOADER = """
import numpy as np
from trt_int8.batches import ArraySamples

def batches():
    for number in range(3):
        yield {"x": np.full((4, 2), number, np.float32), "ids": np.arange(4)}

def tuples():
    return [(np.zeros((4, 2), np.float32), np.arange(4))]

def samples():
    return ArraySamples({"x": np.zeros((5, 2), np.float32), "ids": np.arange(5)})

def number():
    return 7

def broken():
    yield {"x": np.zeros((4, 2), np.float32), "ids": np.arange(4)}
    raise KeyError("image 17")

def fails():
    return 1 / 0

needs_an_argument = lambda folder: []
"""


@pytest.fixture
def loader(tmp_path, monkeypatch):
    (tmp_path / "my_loader_file.py").write_text(LOADER)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_loader_file", None)


def opened(source, **options):
    return list(batches_from(open_data(source, SPECS), 2, **options))


@pytest.mark.parametrize("form", ["my_loader_file.py", "my_loader_file", "./my_loader_file.py"])
def test_a_function_of_a_file_or_a_module(loader, form):
    assert [batch["x"][0, 0] for batch in opened(f"{form}:batches")] == [0, 1, 2]
    assert opened(f"{form}:tuples")[0]["ids"].tolist() == [0, 1, 2, 3]


def test_samples_are_batched(loader):
    assert [len(batch["x"]) for batch in opened("my_loader_file:samples")] == [2, 2, 1]
    assert isinstance(open_data("my_loader_file:samples", SPECS), ArraySamples)


def test_a_limit_counts_samples(loader):
    assert [batch["ids"].tolist() for batch in opened("my_loader_file:batches", limit=6)] == [
        [0, 1, 2, 3],
        [0, 1],
    ]
    assert len(opened("my_loader_file:batches", limit=8)) == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no_file.py:batches", r"no_file\.py: no such file"),
        ("no_module_here:batches", "ModuleNotFoundError: No module named 'no_module_here'"),
        ("my_loader_file:batch", "has no function 'batch'; did you mean 'batches'"),
        ("my_loader_file:zzz", r"has no function 'zzz' \(it has: ArraySamples, batches"),
        ("my_loader_file:number", "returned a int; return an iterable of batches"),
        ("my_loader_file:fails", r"ZeroDivisionError: division by zero \(my_loader_file\.py:23\)"),
        ("my_loader_file:broken", r"KeyError: 'image 17' \(my_loader_file\.py:20\)"),
        ("my_loader_file:needs_an_argument", "TypeError: .*missing 1 required positional argument: 'folder'"),
    ],
)
def test_what_goes_wrong_is_named(loader, source, message):
    with pytest.raises(DataError, match=message):
        opened(source)


def test_ready_batches_are_left_in_order(loader):
    with pytest.raises(DataError, match="returns finished batches, which cannot be shuffled"):
        opened("my_loader_file:batches", shuffle=1)


def test_what_is_taken_for_a_function(tmp_path):
    assert is_entry("a.b:c")
    assert is_entry("/x/y.py:c")
    assert not is_entry("samples.npz")
    assert not is_entry("photos/*.jpg")
    assert not is_entry("C:/x.npz")
    (tmp_path / "a.py:f").write_text("")
    assert not is_entry(str(tmp_path / "a.py:f"))


def test_an_exit_is_an_error(tmp_path):
    (tmp_path / "quits.py").write_text("import sys\n\ndef batches():\n    sys.exit(0)\n")
    with pytest.raises(DataError, match=r"quits\.py:batches: calls sys\.exit\(0\); let it return instead"):
        call_entry(f"{tmp_path / 'quits.py'}:batches")


def test_a_module_that_is_missing_is_no_error_of_importlibs():
    with pytest.raises(DataError) as caught:
        call_entry("nowhere.at.all:f")
    assert str(caught.value) == "nowhere.at.all:f: ModuleNotFoundError: No module named 'nowhere'"
