"""Logs as they come: line ends, compression, encodings, blocks."""

import gzip
from pathlib import Path

import pytest
from sample_builds import BUILD_85, read

from trt_int8.errors import ReportError
from trt_int8.report import PrecisionReport

LOGS = Path(__file__).parent / "logs"


@pytest.mark.parametrize("write", ["crlf", "gzip", "utf-16", "no newline at the end", "bad bytes"])
def test_files_as_they_come(tmp_path, write):
    data = BUILD_85.encode()
    if write == "crlf":
        data = data.replace(b"\n", b"\r\n")
    elif write == "gzip":
        data = gzip.compress(data)
    elif write == "utf-16":
        data = BUILD_85.encode("utf-16")
    elif write == "no newline at the end":
        data = data.rstrip(b"\n")
    else:
        data = b"\xff\xfe\x00 noise \xf0\x28\n".replace(b"\xff\xfe", b"\xc3\x28") + data
    path = tmp_path / "build.log"
    path.write_bytes(data)
    (layer,) = PrecisionReport.from_log(path).last.layers
    (plain,) = read(BUILD_85).last.layers
    shift = 1 if write == "bad bytes" else 0
    assert (layer.name, layer.inputs, layer.outputs) == (plain.name, plain.inputs, plain.outputs)
    assert [(c.formats, c.runner, c.best_time_ms, c.line - shift) for c in layer.candidates] == [
        (c.formats, c.runner, c.best_time_ms, c.line) for c in plain.candidates
    ]


def test_lines_across_block_borders(tmp_path):
    path = tmp_path / "long.log"
    filler = "[V] Searching for input: x\r\n" * 120_000  # three blocks
    path.write_bytes((filler + BUILD_85.replace("\n", "\r\n")).encode())
    (build,) = PrecisionReport.from_log(path).builds
    assert build.layers[0].line == 120_000 + BUILD_85.count("\n")
    assert build.last_line == 120_000 + BUILD_85.count("\n")
    assert build.unrecognized_lines == 0


def test_no_such_file_names_it(tmp_path):
    with pytest.raises(ReportError, match=r"no\.log.*No such file"):
        PrecisionReport.from_log(tmp_path / "no.log")


def test_a_broken_gzip_is_refused(tmp_path):
    path = tmp_path / "a.log.gz"
    path.write_bytes(gzip.compress(BUILD_85.encode())[:-20])
    with pytest.raises(ReportError, match=r"a\.log\.gz"):
        PrecisionReport.from_log(path)


def test_the_same_log_from_lines_and_from_a_file():
    path = LOGS / "rtx_lenet_qdq.log"
    assert (
        PrecisionReport.from_lines(path.read_text().split("\n")).to_dict()
        == PrecisionReport.from_log(path).to_dict()
    )
