"""The record of a quantization as JSON, and in the metadata of a model."""

import contextlib
import json
import math

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trt_int8.record import RECORD_KEY, Correction, QuantizationRecord, read_record, store_record


def test_records_survive_json():
    record = QuantizationRecord(
        target="rtx:sm89",
        placement="rtx",
        ranges="calibration",
        held_back=((1, 2),),
        sqnr_db={"y": math.inf, "z": 12.5},
        profile={"x": ((1, 3), (8, 3), (8, 3))},
    )
    assert QuantizationRecord.from_json(record.to_json()) == record
    assert json.loads(record.to_json())["sqnr_db"]["y"] == "inf"
    assert record.text == "SQNR on 1 held-back sample: z 12.50 dB, y exact"
    for text in ("", "[]", "{}", '{"format": 2}', '{"format": 1, "target": 3, "held_back": 5}'):
        with pytest.raises(ValueError, match="not a quantization record"):
            QuantizationRecord.from_json(text)


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ('"placement": null', "placement is of the wrong type"),
        ('"target": 5', "target is of the wrong type"),
        ('"samples": "x"', "samples is of the wrong type"),
        ('"samples": true', "samples is of the wrong type"),
        ('"held_back": [[Infinity, 3]]', "a number of a pair or a shape is of the wrong type"),
        ('"profile": {"x": [["1"]]}', "a number of a pair or a shape is of the wrong type"),
        ('"sqnr_db": {"y": null}', "float"),
        ('"sqnr_db": {"y": 1' + "0" * 400 + "}", "a number of 401 digits"),
        ('"corrections": [{"name": "n", "text": "t"}]', "'kept' is missing"),
        (
            '"corrections": [{"name": "n", "text": "t", "kept": 3}]',
            "kept of a correction is of the wrong type",
        ),
        ('"versions": {"onnx": 3}', "versions is of the wrong type"),
        ('"later": ' + "[" * 200_000 + "]" * 200_000, "nested more than 64 levels deep"),
        ('"target": "a", "target": "b"', "'target' is given twice"),
    ],
)
def test_a_malformed_record_is_no_record(field, reason):
    needed = {"format": 1, "target": "rtx", "placement": "rtx", "ranges": "given"}
    rest = [f'"{name}": {json.dumps(value)}' for name, value in needed.items() if f'"{name}"' not in field]
    start = "{" + ", ".join(rest) + ", "
    with pytest.raises(ValueError, match=f"^not a quantization record: .*{reason}"):
        QuantizationRecord.from_json(start + field + "}")
    model = onnx.ModelProto()
    model.metadata_props.add(key=RECORD_KEY, value=start + field + "}")
    assert read_record(model) is None


def test_fields_of_later_versions_are_passed_over():
    made = [Correction("bias correction", True, "better")]
    record = QuantizationRecord(target="rtx", placement="rtx", ranges="given", corrections=tuple(made))
    document = json.loads(record.to_json())
    document["later"] = document["corrections"][0]["later"] = [1]
    assert QuantizationRecord.from_json(json.dumps(document)) == record


def test_a_damaged_record_is_no_record():
    model = onnx.ModelProto()
    record = QuantizationRecord(target="rtx", placement="rtx", ranges="given")
    store_record(model, record)
    assert read_record(model) == record
    model.metadata_props[0].value = model.metadata_props[0].value[:-9]
    assert read_record(model) is None


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
COUNTS = st.integers(0, 2**40)
FIGURES = st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=3)
RECORDS = st.builds(
    QuantizationRecord,
    target=TEXT,
    route=TEXT,
    placement=TEXT,
    ranges=TEXT,
    algorithm=st.none() | TEXT,
    samples=COUNTS,
    held_back=st.lists(st.tuples(COUNTS, COUNTS), max_size=3).map(tuple),
    data=st.none() | TEXT,
    unseen=st.booleans(),
    corrections=st.lists(st.builds(Correction, TEXT, st.booleans(), TEXT), max_size=2).map(tuple),
    sqnr_db=FIGURES,
    before_db=FIGURES,
    note=TEXT,
    profile=st.dictionaries(TEXT, st.lists(st.lists(COUNTS).map(tuple)).map(tuple), max_size=2),
    versions=st.dictionaries(TEXT, TEXT, max_size=2),
)


@given(RECORDS)
def test_what_is_written_is_read(record):
    assert QuantizationRecord.from_json(record.to_json()) == record


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


@given(RECORDS, st.sampled_from(sorted(vars(QuantizationRecord(target="", placement="", ranges="")))), JSON)
def test_any_value_of_a_field_is_read_or_refused(record, name, value):
    document = json.loads(record.to_json()) | {name: value}
    with contextlib.suppress(ValueError):
        found = QuantizationRecord.from_json(json.dumps(document))
        assert isinstance(found.text, str)
        assert found.worst_db is not None


@given(RECORDS, st.integers(0, 500), st.integers(0, 9), st.text(max_size=4))
def test_any_text_is_read_or_refused(record, start, length, new):
    text = record.to_json()
    with contextlib.suppress(ValueError):
        QuantizationRecord.from_json(text[:start] + new + text[start + length :])
