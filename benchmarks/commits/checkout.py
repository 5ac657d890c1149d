"""A commit's files in a folder, and commands that run with them."""

import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

#: Lines of stderr that tell why a command failed.
LAST_LINES = 5


class CommandFailedError(RuntimeError):
    """A command ended with another exit status than 0."""


@dataclass(frozen=True)
class Checkout:
    """One side of the comparison.

    Attributes:
        name: how the table calls it.
        root: the folder that holds the package ``trt_int8``.
    """

    name: str
    root: Path

    @classmethod
    def of_commit(cls, commit, repository, folder):
        """Unpack ``commit`` of ``repository`` into ``folder``, which is made."""
        archive = subprocess.run(
            ["git", "-C", str(repository), "archive", commit], check=True, capture_output=True
        )
        with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        described = subprocess.run(
            ["git", "-C", str(repository), "rev-parse", "--short", commit],
            check=True,
            capture_output=True,
            text=True,
        )
        return cls(described.stdout.strip(), Path(folder))

    @property
    def environment(self):
        """Environment variables with which Python imports this side's package."""
        return {"ORT_DISABLE_TELEMETRY": "1", **os.environ, "PYTHONPATH": str(self.root)}

    def python(self, *arguments, check=True):
        """Run this interpreter with this side's package; return the completed process.

        Raises:
            CommandFailedError: the exit status is not 0 and ``check`` is true.
        """
        # Python looks for modules in the current folder first.
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=self.environment,
            cwd=self.root,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            last = " ".join(done.stderr.strip().splitlines()[-LAST_LINES:])
            raise CommandFailedError(f"{self.name}: exit status {done.returncode}: {last}")
        return done

    def command(self, *arguments, check=True):
        """Run ``trt-int8`` with ``arguments``."""
        return self.python("-m", "trt_int8", *arguments, check=check)

    def require_own_package(self):
        """Raise RuntimeError unless Python imports the package of this folder."""
        told = self.python("-c", "import trt_int8; print(trt_int8.__file__)").stdout.strip()
        if not Path(told).is_relative_to(self.root):
            raise RuntimeError(f"{self.name}: Python imports {told}, which is not in {self.root}")
