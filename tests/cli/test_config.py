"""Configuration files: what is read, what is refused, and that printing gives it back for every command."""

import contextlib
import re

import click
import pytest
import yaml
from click.testing import CliRunner
from commands import LEAVES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trt_int8.cli import main
from trt_int8.cli.config import default_map, key, read_settings, to_yaml
from trt_int8.errors import ConfigError


def some_value(parameter: click.Parameter, random: int = 0) -> object:
    """A value that parameter takes, other than its default."""
    kind = parameter.type
    if parameter.nargs == 2:
        return ["old file", "new"]
    if isinstance(parameter, click.Option) and parameter.is_flag:
        return True
    if isinstance(kind, click.Choice):
        return next(choice for choice in kind.choices if choice != parameter.default)
    if isinstance(kind, click.types.IntParamType | click.IntRange):
        return 7
    if isinstance(kind, click.types.FloatParamType | click.FloatRange):
        return (getattr(kind, "min", None) or 0) + 0.25
    return {"size": "28x14", "scale": 0.5, "mean": [0.25, 0.5], "std": [2, 4], "max_memory": "2G"}.get(
        parameter.name, f"é {parameter.name}: #1"
    )


def arguments(command: click.Command, values: dict) -> list[str]:
    """``values`` as a command line."""
    words = []
    for parameter in command.params:
        if parameter.name not in values:
            continue
        value = values[parameter.name]
        pair = [str(word) for word in value] if parameter.nargs == 2 else []
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        if isinstance(parameter, click.Argument):
            words.append(text)
        elif parameter.is_flag:
            words.append(f"--{key(parameter)}")
        else:
            words += [f"--{key(parameter)}", *(pair or [text])]
    return words


def own(command):
    return [p for p in command.params if p.name not in ("config", "print_config")]


@pytest.mark.parametrize("words", LEAVES)
def test_what_is_printed_gives_the_same_again(words, tmp_path):
    """Every option of every command, those that are not written yet too."""
    command = LEAVES[words]
    values = {parameter.name: some_value(parameter) for parameter in own(command)}
    line = [*words.split(), *arguments(command, values), "--print-config"]
    first = CliRunner().invoke(main, line)
    assert first.exit_code == 0, first.output
    printed = yaml.safe_load(first.output) or {}
    assert set(printed) == {key(parameter) for parameter in own(command)}
    assert first.output.count("\n") >= len(printed)  # an option a line
    (tmp_path / "job.yaml").write_text(first.output, encoding="utf-8")
    second = CliRunner().invoke(
        main, [*words.split(), "--config", str(tmp_path / "job.yaml"), "--print-config"]
    )
    assert second.output == first.output


@pytest.mark.parametrize("words", LEAVES)
def test_without_values_every_option_is_printed_with_its_default(words, tmp_path):
    command = LEAVES[words]
    first = CliRunner().invoke(main, [*words.split(), "--print-config"])
    assert first.exit_code == 0, first.output
    printed = yaml.safe_load(first.output)
    shown = [p for p in own(command) if not getattr(p, "hidden", False)]
    assert list(printed) == [key(parameter) for parameter in shown]
    # What the command gets is the same with the file as without it.
    needed = {p.name: some_value(p) for p in command.params if p.required}
    line = arguments(command, needed)
    (tmp_path / "job.yaml").write_text(first.output, encoding="utf-8")
    settings = default_map(read_settings(tmp_path / "job.yaml"), command.params, place="job.yaml")
    with (
        command.make_context(words, list(line), default_map=settings) as with_file,
        command.make_context(words, list(line)) as without,
    ):
        assert with_file.params == without.params


@pytest.fixture
def write(tmp_path):
    def write(text, mode="text"):
        path = tmp_path / "job.yaml"
        path.write_bytes(text) if isinstance(text, bytes) else path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_command_line_wins(write):
    path = write("model: m.onnx\noutput: a.cache\ndata: x.npz\nbatch-size: 4\nlimit: 9\n")
    result = CliRunner().invoke(
        main, ["calibrate", "--config", str(path), "--limit", "3", "-o", "b.cache", "--print-config"]
    )
    found = yaml.safe_load(result.output)
    assert {k: found[k] for k in ("model", "output", "data", "batch-size", "limit")} == {
        "model": "m.onnx", "output": "b.cache", "data": "x.npz", "batch-size": 4, "limit": 3,
    }  # fmt: skip


def test_a_job_runs(write, lenet_path, digits, tmp_path, monkeypatch):
    import numpy as np

    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "x.npy", digits["calibration"][:5])
    write(f"model: {lenet_path}\ndata: x.npy\noutput: a.cache\nalgorithm: minmax\nquiet: true\n")
    result = CliRunner().invoke(main, ["calibrate", "--config", "job.yaml"])
    assert result.output == "a.cache: 10 tensors from 5 samples (minmax)\n"


def test_spellings_and_lists(write):
    path = write("minShapes: x:1x3\nbatch_size: 4\nmean: [0.5, 0.25, 1]\nshapes: x:1\n")
    found = default_map(read_settings(path), LEAVES["build"].params, place="job.yaml")
    assert found == {"min_shapes": "x:1x3", "batch_size": 4, "mean": "0.5,0.25,1", "shapes": ["x:1"]}


@pytest.mark.parametrize("size", ["48x192", "[48, 192]", "'48,192'"])
def test_a_size_is_height_and_width(write, size):
    command = LEAVES["calibrate"]
    path = write(f"model: m\noutput: o\ndata: d\nsize: {size}\n")
    settings = default_map(read_settings(path), command.params, place="job.yaml")
    with command.make_context("calibrate", [], default_map=settings) as context:
        assert context.params["size"] == (48, 192)
    printed = CliRunner().invoke(main, ["calibrate", "--config", str(path), "--print-config"]).output
    again = CliRunner().invoke(main, ["calibrate", "--config", str(write(printed)), "--print-config"])
    assert (again.output, again.exit_code) == (printed, 0)


def test_no_is_a_value_and_nothing_is_none(write):
    path = write("tf32: no\nlimit: null\nrename-dims: false\n")
    found = default_map(read_settings(path), LEAVES["build"].params, place="job.yaml")
    assert found == {"tf32": False, "rename_dims": False}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: m\nalgoritm: mse\n", r"job\.yaml:2: unknown key 'algoritm'; did you mean 'algorithm'"),
        ("zzz: 1\n", r"job\.yaml:1: unknown key 'zzz' \(known: model, output, "),
        ("config: x\n", "unknown key 'config'"),
        ("limit: 1\nlimit: 2\n", r"job\.yaml:2: 'limit' is given twice \(first on line 1\)"),
        ("batch-size: 1\nbatch_size: 2\n", r"job\.yaml:2: 'batch_size' is given twice under two spellings"),
        ("- a\n- b\n", r"job\.yaml:1: write one 'option: value' per line"),
        ("data: {a: 1}\n", r"job\.yaml:1: 'data' must be one value or a list"),
        ("mean: [[1], 2]\n", "'mean' must be one value"),
        ("model: 'a\n", r"job\.yaml:2: not YAML: "),
        ("a: !!python/object:os.system {}\n", r"job\.yaml:1: the tag .*python/object:os.system' is not read"),
        (b"model: caf\xe9\n", r"job\.yaml: not UTF-8"),
    ],
)
def test_what_is_refused(write, tmp_path, monkeypatch, text, message):
    write(text)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["build", "--config", "job.yaml", "--print-config"])
    assert result.exit_code == 2
    (line,) = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert re.search(message, line), line


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.yaml: no such file"):
        read_settings(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_settings(tmp_path)
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert read_settings(tmp_path / "empty.yaml") == {}


#: a line of the file → what the error says behind ``job.yaml:4: ``
WRONG_VALUES = {
    "limit: 5.5": "'limit' is 5.5; give a whole number",
    "limit: 5.0": "'limit' is 5.0; give a whole number",
    "limit: true": "'limit' is true; give a whole number",
    "limit: 2024-01-01": "'limit': '2024-01-01' is not a valid integer range.",
    "limit: [1, 2]": "'limit' is the list [1, 2]; give one value",
    "limit: 0": "'limit': 0 is not in the range x>=1.",
    "batch-size: many": "'batch-size': 'many' is not a valid integer range.",
    "last: no": "'last' is false; give one of keep, drop, pad (in quotes if YAML reads it otherwise)",
    "last: never": "'last': 'never' is not one of 'keep', 'drop', 'pad'.",
    "skip-bad: 3": "'skip-bad' is 3; give true or false",
    "quiet: maybe": "'quiet' is 'maybe'; give true or false",
    "size: 224": "'size': '224' is not a size; write HEIGHTxWIDTH, as in 224x224",
    "size: [48]": "'size': '48' is not a size; write HEIGHTxWIDTH, as in 224x224",
    "size: [48, 192, 3]": "'size': '48,192,3' is not a size; write HEIGHTxWIDTH, as in 224x224",
    "size: [48, -1]": "'size': '48,-1' is not a size; write HEIGHTxWIDTH, as in 224x224",
    "size: 4²x4": "'size': '4²x4' is not a size; write HEIGHTxWIDTH, as in 224x224",
    "scale: 1/x": "'scale': '1/x' is not a number; write 0.5 or 1/255",
    "mean: [0.5, true]": "'mean' is true; give a number, or a text in quotes",
    "histograms: 7": "'histograms' is 7, which YAML does not read as text; put it in quotes",
    "checkpoint: [a, b]": "'checkpoint' is the list ['a', 'b']; give one value",
    "max-memory: lots": "'max-memory': 'lots' is not an amount of memory; write 800M or 2G",
}


@pytest.mark.parametrize("line", WRONG_VALUES)
def test_wrong_values_are_named_with_file_line_and_key(write, tmp_path, monkeypatch, line):
    write(f"model: m\noutput: o\ndata: d\n{line}\n")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["calibrate", "--config", "job.yaml"])
    assert result.exit_code == 2
    assert result.output.splitlines()[-1] == f"Error: job.yaml:4: {WRONG_VALUES[line]}"


def test_a_wrong_value_on_the_command_line_is_not_blamed_on_the_file(write):
    path = write("model: m\noutput: o\ndata: d\nlimit: 7\n")
    result = CliRunner().invoke(main, ["calibrate", "--config", str(path), "--limit", "0"])
    assert result.output.splitlines()[-1] == "Error: Invalid value for '--limit': 0 is not in the range x>=1."


def test_numbers_as_text_are_read_as_on_the_command_line(write):
    path = write("model: m\noutput: o\ndata: d\nlimit: '7'\nmax-memory: 2000\nscale: 0.5\n")
    result = CliRunner().invoke(main, ["calibrate", "--config", str(path), "--print-config"])
    found = yaml.safe_load(result.output)
    assert {k: found[k] for k in ("limit", "max-memory", "scale")} == {
        "limit": 7,
        "max-memory": 2000,
        "scale": 0.5,
    }


def test_without_pyyaml_the_command_is_named(monkeypatch, write):
    import importlib

    real = importlib.import_module

    def missing(name, *rest):
        if name == "yaml":
            raise ModuleNotFoundError("No module named 'yaml'", name="yaml")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
    result = CliRunner().invoke(main, ["doctor", "--config", str(write("json: true\n"))])
    assert "pip install pyyaml" in result.output
    assert result.exit_code == 1


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20))
def test_texts_survive(text):
    parameter = click.Option(["--data"])
    assert yaml.safe_load(to_yaml([parameter], {"data": text})) == {"data": text}


SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9)


@SHARED
@given(values=st.dictionaries(st.sampled_from(["--data", "--limit", "--scale", "--quiet"]), ANY | st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none() | st.lists(ANY | st.integers(), max_size=3)))  # fmt: skip
def test_what_is_printed_is_read(tmp_path, values):
    parameters = [click.Option([name]) for name in values]
    (tmp_path / "c.yaml").write_text(to_yaml(parameters, {n[2:]: v for n, v in values.items()}), "utf-8")
    found = {name: setting.value for name, setting in read_settings(tmp_path / "c.yaml").items()}
    assert found == {name[2:]: value for name, value in values.items()}


@SHARED
@given(start=st.integers(0, 80), length=st.integers(0, 9), new=st.binary(max_size=5))
def test_damaged_configurations_are_read_or_refused(tmp_path, start, length, new):
    data = b"model: m.onnx\ndata: [a, 'b', 1.5]\nlimit: 3\nquiet: true\nsize: [48, 192]\nshapes:\n- x:1x3\n"
    (tmp_path / "c.yaml").write_bytes(data[:start] + new + data[start + length :])
    with contextlib.suppress(ConfigError):
        default_map(read_settings(tmp_path / "c.yaml"), LEAVES["build"].params, place="c.yaml")
