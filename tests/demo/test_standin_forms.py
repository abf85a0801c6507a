"""Form decoding, the check of shapes, amounts and cards: the rules of the stand-in that need no server."""

import re
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stripe._encode import _api_encode

from gateway.demo.standin import cards, currencies, forms, shapes
from gateway.demo.standin.errors import ApiError

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: not re.search(r"[\[\]]", name))
LEAVES = st.text(max_size=20)
TREES = st.recursive(
    LEAVES,
    lambda children: (
        st.lists(children, min_size=1, max_size=4) | st.dictionaries(NAMES, children, min_size=1, max_size=4)
    ),
    max_leaves=12,
)


def depth(tree: Any) -> int:
    if isinstance(tree, str):
        return 1
    return 1 + max(depth(child) for child in (tree.values() if isinstance(tree, dict) else tree))


def numbered(tree: Any) -> Any:
    """What decoding makes of a tree: lists become dicts by number."""
    if isinstance(tree, list):
        return {str(at): numbered(child) for at, child in enumerate(tree)}
    if isinstance(tree, dict):
        return {name: numbered(child) for name, child in tree.items()}
    return tree


@given(st.dictionaries(NAMES, TREES, max_size=4).filter(lambda form: not form or depth(form) <= forms.DEPTH_MAX))
def test_what_the_sdk_encodes_is_decoded_to_the_same_tree(form: dict[str, Any]) -> None:
    encoded = urlencode(list(_api_encode(form))).encode()
    assert forms.decode(forms.pairs(encoded)) == numbered(form)


@given(st.lists(st.text(max_size=6), max_size=6))
def test_a_list_keeps_its_order_in_either_spelling(values: list[str]) -> None:
    shape = {"type": "object", "fields": {"a": {"type": "array", "item": {"type": "any"}}}}
    empty = [("a[]", value) for value in values]
    indexed = [(f"a[{at}]", value) for at, value in enumerate(values)]
    for fields in (empty, indexed, list(reversed(indexed))):
        assert shapes.check(shape, forms.decode(fields)).values == ({"a": values} if values else {})


def test_objects_in_a_list_without_numbers_begin_anew_when_a_name_comes_again() -> None:
    fields = [("a[][x]", "1"), ("a[][y]", "2"), ("a[][x]", "3")]
    assert forms.decode(fields) == {"a": {"0": {"x": "1", "y": "2"}, "1": {"x": "3"}}}


@pytest.mark.parametrize("name", ["", "[a]", "a[", "a]b", "a[b", "a[b]c", "a" + "[b]" * forms.DEPTH_MAX])
def test_a_name_that_cannot_be_read_is_refused(name: str) -> None:
    with pytest.raises(ApiError):
        forms.decode([(name, "1")])


@pytest.mark.parametrize("fields", [[("a", "1"), ("a[b]", "2")], [("a[b]", "2"), ("a", "1")]])
def test_a_name_is_a_value_or_an_object_but_not_both(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(ApiError):
        forms.decode(fields)


@pytest.mark.parametrize("encoded", [b"a=%ff", b"\xff=1", "&".join(["a=1"] * 1001).encode()])
def test_a_body_that_is_not_text_or_too_long_is_refused(encoded: bytes) -> None:
    with pytest.raises(ApiError):
        forms.pairs(encoded)


SHAPE: shapes.Shape = {
    "type": "object",
    "fields": {
        "count": {"type": "integer"},
        "rate": {"type": "number"},
        "on": {"type": "boolean"},
        "name": {"type": "string"},
        "pick": {"type": "enum", "values": ("a", "b")},
        "only": {"type": "enum", "values": ("a",)},
        "list": {"type": "array", "item": {"type": "integer"}},
        "metadata": {"type": "map", "value": {"type": "string"}},
        "when": {
            "type": "union",
            "of": ({"type": "integer"}, {"type": "object", "fields": {"gte": {"type": "integer"}}}),
        },
        "part": {"type": "object", "fields": {"deep": {"type": "string"}}, "required": ("deep",)},
    },
}


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"count": "1.5"}, "parameter_invalid_integer", "count"),
        ({"count": "x"}, "parameter_invalid_integer", "count"),
        ({"count": ""}, "parameter_invalid_empty", "count"),
        ({"count": {"0": "1"}}, None, "count"),
        ({"rate": "NaN"}, "parameter_invalid_decimal", "rate"),
        ({"rate": "x"}, "parameter_invalid_decimal", "rate"),
        ({"on": "1"}, None, "on"),
        ({"name": ""}, "parameter_invalid_empty", "name"),
        ({"name": "x" * 5001}, None, "name"),
        ({"pick": "c"}, None, "pick"),
        ({"pick": ""}, "parameter_invalid_empty", "pick"),
        ({"only": "c"}, None, "only"),
        ({"list": "1"}, None, "list"),
        ({"list": {"a": "1"}}, None, "list"),
        ({"list": {"0": "x"}}, "parameter_invalid_integer", "list[0]"),
        ({"when": "soon"}, "parameter_invalid_integer", "when"),
        ({"when": {"gte": "soon"}}, "parameter_invalid_integer", "when[gte]"),
        ({"part": {}}, "parameter_missing", "part[deep]"),
        ({"part": "x"}, None, "part"),
        ({"part": []}, None, "part"),
        ({"metadata": {str(n): "x" for n in range(51)}}, None, "metadata"),
        ({"metadata": {"k" * 41: "x"}}, None, f"metadata[{'k' * 41}]"),
        ({"metadata": {"k": "x" * 501}}, None, "metadata[k]"),
    ],
)
def test_a_value_of_the_wrong_shape_is_named(params: dict[str, Any], code: str | None, param: str) -> None:
    (problem, *_) = shapes.check(SHAPE, params).problems
    assert (problem.status, problem.code, problem.param) == (400, code, param)


def test_a_value_of_the_right_shape_gets_its_type() -> None:
    params = {
        "count": "-7",
        "rate": "1.5",
        "on": "true",
        "pick": "b",
        "list": {"1": "2", "0": "1"},
        "when": {"gte": "3"},
        "metadata": {**{str(n): "x" for n in range(49)}, "k" * 40: "v" * 500},
    }
    checked = shapes.check(SHAPE, params)
    assert not checked.problems
    assert not checked.unknown
    assert checked.values["count"] == -7
    assert checked.values["on"] is True
    assert checked.values["list"] == [1, 2]
    assert checked.values["when"] == {"gte": 3}


def test_every_unknown_name_is_reported_with_its_path() -> None:
    checked = shapes.check(SHAPE, {"foo": "1", "part": {"deep": "x", "bar": "2"}, "when": {"eq": "1"}})
    assert checked.unknown == ["foo", "part[bar]", "when[eq]"]


@given(st.integers(0, currencies.AMOUNT_MAX), st.sampled_from(sorted(currencies.KNOWN)))
def test_an_amount_in_an_input_field_is_read_back_as_itself(amount: int, currency: str) -> None:
    assert currencies.typed(currencies.figure(amount, currency), currency) == amount


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (123456, "usd", "$1,234.56"),
        (500, "jpy", "¥500"),
        (1500, "kwd", "KWD 1.500"),
        (5, "eur", "€0.05"),
        (5, "kwd", "KWD 0.005"),
    ],
)
def test_amounts_are_shown_with_the_decimals_of_their_currency(amount: int, currency: str, shown: str) -> None:
    assert currencies.shown(amount, currency) == shown


@pytest.mark.parametrize(
    ("text", "currency"), [("1.234", "usd"), ("1.0", "jpy"), ("-1", "usd"), ("1e3", "usd"), ("", "usd"), ("$5", "usd")]
)
def test_what_is_no_amount_of_the_currency_is_not_read(text: str, currency: str) -> None:
    assert currencies.typed(text, currency) is None


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (49, "usd", "amount_too_small"),
        (49, "jpy", "amount_too_small"),
        (140, "kwd", "amount_too_small"),
        (1505, "kwd", None),
        (8050, "isk", None),
        (100_000_000, "usd", "amount_too_large"),
    ],
)
def test_an_amount_outside_the_limits_of_its_currency_is_refused(amount: int, currency: str, code: str | None) -> None:
    with pytest.raises(ApiError) as refused:
        currencies.chargeable(amount, currency, "line_items")
    assert refused.value.code == code


@pytest.mark.parametrize(("amount", "currency"), [(50, "usd"), (50, "jpy"), (150, "kwd"), (99_999_999, "usd")])
def test_an_amount_at_the_edge_of_its_limits_is_taken(amount: int, currency: str) -> None:
    assert currencies.chargeable(amount, currency, "line_items") == amount


def test_a_fingerprint_belongs_to_a_card_and_an_account() -> None:
    one, same = cards.fingerprint("sk_test_a", "4242424242424242"), cards.fingerprint("sk_test_a", "4242424242424242")
    assert one == same
    assert one != cards.fingerprint("sk_test_a", "5555555555554444")
    assert one != cards.fingerprint("sk_test_b", "4242424242424242")


NOW = 1_800_000_000.0  # January 2027


@pytest.mark.parametrize(
    ("number", "expiry", "cvc", "field"),
    [
        ("4242 4242 4242 4241", "12/34", "123", "number"),
        ("4242", "12/34", "123", "number"),
        ("", "12/34", "123", "number"),
        ("4111 1111 1111 1111", "12/34", "123", "number"),
        ("4242 4242 4242 4242", "13/34", "123", "expiry"),
        ("4242 4242 4242 4242", "12/26", "123", "expiry"),
        ("4242 4242 4242 4242", "soon", "123", "expiry"),
        ("4242 4242 4242 4242", "12/34", "1234", "cvc"),
        ("3782 822463 10005", "12/34", "123", "cvc"),
    ],
)
def test_a_card_that_cannot_be_charged_is_refused_by_field(number: str, expiry: str, cvc: str, field: str) -> None:
    with pytest.raises(cards.BadCard) as refused:
        cards.read(number, expiry, cvc, NOW)
    assert refused.value.field == field


@pytest.mark.parametrize("expiry", ["01/27", "1/27", "0127", "01 / 27", "01-2027"])
def test_a_card_is_good_until_the_end_of_its_month(expiry: str) -> None:
    card = cards.read("4242-4242-4242-4242", expiry, "123", NOW)
    assert (card.brand, card.month, card.year) == ("visa", 1, 2027)


@pytest.mark.parametrize("number", sorted(cards.BRANDS))
def test_every_test_card_has_a_valid_number(number: str) -> None:
    assert cards.luhn(number)
