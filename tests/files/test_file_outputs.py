import os

import pytest

from trt_int8.errors import OutputError
from trt_int8.files.outputs import check_outputs


def test_fine_as_they_are(tmp_path):
    (tmp_path / "model.onnx").touch()
    (tmp_path / "old.engine").touch()
    check_outputs(
        {"engine": tmp_path / "old.engine", "log": tmp_path / "new.log"},
        inputs={"model": tmp_path / "model.onnx"},
    )


@pytest.mark.parametrize("link", ["same name", "symbolic", "hard", "dots"])
def test_one_file_under_two_names(tmp_path, link):
    model = tmp_path / "model.onnx"
    model.touch()
    other = tmp_path / "other.onnx"
    if link == "symbolic":
        other.symlink_to(model)
    elif link == "hard":
        os.link(model, other)
    else:
        other = model if link == "same name" else tmp_path / "x" / ".." / "model.onnx"
        (tmp_path / "x").mkdir()
    with pytest.raises(OutputError, match="the engine would overwrite the model .*; choose another name"):
        check_outputs({"engine": other}, inputs={"model": model})


def test_two_results_that_do_not_exist_yet(tmp_path):
    with pytest.raises(OutputError, match="the log would overwrite the engine"):
        check_outputs({"engine": tmp_path / "a", "log": tmp_path / "." / "a"})


def test_nowhere_to_go(tmp_path):
    for path, message in (
        (tmp_path, "it is a folder; give a file name"),
        (tmp_path / "no" / "f", "the folder .*/no does not exist; create it first"),
    ):
        with pytest.raises(OutputError, match=message):
            check_outputs({"engine": path})
    if os.geteuid():  # root may write everywhere
        tmp_path.chmod(0o500)
        with pytest.raises(OutputError, match="is not writable"):
            check_outputs({"engine": tmp_path / "f"})
