import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from trt_int8 import documents
from trt_int8.documents import DEPTH, DocumentError, parse_json, parse_yaml, to_yaml

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def read_yaml(text, **options):
    return parse_yaml(text, purpose="a test", **options)


def refusal(read, data):
    with pytest.raises(DocumentError) as caught:
        read(data)
    return f"{caught.value.at[1:]} {caught.value}".strip()


@given(VALUES)
def test_what_json_writes_is_read(value):
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(VALUES)
@example({"\x85": "\u2028 \ufeff"})
@example([".inf", "1:30", "2020-01-01", "=", "<<", "1_0", "é"])
def test_what_yaml_writes_is_read(value):
    assert read_yaml(to_yaml(value, purpose="a test"))[0] == value


def mutated(texts):
    """Texts of ``texts`` with a part replaced by arbitrary bytes."""
    cut = st.tuples(st.sampled_from(texts), st.integers(0, 60), st.integers(0, 9), st.binary(max_size=4))
    return cut.map(lambda c: c[0][: c[1]] + c[3] + c[0][c[1] + c[2] :])


JSONS = [b'{"a": [1, -2.5e3, true, null], "b": {"c": "\\u00e9\\ud83d\\ude00"}}', b'[{"x": NaN}, Infinity]']
YAMLS = [
    b"a: [1, -2.5e3, true, ~]\nb:\n  c: 'x'\n  - d: >\n  e\n",
    b"&a x: !!int 3\n? [1]\n: *a\n<<: {b: 2}\n",
    b"%YAML 1.1\n---\n{a: 2020-01-01, =: 0b_, 1:30: 190:20:30.15}\n...\n--- !<x> |2-\n 3\n",
]


@given(st.binary(max_size=40) | mutated(JSONS))
@example(b"\xef\xbb\xbf{}")
@example(b'"\xed\xa0\x80"')
def test_any_bytes_are_json_or_refused(data):
    try:
        parse_json(data)
    except DocumentError as error:
        refused = str(error)
    else:
        refused = ""
    assert "\n" not in refused


@pytest.mark.parametrize("typed", [True, False])
@given(data=st.binary(max_size=40) | mutated(YAMLS) | st.text(max_size=40).map(str.encode))
def test_any_text_is_yaml_or_refused(typed, data):
    try:
        read_yaml(data.decode("utf-8", "replace"), typed=typed)
    except DocumentError as error:
        refused = str(error)
    else:
        refused = ""
    assert "\n" not in refused


@pytest.fixture(params=["libyaml", "PyYAML's own"])
def read(request, monkeypatch):
    """Each of the two parsers; the second is used where PyYAML has no libyaml."""
    documents._loader.cache_clear()
    if request.param != "libyaml":
        monkeypatch.delattr(yaml, "CSafeLoader")
        monkeypatch.delattr(yaml, "CBaseLoader")
    yield read_yaml
    documents._loader.cache_clear()


#: YAML → what the refusal says, after its line
REFUSED = {
    "an alias": ("a: &x 1\nb: *x\n", "2 the alias *x is not read; write the value itself"),
    "recursion": ("data: &a [*a]\n", "1 the alias *a is not read; write the value itself"),
    "an alias bomb": ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "2 the alias *a is not read"),
    "a deep list": (f"a:\n {'[' * 5000}", "2 "),
    "deep dashes": ("- " * 5000, "1 nested more than 64 levels deep"),
    "a deep list in lines": ("[\n" * 5000, "nested more than 64 levels deep"),
    "10,000 digits": (f"\na: {'1' * 10_000}\n", "2 a number of 10000 digits (11111111…); 300 are read at most"),
    "10,000 digits of a float": (f"a: {'1' * 10_000}.5\n", "1 a number of 10002 digits (11111111…)"),
    "a tag": ("a: 1\nb: !!python/name:os.system x\n", "2 the tag 'tag:yaml.org,2002:python/name:os.system'"),
    "a tag of YAML": ("b: !!timestamp x\n", "1 the tag 'tag:yaml.org,2002:timestamp' is not read; remove it"),
    "a key twice": ("a: 1\nb: 2\na: 3\n", "3 'a' is given twice (first on line 1)"),
    "an inner key twice": ("a:\n  b: 2\n  b: 3\n", "3 'b' is given twice (first on line 2)"),
    "a list as a key": ("a: 1\n? [1]\n: 2\n", "2 a key is a list or a mapping; write a name"),
    "two documents": ("a: 1\n---\nb: 1\n", "not YAML: "),
    "a tab": ("a: 1\n\tb: 2\n", "not YAML: "),
    "a control character": ("a: \x07\n", "not YAML: "),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_yaml_that_is_refused(read, kind):
    text, message = REFUSED[kind]
    assert message in refusal(read, text)


def test_half_a_character(read):
    assert refusal(parse_json, '\n{"\\ud800": 1.0}').endswith("has half a character (a lone surrogate)")
    assert refusal(parse_json, b'["\xed\xa0\x80"]').startswith("not UTF-8 text")
    assert parse_json(r'["\ud83d\ude00"]') == ["\U0001f600"]
    refusal(read, '"\\ud800"')


def test_a_long_document_ends_early(read, monkeypatch):
    monkeypatch.setattr(documents, "VALUES", 1000)
    assert refusal(read, "a: [" + "1," * 10_000_000) == "1 more than 1000 values"


def test_scalars(read):
    assert read("a: 2020-99-99\nb: 0b_\nc: =\n<<: yes\nd: .inf\n")[0] == {
        "a": "2020-99-99",
        "b": "0b_",
        "c": "=",
        "<<": True,
        "d": math.inf,
    }
    assert read("106: yes\n", typed=False)[0] == {"106": "yes"}
    assert read("") == (None, {})


def test_of_a_key_given_twice_the_last_counts_in_its_place(read):
    found, lines = read("a: 1\nb: 2\na: 3\n", unique=False)
    assert list(found.items()) == [("b", 2), ("a", 3)]
    assert lines == {"b": 2, "a": 3}
    assert list(parse_json('{"a": 1, "b": 2, "a": 3}', unique=False).items()) == [("b", 2), ("a", 3)]


def test_json_that_is_refused():
    assert refusal(parse_json, "[" * 100_000) == "nested more than 64 levels deep"
    assert refusal(parse_json, "[" * 200 + "]" * 200) == "nested more than 64 levels deep"
    assert parse_json("[" * DEPTH + "]" * DEPTH)
    assert refusal(parse_json, "1" * 10_000) == "a number of 10000 digits (11111111…); 300 are read at most"
    assert refusal(parse_json, '{"a": {"b": 1, "b": 1}}') == "'b' is given twice"
    assert refusal(parse_json, '{\n"a": 1,\n}').startswith("3 not JSON: ")
    assert refusal(parse_json, "") == "1 not JSON: Expecting value (column 1)"


def test_one_module_reads_documents():
    package = Path(documents.__file__).parent
    readers = ("json.load", "yaml.load", "yaml.safe_", "yaml.compose", "SafeLoader", "BaseLoader")
    found = {
        path.name
        for path in package.rglob("*.py")
        if any(name in path.read_text("utf-8") for name in readers)
    }
    assert found == {"documents.py"}


def test_yaml_is_imported_when_it_is_read():
    command = "import sys, trt_int8.documents; assert not {'yaml', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", command], check=True)
