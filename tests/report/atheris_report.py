"""Coverage-guided fuzzing of the readers. Not collected by pytest; test_atheris.py runs it for a short time.

``python tests/report/atheris_report.py [log|json] SECONDS [CORPUS FOLDER]`` runs for SECONDS, starting from the
files of the folder. A crash ends it with the input in a file of the working folder.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["trt_int8.report"]):
    from trt_int8.errors import ReportError
    from trt_int8.report import PrecisionReport

HERE = Path(__file__).parent
SCRATCH = Path(tempfile.gettempdir())


def read_log(data: bytes) -> None:
    report = PrecisionReport.from_lines(data.split(b"\n"))
    json.loads(report.to_json())
    report.to_csv()
    report.to_markdown()


def read_json(data: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=SCRATCH, suffix=".json") as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(ReportError):
            report = PrecisionReport.from_layer_information(file.name)
            report.to_json()
            report.with_profile(file.name)


def main() -> None:
    target, seconds = sys.argv[1], int(sys.argv[2])
    folder = sys.argv[3] if len(sys.argv) > 3 else str(HERE / "logs")
    with tempfile.TemporaryDirectory() as found:
        arguments = [
            sys.argv[0],
            f"-max_total_time={seconds}",
            "-timeout=20",
            "-rss_limit_mb=2048",
            "-max_len=60000",
        ]
        # New inputs go to the first folder; the seeds stay as they are.
        atheris.Setup(
            [*arguments, "-print_final_stats=1", found, folder], {"log": read_log, "json": read_json}[target]
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
