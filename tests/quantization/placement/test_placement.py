"""Each placement rule on a graph that shows it, and the same test without the rule, which must fail."""

import importlib
from pathlib import Path

import pytest
from graphs import conv, op, ranges, weight
from rules import (
    TESTS,
    C,
    X,
    conv_weights,
    home,
    names_of,
    rtx_names,
)

from trt_int8.errors import QuantizationError
from trt_int8.quantization import PLACEMENTS, RULES, quantize
from trt_int8.target import Target

for file in sorted(Path(__file__).parent.glob("test_rules_*.py")):
    importlib.import_module(file.stem)  # registers the tests of its rules in TESTS


def test_every_rule_has_a_test():
    assert set(TESTS) == {r.name for r in RULES}


@pytest.mark.parametrize("name", TESTS)
def test_rule(name, make_model, rng):
    TESTS[name](make_model, rng, home(name))


@pytest.mark.parametrize("name", TESTS)
def test_the_test_of_a_rule_fails_without_it(name, make_model, rng):
    # AttributeError: what the test looks at is not there.
    with pytest.raises((AssertionError, AttributeError)):
        TESTS[name](make_model, rng, home(name).without(name))


def test_docs_list_the_rules_in_order():
    from places import ROOT

    docs = (ROOT / "docs" / "placement.md").read_text(encoding="utf-8")
    rows = []
    for entry in RULES:
        where = "both" if len(entry.placements) > 1 else entry.placements[0]
        assert entry.what
        assert entry.source
        rows.append(f"| `{entry.name}` | {entry.what} | {entry.source} | {where} |")
    assert "\n".join(rows) in docs


def test_placements():
    flavors = ("tensorrt", "tensorrt_rtx")
    assert [Target(flavor).placement for flavor in flavors] == list(PLACEMENTS) == ["tensorrt", "rtx"]
    assert set(names_of(PLACEMENTS["tensorrt"])) - set(rtx_names()) == {
        "transposed-convolution",
        "residual-add",
        "weightless",
    }
    assert set(rtx_names()) - set(names_of(PLACEMENTS["tensorrt"])) == {
        "per-channel-batches",
        "reuse",
        "one-scale-convolution",
        "parts-before-transpose",
        "fold-small-constants",
    }
    with pytest.raises(QuantizationError, match="no placement rule 'residual'; the rules are bodies"):
        PLACEMENTS["rtx"].without("residual")


def test_unknown_placement(lenet_path):
    with pytest.raises(QuantizationError, match="no placement 'trt'; choose tensorrt or rtx"):
        quantize(lenet_path, ranges(data=1.0), placement="trt")


def test_a_build_takes_the_placement_of_what_builds(make_model, rng, tmp_path):
    from trt_int8.pipeline import QuantizationOptions
    from trt_int8.pipeline.build import build_engine

    model = make_model(
        [conv("x", "w", "a", "conv"), op("ConvTranspose", "a v", "y", "up", strides=[2, 2])],
        inputs=X,
        outputs=["y"],
        weights={**conv_weights(rng, "w"), "v": weight(rng, C, C, 2, 2)},
    )
    amax = ranges(x=2.0, a=2.0)
    assert build_engine(model, tmp_path / "e", ranges=amax).quantized.nodes == ("conv",)
    options = QuantizationOptions(placement="tensorrt")
    chosen = build_engine(model, tmp_path / "e", ranges=amax, options=options)
    assert chosen.quantized.nodes == ("conv", "up")
