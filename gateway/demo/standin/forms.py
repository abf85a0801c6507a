"""Stripe's form encoding, read back into nested data.

A parameter name is a word and then brackets: `line_items[0][price]=…`, `created[gte]=…`, `expand[]=…`. Whether
`a[0]` is the first element of a list or the key "0" of a map cannot be told from the name, so decoding does not
guess: every bracket becomes a key of a dict, `[]` takes the next free number, and `shapes.py` turns dicts into
lists where the parameter's shape says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias
from urllib.parse import parse_qsl

from gateway.demo.standin.errors import ApiError, invalid

Form: TypeAlias = "str | dict[str, Form]"

PAIRS_MAX = 1000
DEPTH_MAX = 10

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_BRACKET = re.compile(r"\[([^\[\]]*)\]")


def pairs(encoded: bytes) -> list[tuple[str, str]]:
    """The names and values of a form or of a query string, in their order."""
    try:
        return parse_qsl(
            encoded.decode(),
            keep_blank_values=True,
            strict_parsing=False,
            errors="strict",
            max_num_fields=PAIRS_MAX,
        )
    except UnicodeDecodeError:
        raise invalid("The request is not valid UTF-8.") from None
    except ValueError:
        raise invalid(f"A request takes at most {PAIRS_MAX} parameters.") from None


def decode(fields: Iterable[tuple[str, str]]) -> dict[str, Form]:
    """Nested dicts of strings. Raises `ApiError` for a name that cannot be read."""
    root: dict[str, Form] = {}
    for name, value in fields:
        _put(root, _segments(name), value, name)
    return root


def _segments(name: str) -> list[str]:
    match = _NAME.fullmatch(name)
    if match is None:
        raise invalid(f"Invalid parameter name: {name[:100]}")
    segments = [match[1], *_BRACKET.findall(match[2])]
    if len(segments) > DEPTH_MAX:
        raise invalid(f"Invalid parameter name: {name[:100]} is nested too deeply")
    return segments


def _put(node: dict[str, Form], segments: Sequence[str], value: str, name: str) -> None:
    for position, segment in enumerate(segments[:-1]):
        key = segment or _element(node, segments[position + 1])
        child = node.setdefault(key, {})
        if isinstance(child, str):
            raise _conflict(name)
        node = child
    key = segments[-1] or str(len(node))
    if isinstance(node.get(key), dict):
        raise _conflict(name)
    node[key] = value


def _element(node: dict[str, Form], next_segment: str) -> str:
    """Which element `a[][b]` means: the last one, until it already has a `b`."""
    if not node:
        return "0"
    last = str(len(node) - 1)
    element = node.get(last)
    taken = isinstance(element, dict) and next_segment in element
    return str(len(node)) if taken else last


def _conflict(name: str) -> ApiError:
    return invalid(f"Invalid parameters: {name[:100]} is given both as a value and as an object")
