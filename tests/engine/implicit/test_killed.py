"""SIGKILL at any moment of a write leaves the old file or the new one."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from trt_int8.engine.implicit.fingerprint import Fingerprint
from trt_int8.engine.implicit.store import CacheStore
from trt_int8.errors import CacheError

# Dies at one line of the code that writes, each line in turn: the parent says which.
AT_A_LINE = """
import os, signal, sys
from trt_int8.files import atomic
from trt_int8.engine.implicit.fingerprint import Fingerprint
from trt_int8.engine.implicit.store import CacheStore

path = sys.argv[1]
OLD, NEW = ("TRT-8601-EntropyCalibration2\\nx: %08x\\n".encode() % n for n in (1, 2))

def write():
    CacheStore(path).save(NEW, Fingerprint(batch_size=2))

def killed_at(line):
    left = line
    def trace(frame, event, argument):
        nonlocal left
        if not frame.f_code.co_filename.endswith(("atomic.py", "store.py")):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace
    child = os.fork()
    if child == 0:
        sys.settrace(trace)
        write()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])

line, seen = 1, []
while True:
    CacheStore(path).save(OLD, Fingerprint(batch_size=1))
    killed = killed_at(line)
    cache, sidecar = open(path, "rb").read(), open(path + ".json").read()
    assert cache in (OLD, NEW), (line, cache)
    half = [fingerprint.to_json(content) for fingerprint, content in
            ((Fingerprint(batch_size=1), OLD), (Fingerprint(batch_size=2), NEW))]
    assert sidecar in half, (line, sidecar)
    seen.append((cache == NEW, sidecar == half[1]))
    if not killed:
        break
    line += 1
print(line, *sorted(set(seen)), sep="|")
"""

# Writes an engine over and over, until it is killed.
OVER_AND_OVER = """
import sys
from trt_int8.files import atomic

contents = [bytes([n]) * (4 << 20) for n in (1, 2)]
print("started", flush=True)
while True:
    for content in contents:
        atomic.write_bytes(sys.argv[1], content)
"""


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def test_killed_at_each_line_of_a_cache_write(tmp_path):
    command = [sys.executable, "-c", AT_A_LINE, str(tmp_path / "x.cache")]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    lines, *seen = result.stdout.strip().split("|")
    assert int(lines) > 30
    # Nothing yet, the sidecar alone, and both; never a cache that nothing vouches for.
    assert seen == ["(False, False)", "(False, True)", "(True, True)"]


def test_a_cache_that_is_not_its_sidecars_is_refused(tmp_path):
    store = CacheStore(tmp_path / "x.cache")
    old, new = (f"TRT-8601-EntropyCalibration2\nx: {n:08x}\n".encode() for n in (1, 2))
    store.save(old, Fingerprint(batch_size=1))
    store.path.write_bytes(new)
    with pytest.raises(CacheError, match="does not match the calibration cache"):
        store.load(Fingerprint(batch_size=2))
    with pytest.warns(UserWarning, match=r"reused.*x\.cache\.json is damaged or does not match the cache"):
        assert CacheStore(store.path, reuse=True).load(Fingerprint(batch_size=2)) == new


def test_killed_at_any_time_of_an_engine_write(tmp_path):
    engine = tmp_path / "x.engine"
    whole = {bytes([n]) * (4 << 20) for n in (1, 2)}
    moments = random.Random(0)
    for _ in range(15):
        command = [sys.executable, "-c", OVER_AND_OVER, str(engine)]
        with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"started\n"
            time.sleep(moments.uniform(0, 0.05))  # any moment will do: this only spreads them
            process.send_signal(signal.SIGKILL)
        assert not engine.exists() or engine.read_bytes() in whole
    assert engine.exists()
