import fcntl
import os

import fake_tensorrt
import pytest

from trt_int8.engine.implicit.timing_cache import TimingCache
from trt_int8.errors import CacheError, OutputError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "timing.cache"


def test_begins_empty(path):
    config = fake_tensorrt.IBuilderConfig()
    TimingCache(path).load_into(config)
    assert config._timing._entries == set()
    assert not path.exists()


def test_keeps_what_another_build_added_meanwhile(path):
    cache, config = TimingCache(path), fake_tensorrt.IBuilderConfig()
    cache.load_into(config)
    config._timing._entries.add(b"ours")
    path.write_bytes(b"theirs")
    cache.update_from(config)
    assert path.read_bytes() == b"ours\ntheirs"


@pytest.mark.parametrize("content", [b"damaged", b"other-gpu"])
def test_a_cache_tensorrt_does_not_take_is_refused_and_kept(path, content):
    path.write_bytes(content)
    with pytest.raises(CacheError, match=r"timing\.cache: TensorRT rejected"):
        TimingCache(path).load_into(fake_tensorrt.IBuilderConfig())
    assert path.read_bytes() == content


def test_the_file_is_locked_while_it_is_updated_and_free_while_tensorrt_builds(path, monkeypatch):
    cache, config = TimingCache(path), fake_tensorrt.IBuilderConfig()
    other = os.open(path.parent, os.O_RDONLY)
    seen = []

    def serialize(self):
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seen.append(True)
        return b"x"

    monkeypatch.setattr(fake_tensorrt.ITimingCache, "serialize", serialize)
    cache.load_into(config)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free between the two
    fcntl.flock(other, fcntl.LOCK_UN)
    cache.update_from(config)
    os.close(other)
    assert seen == [True]
    assert os.listdir(path.parent) == ["timing.cache"]


def test_a_missing_folder_is_said(tmp_path):
    with pytest.raises(OutputError, match="does not exist; create it first"):
        TimingCache(tmp_path / "missing" / "timing.cache").load_into(fake_tensorrt.IBuilderConfig())
