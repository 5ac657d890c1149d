"""Calibration on real Dask workers: processes of this machine."""

import functools
import itertools
import os

import numpy as np
import onnx
import pytest
from distributed import LocalCluster

from trt_int8 import progress
from trt_int8.batches import ArraySamples, batched
from trt_int8.batches.opening import open_data
from trt_int8.batches.readable import ReadableBatches
from trt_int8.calibration import calibrate, collect
from trt_int8.calibration.dask import cluster, collect_on
from trt_int8.calibration.dask.collect import _MergeTree
from trt_int8.calibration.histograms import to_bytes
from trt_int8.errors import DataError
from trt_int8.graph.inputs import input_specs

# A source for the workers, which notes what it reads, and kills the first worker to read sample 23.
SOURCE = """
import os, signal
from pathlib import Path
import numpy as np

HERE = Path(__file__).parent

class Noted:
    place = "the noted samples"

    def __init__(self):
        self.images = np.load(HERE / "images.npy", mmap_mode="r")

    def __len__(self):
        return len(self.images)

    def fetch(self, indices):
        if (HERE / "deadly").exists() and 23 in indices:
            (HERE / "deadly").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        with open(HERE / "reads.txt", "a") as file:
            file.writelines(f"{i} {os.getpid()}\\n" for i in indices)
        return {"data": self.images[indices]}

def make():
    return Noted()
"""


@pytest.fixture(scope="module")
def client():
    with cluster(workers=2) as client:
        yield client


@pytest.fixture(scope="module")
def images(digits):
    return digits["calibration"][:60]


@pytest.fixture(scope="module")
def model(lenet_path):
    return onnx.load(lenet_path)


@pytest.fixture(scope="module")
def expected(model, images):
    return to_bytes(collect(model, [{"data": image[None]} for image in images]))


@pytest.fixture
def source(tmp_path, images, model):
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "source.py").write_text(SOURCE)
    return ReadableBatches(functools.partial(open_data, f"{tmp_path}/source.py:make", input_specs(model)), 1)


def reads(source, tmp_path) -> list[tuple[int, int]]:
    return [tuple(map(int, line.split())) for line in (tmp_path / "reads.txt").read_text().splitlines()]


def test_batches_sent_to_the_workers(client, model, images, expected):
    found = collect_on(client, model, ({"data": image[None]} for image in images))
    assert to_bytes(found) == expected
    assert found.samples == 60


def test_paths_are_read_by_the_workers(client, model, source, expected, tmp_path):
    assert to_bytes(collect_on(client, model, source)) == expected
    seen = reads(source, tmp_path)
    assert sorted(i for i, _ in seen) == list(range(60))
    assert os.getpid() not in {pid for _, pid in seen}
    assert len({pid for _, pid in seen}) == 2


def test_a_killed_worker_costs_its_shard_only(model, source, expected, tmp_path):
    with cluster(workers=2) as client:
        (tmp_path / "deadly").touch()
        found = collect_on(client, model, source)
    assert not (tmp_path / "deadly").exists()
    assert to_bytes(found) == expected
    times = [[i for i, _ in reads(source, tmp_path)].count(i) for i in range(60)]
    # Once each, but for the shard of 7 batches (60 over 2 workers, 4 shards each) that was under way, and one
    # that the killed worker may have had no time to hand over.
    assert max(times) <= 2
    assert {i // 7 for i, n in enumerate(times) if n > 1} - {23 // 7} in [set()] + [{i} for i in range(9)]


def test_only_some_tensors(client, model, source, images):
    some = collect_on(client, model, source, tensors=["conv1", "ip1"])
    assert to_bytes(some) == to_bytes(
        collect(model, [{"data": i[None]} for i in images], tensors=["conv1", "ip1"])
    )


def test_an_error_names_the_batch_of_the_whole_data(client, model, images):
    batches = [{"data": image[None]} for image in images]
    batches[17] = {"data": images[17]}
    with pytest.raises(DataError, match=r"the data, batch 17, input 'data': shape is \[1, 28, 28\]"):
        collect_on(client, model, batches)
    with pytest.raises(DataError, match="the data: holds no batches"):
        collect_on(client, model, [])


def test_progress_counts_batches_over_all_workers(client, model, source):
    class Recorder(progress.Display):
        def end(self, phase):
            self.last = (phase.name, phase.total, phase.done)

    with progress.show(Recorder()) as display:
        collect_on(client, model, source)
    assert display.last == ("calibrating on 2 workers", 60, 60)


def test_through_calibrate_and_a_scheduler_address(lenet_path, source, images):
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0") as other:
        found = calibrate(lenet_path, source, scheduler=other.scheduler.address)
    plain = calibrate(lenet_path, [{"data": image[None]} for image in images])
    assert to_bytes(found.histograms) == to_bytes(plain.histograms)
    assert dict(found.ranges) == dict(plain.ranges)


def test_what_is_no_cluster(lenet_path, tmp_path):
    with pytest.raises(ValueError, match="not both"), cluster(scheduler="tcp://h:1", workers=2):
        pass
    with pytest.raises(ValueError, match="workers is 0"), cluster(workers=0):
        pass
    with pytest.raises(ValueError, match="checkpoint and threads are for calibration in this process"):
        calibrate(lenet_path, [], workers=2, checkpoint=tmp_path / "c")


@pytest.mark.parametrize("parts", [1, 2, 3, 5, 8])
def test_tree_merge(model, images, expected, parts):
    merge = _MergeTree()
    for part in np.array_split(images, parts):
        merge.add(collect(model, [{"data": image[None]} for image in part]))
    assert to_bytes(merge.total("")) == expected


@pytest.mark.parametrize(
    "options", [{}, {"last": "drop"}, {"last": "pad"}, {"shuffle": 3, "limit": 17}, {"limit": 3}]
)
@pytest.mark.parametrize("size", [1, 4])
def test_parts_are_the_batches_of_the_whole(images, options, size):
    samples = ArraySamples({"data": images[:22]})
    whole = ReadableBatches(lambda: samples, size, **options)
    expected = (
        [batch["data"] for batch in batched(samples, size, **options)]
        if size < 4 or options != {"limit": 3}
        else [images[:3]]
    )
    count = whole.count()
    assert count == len(expected) == len(list(whole))
    for cuts in ([0, count], [0, 1, count] if count > 1 else [0, count], list(range(count + 1))):
        found = [b["data"] for a, z in itertools.pairwise(cuts) for b in whole.part(a, z)]
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
