"""benchmarks/measured_is_built.py: the ids of a text, and figures read from what commands print."""

import json
import sys

import numpy as np
import onnx
import pytest
from places import ROOT


@pytest.fixture
def measured(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    import measured_is_built

    return measured_is_built


def test_words_become_ids_between_marks(measured):
    text = "The cat sat. The dog sat, the end; " * 4
    arrays = measured.token_ids(text, samples=3, length=8)
    ids, mask = arrays["input_ids"], arrays["attention_mask"]
    assert (ids.shape, ids.dtype, mask.dtype) == ((3, 8), np.int64, np.int64)
    sizes = mask.sum(axis=1)
    assert sizes.min() >= 4
    for row, size in zip(ids, sizes, strict=True):
        assert (row[0], row[size - 1], row[size:].any()) == (101, 102, False)
        assert ((row[1 : size - 1] >= 1996) & (row[1 : size - 1] < 29612)).all()
    # Words 0 and 4 are both "the"; word 8 begins the second sample.
    assert ids[0, 1] != ids[0, 2]
    assert ids[1, 1] == measured.WORDS[measured.zlib.crc32(b"the") % len(measured.WORDS)]
    with pytest.raises(ValueError, match="the text has 44 words; 48 are needed"):
        measured.token_ids(text, samples=6, length=8)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        (
            "x.onnx: 24 nodes\nSQNR on 16 held-back samples: onnx::Shape_422 31.20 dB "
            "(30.4 dB before bias correction), 461 -0.5 dB (0.1 before bias correction)\n",
            {"onnx::Shape_422": 31.2, "461": -0.5},
        ),
        ("held-back samples: logits: SQNR 31.25 dB; ids SQNR inf dB", {"logits": 31.25, "ids": np.inf}),
        ("64 samples\nlogits: SQNR 31.25 dB, cosine 1\n", {}),
    ],
)
def test_figures_of_held_back_samples(measured, told, wanted):
    assert measured.held_back_figures(told) == wanted


def test_what_evaluate_prints_about_all_samples(measured):
    told = "8 samples, simulated\nonnx::Shape_422: SQNR 15.44 dB, cosine 0.98\nids: SQNR inf dB, cosine 1\n"
    assert measured.EVALUATED.findall(told) == [("onnx::Shape_422", "15.44"), ("ids", "inf")]


def test_how_far_figures_are_apart(measured):
    printed = {"a": 20.0, "b": np.inf}
    assert measured.apart(printed, {"a": 20.25, "b": np.inf, "c": 1.0}) == 0.25
    assert measured.apart(printed, {"a": 20.0}) == np.inf
    assert measured.apart({}, {"a": 20.0}) == np.inf


@pytest.mark.parametrize(
    ("on_all", "on_these", "wanted"),
    [("21.25", "21.25", 0.0), ("21.5", "21.25", 0.25), ("21.25", "20.75", 0.5)],
)
def test_a_model_is_measured_on_the_samples_of_its_record(measured, tmp_path, on_all, on_these, wanted):
    class Told(measured.Chain):
        """In place of the command: prints what is given, and looks at the samples."""

        def run(self, command, model, written, option, samples, *shapes):
            assert (command, written, option) == ("evaluate", tmp_path / "qdq.onnx", "--data")
            ids = np.load(samples)["input_ids"]
            if len(ids) == 6:
                return f"y: SQNR 23.00 dB, cosine 1\nSQNR on 3 held-back samples: y {on_all} dB"
            assert ids[:, 0].tolist() == [4, 8, 10]
            assert shapes[0] == "--shapes=input_ids:1x2,8x2,8x2"
            return f"y: SQNR {on_these} dB, cosine 1"

    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float x) => (float y) { y = Relu(x) }'
    )
    entry = model.metadata_props.add()
    entry.key, entry.value = "trt_int8.record", json.dumps({"held_back": [[2, 3], [4, 6]]})
    onnx.save(model, tmp_path / "qdq.onnx")
    chain = Told("m.onnx", {"input_ids": np.arange(12).reshape(6, 2)}, tmp_path)
    chain.check(
        "rtx", "build", "SQNR on 3 held-back samples: y 21.25 dB (20.0 before)", tmp_path / "qdq.onnx"
    )
    (row,) = chain.rows
    assert (row["held_back"], row["printed"], row["all samples"]) == (3, {"y": 21.25}, {"y": 23.0})
    assert row["apart_db"] == wanted
