"""The command line as a user meets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from trt_int8.cli import main


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Run ``trt-int8 …``, which has to end with exit code ``code`` and without a traceback."""

    def invoke(*arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        # click's own exits only: a traceback would be another exception
        assert isinstance(result.exception, SystemExit | type(None)), result.exception
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def run(invoke: Callable[..., Result]) -> Callable[..., str]:
    """The same; returns what it printed, stdout and stderr together."""
    return lambda *arguments, code=0: invoke(*arguments, code=code).output


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, digits: dict[str, np.ndarray]) -> Path:
    """A folder of digits: calibration.npz, and evaluation.npz with labels."""
    folder = tmp_path_factory.mktemp("data")
    np.savez(folder / "calibration.npz", data=digits["calibration"][:30])
    np.savez(folder / "evaluation.npz", data=digits["evaluation"][:50], labels=digits["labels"][:50])
    return folder
