"""The library speaks of arguments, the command line of options."""

import ast
import re
from pathlib import Path

import click
import numpy as np
import pytest

import trt_int8
from trt_int8.cli import main
from trt_int8.cli.options import tell
from trt_int8.cli.wording import PARAMETERS, in_options
from trt_int8.errors import BuildError

PACKAGE = Path(trt_int8.__file__).parent
#: Whose options a message may name.
PROGRAMS = re.compile(r"trt-int8|trtexec|onnxsim|docker|container|--gpu-architecture")
#: Modules that compose a command line of trt-int8 from parts.
LATER = {"analysis/flags.py"}


def messages(path):
    """The texts of a module that are not docstrings, with {} for what is filled in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    inside |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def offences(path):
    return [
        text
        for text in messages(path)
        if re.search(r"(?<![\w-])--[a-z{]", text) and not PROGRAMS.search(text)
    ]


def test_the_library_names_no_option():
    paths = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    paths = {name: path for name, path in paths.items() if not name.startswith("cli/")}
    found = {name: texts for name, path in paths.items() if (texts := offences(path)) and name not in LATER}
    assert found == {}
    assert len(paths) > 100


def test_offences_are_found(tmp_path):
    (tmp_path / "x.py").write_text(
        '"""Doc of --this."""\ndef f(x):\n    """And --that."""\n    raise E(f"leave --{x} out")\n'
        'a = "run trt-int8 check-qdq --fix"\nb = "add --fp16"\n'
    )
    assert sorted(offences(tmp_path / "x.py")) == ["add --fp16", "leave --{} out"]


QUANTIZE, BUILD = main.commands["quantize"].params, main.commands["build"].params


@pytest.mark.parametrize(
    ("text", "parameters", "expected"),
    [
        ("nodes='a*' matches none", QUANTIZE, "--nodes 'a*' matches none"),
        ("use scale_dtype='fp32'.", QUANTIZE, "use --scale-dtype fp32."),
        ("use placement='rtx'", QUANTIZE, "use --placement rtx"),
        ("add scale=1/255 (and mean=, std=)", BUILD, "add --scale 1/255 (and --mean, --std)"),
        ("set skip_bad=True, or leave size= out", BUILD, "set --skip-bad, or leave --size out"),
        ("take tf32=False; bias_correction=False", BUILD, "take --no-tf32; --no-bias-correction"),
        (
            "shapes='x:1x3,8x3,8x3' with rename_dims=True",
            BUILD,
            "--shapes x:1x3,8x3,8x3 with --rename-dims",
        ),
        (
            "drop_last=True, x.size=3, options[nodes=1]",
            QUANTIZE,
            "drop_last=True, x.size=3, options[nodes=1]",
        ),
        ("fp16=True", QUANTIZE, "fp16=True"),  # no option of this command
    ],
)
def test_arguments_become_options(text, parameters, expected):
    assert in_options(text, parameters) == expected


def test_one_message_in_both_words(run, lenet_path, tmp_path):
    from trt_int8.batches import preprocessing_for
    from trt_int8.graph.inputs import InputSpec

    with pytest.raises(
        trt_int8.errors.DataError, match=r"add preset='imagenet', preset='yolo', or scale=1/255 \(and mean="
    ):
        preprocessing_for(InputSpec("x", np.dtype(np.float32), (1, 1, 28, 28)))
    (tmp_path / "a.jpg").write_bytes(b"")
    said = run("calibrate", lenet_path, "--data", tmp_path / "a.jpg", "-o", tmp_path / "c", code=1)
    assert "add --preset imagenet, --preset yolo, or --scale 1/255 (and --mean, --std)" in said


def test_lines_of_tensorrt_stay_as_they_are(run, monkeypatch):
    def fail(*_, **__):
        raise BuildError("take mode='explicit'", lines=["[E] refused: mode='explicit'"])

    monkeypatch.setattr("trt_int8.doctor.diagnose", fail)
    monkeypatch.setattr(
        main.commands["doctor"], "params", [*main.commands["doctor"].params, click.Option(["--mode"])]
    )
    with_mode = main.commands["doctor"].callback
    monkeypatch.setattr(main.commands["doctor"], "callback", lambda mode, **rest: with_mode(**rest))
    assert "Error: take --mode explicit\n  [E] refused: mode='explicit'" in run("doctor", code=1)


def test_what_stays_float_is_said_in_options(run, monkeypatch, capsys):
    from trt_int8.cli.options import report_skipped

    class Quantized:
        notes = ("scale_dtype='fp32' keeps them exact",)
        skipped = ("conv1: excluded by exclude='conv1'",)

    with click.Context(main.commands["quantize"]) as context:
        context.meta["trt_int8.parameters"] = QUANTIZE
        report_skipped(Quantized())
    assert capsys.readouterr().err == (
        "note: --scale-dtype fp32 keeps them exact\nnot quantized: conv1: excluded by --exclude conv1\n"
    )


def test_a_refused_plan_comes_with_the_command_that_searches_again(run, lenet_path, tmp_path):
    plan, cache = tmp_path / "plan.yaml", tmp_path / "my.cache"
    nodes = "schema: 1\ntarget: tensorrt\nplacement: tensorrt\nnodes: {conv1: float}\n"
    plan.write_text(nodes + "budget: {max_drop: 0.01}\n")
    cache.write_text("TRT-8601-EntropyCalibration2\ndata: 3c010a14\n")
    command = ["quantize", lenet_path, "--cache", cache, "--plan", plan, "-o", tmp_path / "q.onnx"]
    said = run(*command, "--target", "rtx:sm89", code=1)
    assert said.splitlines()[-1] == (
        "Search again: trt-int8 sensitivity MODEL --data DATA --placement rtx --labels LABELS --max-drop 0.01 -o PLAN"
    )
    said = run(*command, "--placement", "tensorrt", "--without", "weightless", code=1)
    assert "placement 'tensorrt without weightless'" in said
    assert "Search again:" not in said  # sensitivity searches with all rules


def test_a_warning_goes_to_stderr(capsys):
    with click.Context(main) as context:
        context.meta[PARAMETERS] = []
        tell("route: explicit")
        tell("WARNING: not so accurate")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("route: explicit\n", "WARNING: not so accurate\n")
