from trt_int8.remedies.verdict import Verdict, judged


def start(**sqnr_db):
    return Verdict(sqnr_db, sqnr_db)


def test_a_gain_at_one_output_is_enough():
    verdict = judged(start(a=30.0, b=10.0), {"a": 31.0, "b": 9.95})
    assert verdict.kept
    assert verdict.text == "a +1.00 dB, b -0.05 dB"


def test_no_output_may_lose():
    verdict = judged(start(a=30.0, b=10.0), {"a": 40.0, "b": 9.89})
    assert not verdict.kept
    assert verdict.text == "a +10.00 dB, b -0.11 dB, so all stays as it was"


def test_a_trifle_is_no_gain():
    assert not judged(start(a=30.0, b=10.0), {"a": 30.09, "b": 10.0}).kept


def test_small_losses_do_not_add_up():
    best = start(a=30.0, b=10.0)
    first = judged(best, {"a": 31.0, "b": 9.94})
    second = judged(first, {"a": 32.0, "b": 9.88})
    assert (first.kept, second.kept) == (True, False)
    assert judged(first, {"a": 32.0, "b": 9.94}).kept
