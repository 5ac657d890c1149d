import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from trt_int8.analysis import analyze
from trt_int8.analysis.views.html import HEIGHT, WIDTH, draw
from trt_int8.calibration import Histogram, Histograms


def histograms(rng, name="relu<1>&"):
    values = np.maximum(rng.normal(size=5000), 0)
    return Histograms(
        {name: Histogram.empty().add(values), "dead": Histogram.empty().add(np.zeros(3))}, samples=7
    )


def test_text_names_a_command_for_each_flag(rng):
    text = analyze(histograms(rng)).to_text()
    assert text.startswith("2 tensors from 7 samples")
    assert (
        "relu<1>&: one_sided: trt-int8 quantize MODEL --data DATA --recentre 'relu<1>&' -o QDQ_MODEL" in text
    )
    assert "dead: dead: trt-int8 calibrate" in text
    assert re.search(r"^relu<1>&.* \d+\.\d\*", text, re.MULTILINE)


def test_uncertain_figures_are_marked(rng):
    pytest.importorskip("jinja2")
    values = np.append(rng.normal(size=5000), 1e5)
    analysis = analyze(Histograms({"x": Histogram.empty().add(values)}, samples=1))
    (tensor,) = analysis.tensors
    assert "minmax" in tensor.uncertain
    assert f"~{tensor.sqnr_db['minmax']:.1f}" in analysis.to_text()
    assert "\n~ uncertain by more than 0.5 dB" in analysis.to_text()
    assert f"minmax ~{tensor.sqnr_db['minmax']:.1f} dB" in analysis.to_html()
    assert analysis.to_dict()["tensors"][0]["uncertain"] == list(tensor.uncertain)
    assert "~" not in analyze(histograms(rng)).to_text()


def test_drawing_shades_the_unused_half(rng):
    tensor = analyze(histograms(rng)).tensors[0]
    drawing = draw(tensor)
    low, high = drawing.threshold
    assert high - low == pytest.approx(WIDTH * tensor.amax / drawing.extent, abs=0.1)
    assert low + high == pytest.approx(WIDTH, abs=0.1)
    widest = max(drawing.unused, key=lambda run: run[1])
    # codes -128 to -1: from -128.5 to -0.5 steps
    step = WIDTH / 2 / drawing.extent * tensor.amax / 127
    assert widest[1] == pytest.approx(128 * step, abs=0.1)
    assert sum(widest) == pytest.approx(WIDTH / 2 - step / 2, abs=0.1)
    assert min(x for x, *_ in drawing.bars) >= WIDTH / 2 - 3
    heights = {round(x): h for x, _, _, h in drawing.bars}
    assert max(heights.values()) == HEIGHT - 10
    assert heights[WIDTH // 2] == HEIGHT - 10  # the zeros


def test_page_is_self_contained_and_well_formed(rng):
    pytest.importorskip("jinja2")
    page = analyze(histograms(rng)).to_html()
    assert not re.search(r"https?://|<script|src=|@import|url\(", page)
    assert "relu&lt;1&gt;&amp;" in page
    assert "relu<1>" not in page
    body = re.sub(r"<!DOCTYPE html>|<meta[^>]*>", "", page)
    tree = ElementTree.fromstring(body)
    drawings = tree.findall(".//svg")
    assert len(drawings) == 2
    assert len(drawings[0].findall("line")) == 2
    assert len(drawings[0].findall("rect[@class='unused']")) >= 1
    assert len(drawings[0].findall("rect[@class='bar']")) > 50
    assert drawings[1].findall("line") == []  # a dead tensor has no range
