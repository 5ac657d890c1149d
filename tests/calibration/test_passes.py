"""Several passes over the data where memory is short."""

import itertools
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from trt_int8 import progress
from trt_int8.calibration import calibrate, collect, passes
from trt_int8.calibration import checkpoint as checkpoints
from trt_int8.calibration.activations import Activations
from trt_int8.calibration.checkpoint import Checkpoint
from trt_int8.calibration.histograms import to_bytes
from trt_int8.errors import CalibrationError, DataError, OutputError

MIB = 1 << 20


def chain(length, elements=MIB // 4):
    """Neg after Neg: ``length`` activations of 1 MiB a sample unless told."""
    nodes = [helper.make_node("Neg", [f"t{i}"], [f"t{i + 1}"]) for i in range(length)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("t0", TensorProto.FLOAT, ["n", elements])],
        [helper.make_tensor_value_info(f"t{length}", TensorProto.FLOAT, ["n", elements])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def known_memory(monkeypatch):
    """This process takes 100 MiB with the reserve, whatever it runs."""

    class Peak:
        bytes = 68 * MIB
        __enter__ = __exit__ = lambda self, *_: self

    monkeypatch.setattr(passes, "resident", lambda: 68 * MIB)
    monkeypatch.setattr(passes, "PeakMemory", Peak)


@pytest.fixture
def notes():
    class Notes(progress.Display):
        def __init__(self):
            super().__init__()
            self.texts = []

        def note(self, text):
            self.texts.append(text)

    with progress.show(Notes()) as display:
        yield display.texts


def plan(model, batches, max_memory, threads=1):
    activations = Activations(model)
    return passes.plan_passes(
        model, activations, activations.counted, batches, max_memory=max_memory, threads=threads
    )


def batch(n=1):
    return {"t0": np.arange(n * MIB // 4, dtype=np.float32).reshape(n, -1)}


def test_sizes_are_those_onnxruntime_computes(lenet_path, digits):
    model = onnx.load(lenet_path)
    activations = Activations(model)
    data = {"data": digits["calibration"][:1]}
    expected = {name: values.nbytes for name, values in activations.values(data, place="")}
    assert passes._sizes(model, activations.counted, data, activations.element_sizes) == expected
    assert expected["conv1"] == 20 * 24 * 24 * 4


def test_as_many_tensors_a_pass_as_fit(known_memory, notes):
    # 9 tensors of 1 MiB and 96 KiB of counts each; 3.3 MiB (5 less a copy of the batch
    # and the margin) hold three.
    found = plan(chain(8), [batch()], 105 * MIB)
    assert found.parts == [tuple(f"t{i}" for i in range(s, s + 3)) for s in (0, 3, 6)]
    assert notes == ["9 tensors need 3 passes over the data: they do not fit into 105 MiB"]
    assert len(plan(chain(8), [batch()], 108 * MIB).parts) == 2
    assert len(plan(chain(8), [batch(2)], 109 * MIB).parts) == 5


def test_one_pass_where_all_fits_says_nothing(known_memory, notes):
    assert len(plan(chain(8), [batch()], 113 * MIB).parts) == 1
    assert notes == []


def test_fewer_threads_before_giving_up(known_memory):
    assert plan(chain(2), [batch()], 106 * MIB, threads=2).threads == 2
    assert plan(chain(2), [batch()], 103 * MIB, threads=2).threads == 1


def test_too_little_memory_names_what_would_do(known_memory):
    with pytest.raises(
        CalibrationError,
        match=r"102 MiB \(max_memory=\) is too small: the largest tensor 't0' \(2 MiB per batch\) needs 103 MiB",
    ):
        plan(chain(2), [batch()], 102 * MIB)
    assert len(plan(chain(2), [batch()], 103 * MIB).parts) == 3


def test_an_iterator_is_refused_and_not_used_up(known_memory):
    with pytest.raises(
        DataError,
        match="9 tensors need 3 passes to fit into 105 MiB, but an iterator can be read only once; pass a list",
    ):
        plan(chain(8), iter([batch()]), 105 * MIB)
    found = plan(chain(8), iter([batch(), batch(2)]), 113 * MIB)
    assert [len(b["t0"]) for b in found.batches] == [1, 2]


@pytest.mark.parametrize("threads", [1, 2])
def test_passes_do_not_change_a_byte(known_memory, notes, lenet_path, digits, threads):
    batches = [{"data": image[None]} for image in digits["calibration"][:30]]
    expected = to_bytes(calibrate(lenet_path, batches).histograms)
    # Counts take more than LeNet's values.
    found = calibrate(lenet_path, batches, threads=threads, max_memory=100 * MIB + threads * 400_000)
    assert to_bytes(found.histograms) == expected
    assert "4 passes" in notes[0] or "3 passes" in notes[0]


FUSED = """
<ir_version: 8, opset_import: ["": 13]>
fused (float[1, 8, 16, 16] x) => (float[1, 8, 256] y) {
    c = Conv<pads = [1, 1, 1, 1]>(x, w)  r = Relu(c)  d = Conv(r, v, b)  g = Sigmoid(d)  s = Mul(d, g)
    f = Reshape(s, rows)  m = ReduceMean<axes = [-1]>(f)  e = Sub(f, m)  q = Pow(e, two)
    u = ReduceMean<axes = [-1]>(q)  h = Add(u, tiny)  o = Sqrt(h)  n = Div(e, o)  p = Mul(n, k)  y = Add(p, k)
}
"""


@pytest.fixture
def fused(rng):
    """Convolutions, SiLU and a layer normalization written out: onnxruntime fuses what nobody reads within."""
    model = onnx.parser.parse_model(FUSED)
    weights = {"w": (8, 8, 3, 3), "v": (8, 8, 1, 1), "b": (8,), "k": (256,)}
    values = {name: rng.normal(size=shape).astype(np.float32) for name, shape in weights.items()}
    values |= {"two": np.float32(2), "tiny": np.float32(1e-5), "rows": np.array([1, 8, 256])}
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v), n) for n, v in values.items())
    return model


def test_fewer_outputs_have_the_same_bits(fused, rng):
    whole = Activations(fused)
    data = {"x": rng.normal(size=(1, 8, 16, 16)).astype(np.float32)}
    expected = {name: values.tobytes() for name, values in whole.values(data, place="here")}
    different = []
    for part in (["x", "y"], ["s", "r"], ["x"], ["p"], list(whole.counted)):
        found = Activations(fused, only=part)
        assert found.counted == tuple(name for name in whole.counted if name in part)
        for name, values in found.values(data, place="here"):
            assert values.tobytes() == expected[name], name
        plain = Activations(fused, tensors=part).values(data, place="here")
        different += [name for name, values in plain if values.tobytes() != expected[name]]
    assert different, "onnxruntime computes the same anyway: no model for this test"


def test_a_folder_for_temporary_files_that_cannot_be_written(fused, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(
        OutputError, match=r"cannot write the model it runs to .*gone \(.*; make room there, or set TMPDIR"
    ):
        Activations(fused, only=["y"])


def test_weights_may_be_listed_as_inputs(known_memory, fused, rng):
    for name in ("w", "v", "k"):
        (weight,) = [tensor for tensor in fused.graph.initializer if tensor.name == name]
        fused.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, weight.dims))
    data = {"x": rng.normal(size=(1, 8, 16, 16)).astype(np.float32)}
    expected = {name: values.tobytes() for name, values in Activations(fused).values(data, place="here")}
    for part in (["c"], ["y"], ["d", "x"]):
        found = Activations(fused, only=part).values(data, place="here")
        assert {name: values.tobytes() for name, values in found} == {name: expected[name] for name in part}


def test_passes_over_what_would_be_fused(known_memory, fused, rng):
    data = [{"x": rng.normal(size=(1, 8, 16, 16)).astype(np.float32)} for _ in range(4)]
    found = collect(fused, data, threads=1, max_memory=100 * MIB + 500_000)
    assert to_bytes(found) == to_bytes(collect(fused, data))


def test_data_that_changes_between_passes(known_memory):
    class Augmented:
        rng = np.random.default_rng(0)

        def __iter__(self):
            yield {"t0": self.rng.normal(size=(1, MIB // 4)).astype(np.float32)}

    with pytest.raises(
        DataError,
        match="the data changed between two passes .other samples than in the pass before.; all passes",
    ):
        collect(chain(8), Augmented(), max_memory=105 * MIB)


@pytest.mark.parametrize("passed", [0, 1, 2])
def test_killed_in_any_pass(known_memory, tmp_path, monkeypatch, passed):
    monkeypatch.setattr(checkpoints, "INTERVAL", 2)

    class KilledError(Exception):
        pass

    class Killed:
        reads = itertools.count()

        def __iter__(self):
            read = next(self.reads)
            for i in range(5):
                if read == passed + 1 and i == 3:  # the first read is the plan's
                    raise KilledError
                yield {"t0": np.full((1, MIB // 4), i + 0.5, np.float32)}

    data = [{"t0": np.full((1, MIB // 4), i + 0.5, np.float32)} for i in range(5)]
    checkpoint = Checkpoint(tmp_path / "c", identity={})
    with pytest.raises(KilledError):
        collect(chain(8), Killed(), threads=1, max_memory=105 * MIB, checkpoint=checkpoint)
    # with another limit, and hence another division of what is left
    done = collect(chain(8), data, threads=1, max_memory=108 * MIB, checkpoint=checkpoint)
    assert to_bytes(done) == to_bytes(collect(chain(8), data))


MEASURE = """
import re, sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from test_passes import MIB, chain
from trt_int8.calibration import collect
data = [{"t0": np.ones((1, 4 * MIB), np.float32)}] * 4
limit = None if sys.argv[2] == "none" else int(sys.argv[2]) * MIB
collect(chain(40, 4 * MIB), data, threads=2, max_memory=limit)
# Not ru_maxrss: a child inherits the peak of the process that started it.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def peak_mib(limit) -> int:
    from pathlib import Path

    command = [sys.executable, "-c", MEASURE, str(Path(__file__).parent), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_memory_stays_within_the_limit():
    # 40 tensors of 16 MiB, two batches at a time.
    assert peak_mib("none") > 700
    assert peak_mib(500) < 500
    assert peak_mib(400) < 400
