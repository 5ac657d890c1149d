"""Run commands of trt-int8 and let one of the operations that write files fail.

Reads requests, one JSON document a line, from stdin: ``{"folder", "argv", "kind", "at"}``. Each runs in a child of
this process, which has imported what commands need. Operation number ``at``, from 1, is met by

- ``kill``: SIGKILL before it;
- ``interrupt``: SIGINT, as from Ctrl-C, before it;
- ``full``: a full disk: it raises, and of data that is written half is.

Answers ``{"status": as of os.waitpid, "operations": names in order, or null if it was killed}``.
"""

import errno
import importlib
import json
import os
import signal
import sys
import tempfile

from trt_int8.cli import main
from trt_int8.engine import log
from trt_int8.files import atomic

OPERATIONS = {"fsync", "fchmod", "replace", "rename", "link", "unlink", "mkstemp"}


class Faults:
    def __init__(self, kind, at):
        self.kind, self.at, self.names = kind, at, []

    def meet(self, name, half=None):
        self.names.append(name)
        if len(self.names) != self.at:
            return
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        elif self.kind == "full" and name != "unlink":
            if half is not None:
                half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def module(self, real):
        """Return a stand-in for a module whose operations can fail."""
        return Module(self, real)


class Module:
    def __init__(self, faults, real):
        self._faults, self._real = faults, real

    def __getattr__(self, name):
        real = getattr(self._real, name)
        if name == "fdopen":
            return lambda *arguments: File(self._faults, real(*arguments))
        if name not in OPERATIONS:
            return real

        def call(*arguments, **named):
            self._faults.meet(name)
            return real(*arguments, **named)

        return call


class File:
    """A file whose writes can fail."""

    def __init__(self, faults, real):
        self._faults, self._real = faults, real

    def __getattr__(self, name):
        return getattr(self._real, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._real.close()

    def write(self, data):
        def half():
            self._real.write(bytes(data)[: len(data) // 2])
            self._real.flush()

        self._faults.meet("write", half)
        return self._real.write(data)


def child(request, answer):
    os.chdir(request["folder"])
    for stream, name in ((1, "stdout"), (2, "stderr")):
        target = os.open(os.path.join("..", name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(target, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faults = Faults(request["kind"], request["at"])
    atomic.os, atomic.tempfile = faults.module(os), faults.module(tempfile)
    log.os = atomic.os
    code = 99
    try:
        main(request["argv"])
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(answer, json.dumps(faults.names).encode())
        os._exit(code)


def run(request):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        child(request, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        names = pipe.read()
    _, status = os.waitpid(pid, 0)
    return {"status": status, "operations": json.loads(names) if names else None}


if __name__ == "__main__":
    for heavy in ("onnxruntime", "trt_int8.pipeline.build"):
        importlib.import_module(heavy)  # once, not in each child
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
