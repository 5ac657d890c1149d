"""Kill, interrupt and fill the disk at each write of each command: results are old or new, and what is said is true."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

HERE = Path(__file__).parent
#: Faults of one command, unless all are asked for.
SOME = 8
UNCHANGED = "No result was written; existing results were not changed."


@dataclass(frozen=True)
class Case:
    """A command.

    Attributes:
        argv: its arguments.
        old: arguments that make other files of the same names before.
        results: names of result files; those in one tuple belong together, the main one first.
        kept: names of files that keep the state of the work.
    """

    argv: str
    old: str
    results: Sequence[tuple[str, ...]]
    kept: tuple[str, ...] = ()


QDQ = "--data few.npz --target sm89"
CASES = {
    "quantize": Case(f"quantize lenet.onnx {QDQ} -o q.onnx", "quantize lenet.onnx --cache lenet.cache -o q.onnx", [("q.onnx",)]),
    "external weights": Case(
        "quantize big.onnx --data big.npz -o q.onnx", "quantize other.onnx --data big.npz -o q.onnx", [("q.onnx", "q.onnx.*.data")]
    ),
    "build": Case(
        f"build lenet.onnx {QDQ} -o m.engine --qdq q.onnx",
        "build lenet.onnx --cache lenet.cache --target sm89 -o m.engine --qdq q.onnx",
        [("m.engine", "m.engine.log", "q.onnx")],
    ),
    "calibrate": Case(
        "calibrate lenet.onnx --data few.npz -o c.cache --histograms h.npz --checkpoint c.checkpoint",
        "calibrate lenet.onnx --data other.npz -o c.cache --histograms h.npz --algorithm minmax",
        [("c.cache", "h.npz")],
        kept=("c.checkpoint",),
    ),
    "migrate": Case(
        "migrate lenet.onnx lenet.cache --target sm89 -o q.onnx", "migrate lenet.onnx few.cache --target sm89 -o q.onnx", [("q.onnx",)]
    ),
    "sensitivity": Case(
        "sensitivity big.onnx --data big.npz --target sm89 -o p.yaml --state s.json --min-sqnr 20",
        "sensitivity big.onnx --data big.npz --target sm89 -o p.yaml --min-sqnr 10",
        [("p.yaml",)],
        kept=("s.json",),
    ),
    "check-qdq": Case("check-qdq few.qdq.onnx --fix -o f.onnx", "check-qdq other.qdq.onnx --fix -o f.onnx", [("f.onnx",)]),
    "cache merge": Case("cache merge lenet.cache few.cache -o c.cache", "cache merge lenet.cache few.cache --how min -o c.cache", [("c.cache",)]),
    "cache from-qdq": Case("cache from-qdq few.qdq.onnx -o c.cache", "cache from-qdq other.qdq.onnx -o c.cache", [("c.cache",)]),
    "cache set": Case("cache set lenet.cache data=1 -o c.cache", "cache set lenet.cache data=2 -o c.cache", [("c.cache",)]),
    "cache convert": Case("cache convert lenet.cache --to ort-json -o r.json", "cache convert few.cache --to ort-json -o r.json", [("r.json",)]),
    "ranges analyze": Case("ranges analyze few.histograms -o a.json --format json", "ranges analyze other.histograms -o a.json --format json", [("a.json",)]),
    "ranges merge": Case("ranges merge few.histograms other.histograms -o h.npz", "ranges merge few.histograms few.histograms -o h.npz", [("h.npz",)]),
    "report": Case("report lenet.log -o r.html --format html", "report lenet.log -o r.html --format json", [("r.html",)]),
}  # fmt: skip


@pytest.fixture(scope="session")
def server():
    """A function that runs a command, with a fault, in a folder."""
    with subprocess.Popen(
        [sys.executable, HERE / "server.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def run(folder, argv, *, kind=None, at=0):
            request = {"folder": str(folder), "argv": argv.split(), "kind": kind, "at": at}
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            return answer["status"], answer["operations"], (folder.parent / "stderr").read_text()

        yield run
        process.stdin.close()


def weights(folder, name, seed):
    """Save a model with external weights."""
    rng = np.random.default_rng(seed)
    values = onnx.numpy_helper.from_array(rng.normal(size=(64, 64)).astype(np.float32), "w")
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 64]) for n in "xy")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [values]
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / name, save_as_external_data=True, location=f"{name}.bin", size_threshold=0)


@pytest.fixture(scope="session")
def inputs(tmp_path_factory, server, lenet_path, digits):
    """A folder with what the commands read."""
    folder = tmp_path_factory.mktemp("inputs") / "work"
    folder.mkdir()
    shutil.copy(lenet_path, folder / "lenet.onnx")
    np.savez(folder / "few.npz", data=digits["calibration"][:8])
    np.savez(folder / "other.npz", data=digits["calibration"][8:16] * np.float32(0.5))
    np.savez(folder / "big.npz", x=np.random.default_rng(2).normal(size=(8, 64)).astype(np.float32))
    weights(folder, "big.onnx", 1)
    weights(folder, "other.onnx", 2)
    for name, data in (("few", "few"), ("lenet", "other")):
        for command in (
            f"calibrate lenet.onnx --data {data}.npz -o {name}.cache --histograms {data}.histograms",
            f"quantize lenet.onnx --cache {name}.cache --target tensorrt -o {data}.qdq.onnx",
        ):
            status, _, said = server(folder, command)
            assert status == 0, said
    status, _, said = server(
        folder, "build lenet.onnx --cache lenet.cache --target sm89 -o l.engine --log lenet.log"
    )
    assert status == 0, said
    return folder


def state(folder, results):
    """Return the content of the files of each group, None for one that is missing."""
    found = []
    for group in results:
        main = folder / group[0]
        contents = [main.read_bytes() if main.exists() else None]
        for other in group[1:]:
            # Data files that the main one does not name count as removed.
            files = [
                f for f in folder.glob(other) if "*" not in other or f.name.encode() in (contents[0] or b"")
            ]
            contents.append(files[0].read_bytes() if files else None)
        found.append(tuple(contents))
    return found


def allowed(group, now, old, new, *, killed):
    """Return which of "old", "new" the files of a group are; fail if they are a mixture.

    A process that is killed may leave a main file without some of the others.
    """
    kinds = []
    for name, a, b, c in zip(group, now, old, new, strict=True):
        if a == b:
            kinds.append("old")
        else:
            # Engines and logs differ from build to build.
            assert a == c or (a is not None and name.startswith("m.engine")) or (a is None and killed), name
            kinds.append("absent" if a is None else "new")
    others = set(kinds[1:]) - ({"absent"} if killed else set())
    assert kinds[0] != "absent", group
    assert others <= {kinds[0]}, (group, kinds)
    return kinds[0]


def temporary(folder):
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize("name", CASES)
def test_old_or_new_and_the_truth(name, inputs, server, tmp_path, request):
    case = CASES[name]
    before, work = tmp_path / "before", tmp_path / "work"
    shutil.copytree(inputs, before, symlinks=True)
    status, _, said = server(before, case.old)
    assert status == 0, said
    shutil.copytree(before, work, symlinks=True)
    status, operations, said = server(work, case.argv)
    assert status == 0, said
    assert temporary(work) == []
    old, new = state(before, case.results), state(work, case.results)
    assert all(
        a != b for group, other in zip(old, new, strict=True) for a, b in zip(group, other, strict=True)
    )

    faults = [(kind, at) for at in range(1, len(operations) + 1) for kind in ("kill", "interrupt", "full")]
    if not request.config.getoption("--all-faults"):
        rng = random.Random(f"{name} {request.config.getoption('--fault-seed')}")
        renames = [f for f in faults if operations[f[1] - 1] in ("replace", "rename", "link", "unlink")]
        faults = renames + rng.sample(
            [f for f in faults if f not in renames], k=min(SOME, len(faults) - len(renames))
        )
    for kind, at in faults:
        shutil.rmtree(work)
        shutil.copytree(before, work, symlinks=True)
        status, _, said = server(work, case.argv, kind=kind, at=at)
        where = f"{kind} at {at}, {operations[at - 1]}: {said}"
        check(case, work, old, new, kind=kind, status=status, said=said, where=where)
        if kind == "kill":
            for file in case.kept:
                assert status == signal.SIGKILL or (work / file).exists()
            status, _, said = server(work, case.argv)
            assert status == 0, (where, said)
            check(case, work, old, new, kind=None, status=0, said="", where=where)
            assert temporary(work) == [], where


def check(case, work, old, new, *, kind, status, said, where):
    killed = os.WIFSIGNALED(status)
    now = state(work, case.results)
    kinds = [
        allowed(group, *contents, killed=killed)
        for group, *contents in zip(case.results, now, old, new, strict=True)
    ]
    if killed:
        assert status == signal.SIGKILL, where
        return
    assert temporary(work) == [], where
    assert "Traceback" not in said, where
    code, last = os.WEXITSTATUS(status), said.strip().split("\n")[-1]
    if code == 0:
        assert set(kinds) == {"new"}, where
        return
    written = {group[0] for group, found in zip(case.results, kinds, strict=True) if found == "new"}
    named = {group[0] for group in case.results if f"{group[0]} " in last and "written." in last}
    assert named == written, where
    if kind == "interrupt":
        assert code == 130, where
        assert (UNCHANGED in last) == (not written), where
    else:
        assert (kind, code) == ("full", 1), where
        assert "cannot write" in said, where
