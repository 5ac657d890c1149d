"""One weight scale for convolutions that end behind bias and activation: which weights bear it."""

import numpy as np
import pytest
from epilogues import RELU, UNEVEN, C, convolution, has_one_scale, scaled
from graphs import op

from trt_int8.quantization.placement.rules.one_scale import KEPT_DB, round_with_one_scale


def kept_db(values):
    return round_with_one_scale(values).kept_db


def test_what_one_scale_keeps_of_each_channel(rng):
    values = (rng.normal(size=(5, 7, 3)) * [[[1]], [[3]], [[0.1]], [[30]], [[0]]]).astype(np.float32)
    step = np.abs(values).max() / 127
    expected = []
    for channel in values[:4].astype(np.float64):
        lost = sum((v - step * round(v / step)) ** 2 for v in channel.ravel())
        expected.append(10 * np.log10(sum(v**2 for v in channel.ravel()) / lost))
    assert kept_db(values) == pytest.approx([*expected, np.inf], abs=1e-4)
    assert kept_db(np.arange(-127, 128, dtype=np.float32).reshape(1, -1)) == [np.inf]


def test_channels_that_differ_keep_their_scales(make, weights):
    uneven = scaled(weights["w"], UNEVEN)
    assert np.median(kept_db(weights["w"])) > KEPT_DB > np.median(kept_db(uneven))
    assert not has_one_scale(make(convolution(RELU), w=uneven))


def test_the_limit_is_38_db(make, weights):
    # A factor of the largest channel costs the others as much: 20 log₁₀.
    kept = np.median(kept_db(weights["w"]))
    for more, one in ((-1, True), (1, False)):
        factor = 10 ** ((kept - 38 + more) / 20)
        largest = scaled(weights["w"], [factor] + [1] * (C - 1))
        assert np.median(kept_db(largest)) == pytest.approx(38 - more, abs=0.7)
        assert has_one_scale(make(convolution(RELU), w=largest)) is one


@pytest.mark.parametrize(
    ("nodes", "outputs", "one"),
    [
        (convolution(RELU), ["y"], True),
        (convolution(op("LeakyRelu", "c", "act")), ["y"], True),
        (convolution(op("Sigmoid", "c", "act")), ["y"], False),
        (convolution(op("Clip", "c low high", "act")), ["y"], False),
        (convolution(RELU, end="nothing"), ["act"], False),
        (convolution(RELU, end="max-pool"), ["y"], False),
        (convolution(RELU, end="up"), ["y"], False),
        (convolution(RELU, end="pair and up"), ["y"], False),
    ],
)
def test_small_channels_count_where_a_pair_does_not_hide_them(nodes, outputs, one, make, weights):
    few_small = scaled(weights["w"], [1] * (C - 3) + [0.003] * 3)
    kept = kept_db(few_small)
    assert np.median(kept) > KEPT_DB > 10 > kept.min()
    assert has_one_scale(make(nodes, outputs=outputs)), "the weight that is alike"
    assert has_one_scale(make(nodes, outputs=outputs, w=few_small)) is one


@pytest.mark.parametrize(("small", "one"), [(7, True), (9, False)])
def test_behind_a_pair_the_channel_in_the_middle_decides(small, one, make, weights):
    weight = scaled(weights["w"], [1] * (C - small) + [0.01] * small)
    assert has_one_scale(make(convolution(RELU), w=weight)) is one


@pytest.mark.parametrize("dead", [8, 13])
def test_channels_of_zeros_are_worth_nothing(dead, make, weights):
    alive = [1] + [0.01] * (C - dead - 1)
    weight = scaled(weights["w"], alive + [0] * dead)
    assert np.median(kept_db(weight)) > KEPT_DB, "infinite: nothing is lost of zeros"
    assert not has_one_scale(make(convolution(RELU), w=weight))
    assert has_one_scale(make(convolution(RELU), w=scaled(weights["w"], [1] * (C - dead) + [0] * dead)))
    assert not has_one_scale(make(convolution(RELU), w=0 * weights["w"]))


@pytest.mark.parametrize(("small", "kept", "steps"), [(0.05, (10, 25), 6), (0.003, (-5, 10), 1)])
def test_small_weights_are_hidden_by_the_pair_only_if_its_step_is_larger(small, kept, steps, make, weights):
    """Where large filters never fire, the range of the output is that of the small ones."""
    weight = scaled(weights["w"], [1] * 9 + [small] * 7)
    low, high = kept
    assert low < kept_db(weight)[-7:].min() <= kept_db(weight)[-7:].max() < high
    exact = weight.astype(np.float64).reshape(C, -1)
    lost = exact - np.round(exact * 127 / np.abs(exact).max()) / 127 * np.abs(exact).max()
    # Inputs end at 2.
    off = 2 * np.maximum(np.linalg.norm(lost, axis=1), np.abs(lost.sum(axis=1)))[-7:].max()
    model = make(convolution(RELU), w=weight)
    assert has_one_scale(model, act=off / steps * 127 * 1.01)
    assert not has_one_scale(model, act=off / steps * 127 * 0.99)
    # What keeps 38 dB is not hidden, and need not be.
    assert has_one_scale(make(convolution(RELU)), act=off / 100)


def test_filters_that_smooth_are_off_by_the_sum(make, weights):
    """Their errors have one sign, and so have images: nothing of it averages out."""
    weight = weights["w"].copy()
    weight[9:] = 2.45 * np.abs(weight).max() / 127
    assert (kept_db(weight)[9:] > 14).all()
    assert (kept_db(weight)[:9] > KEPT_DB).all()
    lost = 0.45 * np.abs(weight).max() / 127 * weight[0].size
    model = make(convolution(RELU), w=weight)
    assert has_one_scale(model, act=2 * lost / 6 * 127 * 1.01)
    assert not has_one_scale(model, act=2 * lost / 6 * 127 * 0.99)
