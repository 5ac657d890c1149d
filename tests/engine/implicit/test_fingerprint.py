"""A sidecar is read back as it was written, and any other text is refused. See also test_cache_reuse.py."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trt_int8.engine.implicit.fingerprint import Fingerprint
from trt_int8.errors import CacheError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CACHE = b"TRT-8601-EntropyCalibration2\nx: 3f800000\n"
FINGERPRINTS = st.builds(
    Fingerprint,
    model=st.none() | TEXT,
    data=st.none() | TEXT,
    conversion=st.none() | TEXT,
    algorithm=st.none() | TEXT,
    batch_size=st.none() | st.integers(1, 2**40),
    tensorrt=st.none() | TEXT,
    tensors=st.none() | st.lists(TEXT).map(tuple),
)


@given(FINGERPRINTS)
def test_what_is_written_is_read(fingerprint):
    assert Fingerprint.from_json(fingerprint.to_json(CACHE), CACHE, place="s") == fingerprint


@given(FINGERPRINTS, st.integers(0, 400), st.integers(0, 9), st.text(max_size=4))
def test_any_text_is_read_or_refused(fingerprint, start, length, new):
    text = fingerprint.to_json(CACHE)
    with contextlib.suppress(CacheError):
        Fingerprint.from_json(text[:start] + new + text[start + length :], CACHE, place="s")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tensors", 5),
        ("tensors", [["a"]]),
        ("tensors", "ab"),
        ("batch_size", "8"),
        ("batch_size", True),
        ("model", 5),
        ("model", {}),
    ],
)
def test_values_of_other_types_are_refused(name, value):
    document = json.loads(Fingerprint(model="m").to_json(CACHE)) | {name: value}
    with pytest.raises(CacheError, match=rf"^s: not the fingerprint .*\({name} is of the wrong type\)"):
        Fingerprint.from_json(json.dumps(document), CACHE, place="s")
