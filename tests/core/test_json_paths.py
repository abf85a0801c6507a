"""Whatever is read in pieces is what reading all of it says."""

import itertools
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.json_paths import COUNT_MAX, JsonPaths, Sought, whole

PATHS = {"a": ["a"], "b": ["a.b", "c.b"], "d": ["a.b.d"], "é": ["c.é"]}
ROWS = "c.rows"

_names = st.sampled_from(["a", "b", "c", "d", "é", "rows", "x", 'q"\\', "a.b"])
_scalars = (
    st.none() | st.booleans() | st.integers(-5, 10**17) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
_documents = st.recursive(
    _scalars, lambda below: st.lists(below, max_size=4) | st.dictionaries(_names, below, max_size=5), max_leaves=30
)
_nested = st.dictionaries(_names, st.dictionaries(_names, _documents, max_size=4) | _documents, max_size=6)


def _at(document: Any, path: str) -> Any:
    for part in path.split("."):
        document = document.get(part) if isinstance(document, dict) else None
    return document


def _expected(document: Any) -> tuple[dict[str, set[int]], int | None]:
    """What the paths of each name hold; which of several comes last depends on the order."""
    found: dict[str, set[int]] = {}
    for name, paths in PATHS.items():
        for path in paths:
            number = _at(document, path)
            if isinstance(number, int | Decimal) and not isinstance(number, bool) and not str(number).startswith("-"):
                found.setdefault(name, set()).add(whole(Decimal(number)))
    rows = _at(document, ROWS)
    return found, len(rows) if isinstance(rows, list) else None


def _read(pieces: list[bytes]) -> JsonPaths:
    reader = JsonPaths(Sought(PATHS, ROWS))
    for piece in pieces:
        reader.feed(piece)
    return reader


def _cut(text: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in itertools.pairwise(places)]


@given(_nested, st.lists(st.integers(0, 10_000)), st.booleans(), st.sampled_from([None, 1]))
def test_a_document_in_pieces_says_what_all_of_it_says(
    document: Any, cuts: list[int], ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    reader = _read(_cut(text, cuts))
    values, rows = _expected(json.loads(text, parse_float=Decimal))
    assert not reader.broken
    assert reader.rows == rows
    assert reader.values.keys() == values.keys()
    assert all(reader.values[name] in values[name] for name in values)


@pytest.mark.parametrize(
    ("text", "values", "rows"),
    [
        ('{"a": 1, "a": 2}', {"a": 2}, None),
        ('{"a": {"b": 3}, "a": {}}', {}, None),
        ('{"a": {"b": 3}, "a": "x"}', {}, None),
        ('{"a": {"b": {"d": 7}}}', {"d": 7}, None),
        ('{"\\u0061": 5}', {"a": 5}, None),
        ('{"a": 1.2, "c": {"rows": [[], {}, "]", 1, null, [2, 3]]}}', {"a": 2}, 6),
        ('{"c": {"rows": []}}', {}, 0),
        ('{"c": {"rows": [1]}, "c": {"rows": 1}}', {}, None),
        ('{"a": 1e400}', {"a": COUNT_MAX}, None),
        ('{"a": 1e-400}', {"a": 1}, None),
        ('{"a": -1}', {}, None),
        ('{"a": true}', {}, None),
        ('{"a": "7"}', {}, None),
        ('[{"a": 1}]', {}, None),
        ('{"x": "{\\"a\\": 1}\\\\", "a": 4}', {"a": 4}, None),
        ('{"a": 5', {}, None),
        ('{"a": 5,', {"a": 5}, None),
        ("", {}, None),
    ],
)
def test_at_every_split_it_is_the_same(text: str, values: dict[str, int], rows: int | None) -> None:
    body = text.encode()
    for pieces in [
        [body],
        [body[i : i + 1] for i in range(len(body))],
        *([body[:i], body[i:]] for i in range(len(body))),
    ]:
        reader = _read(pieces)
        assert (reader.values, reader.rows) == (values, rows), pieces


def test_an_array_of_rows_may_be_the_whole_document() -> None:
    reader = JsonPaths(Sought({}, ""))
    reader.feed(b'[{"a": [1, 2]}, 2')
    reader.feed(b', "x,y"]')
    assert reader.rows == 3


def test_what_is_kept_does_not_grow_with_the_document() -> None:
    reader = _read([b'{"x": ' + b"[" * 100_000, b'"' + b"y" * 100_000, b'"' + b"]" * 100_000, b', "' + b"k" * 100_000])
    assert not reader._frames[1:]
    assert len(reader._key or b"") <= 1025
    reader.feed(b'": 1, "a": ' + b"1" * 100_000)
    assert len(reader._scalar or b"") <= 100


@pytest.mark.parametrize("text", ["}", "]", '{"a": 1}}', ",", '"x", 1'])
def test_what_is_no_json_ends_the_search(text: str) -> None:
    assert _read([text.encode()]).broken


_texts = _nested.map(json.dumps) | st.sampled_from(
    [
        '{"a": 1, "a": 2}', '{"a": {"b": 3}, "a": {}}', '{"c": {"b": 1}, "a": {"b": 2}, "c": {"b": 3}}',
        '{"a": -1}', '{"a": -0}', '{"a": 1, "x": "-"}', '{"a": true}', '{"a": NaN}', '{"a": Infinity}', '{"a": 1e400}',
        '{"a": 1', '{"a": 1} x', "[DONE]", "", '{"\\u0061": 5}', '{"c": {"b": 1}, "a": {"b": 2}}', '{"a": 007}',
        '{"a": {"b": 2}, "c": {"b": 1}}', '{"a": ' + "9" * 5000 + "}", '{"a": ' + "[" * 3000 + "]" * 3000 + "}",
    ]
)  # fmt: skip


@given(_texts)
def test_what_is_here_whole_is_read_at_once_or_followed_and_says_the_same(text: str) -> None:
    sought = Sought(PATHS)
    at_once = sought.in_document(text.encode())
    reader = JsonPaths(sought)
    reader.feed(text.encode())
    reader.feed(b"\n")
    assert at_once in (None, reader.values)


def test_an_ordinary_document_is_not_followed() -> None:
    said = b' {"a": 7, "c": {"b": 2.5, "x": [1, {"a": 9}]}, "x": "a\\"b"}'
    assert Sought(PATHS).in_document(said) == {"a": 7, "b": 3}
    assert Sought(PATHS, ROWS).in_document(said) is None
    assert Sought(PATHS).in_document(said + b" " * 16_384) is None
