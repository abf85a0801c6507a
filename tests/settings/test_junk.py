"""Whatever the file says: mistakes, never a crash, and never a secret."""

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway.settings import SettingsInvalid, from_mapping, load
from tests.settings.asking import FULL, SECRETS, STRIPE_KEY

PIECES = 16
"""No run of this many characters of a secret may be shown."""

SIGNS = st.sampled_from(
    [*"abz019 :,-#'\"[]{}*&!|>%@`~\t\n\\$/.?=_<é日", "\x00", "\x85", "\u2028", "${", "\ufeff", ": ", "- "]
)
JUNK = st.lists(SIGNS | st.sampled_from(["routes:", "stripe: {", "<<: *a", "&a", STRIPE_KEY]), max_size=60).map("".join)


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """The full configuration after a few slips of the hand."""
    text = FULL
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text) - 1))
        kind = draw(st.sampled_from(["delete", "insert", "replace", "cut line", "repeat line", "indent"]))
        lines = text.split("\n")
        number = text.count("\n", 0, at)
        if kind == "delete":
            text = text[:at] + text[at + draw(st.integers(1, 12)) :]
        elif kind == "insert":
            text = text[:at] + draw(SIGNS) + text[at:]
        elif kind == "replace":
            text = text[:at] + draw(SIGNS) + text[at + 1 :]
        elif kind == "cut line":
            text = "\n".join(lines[:number] + lines[number + 1 :])
        elif kind == "repeat line":
            text = "\n".join([*lines[: number + 1], *lines[number:]])
        else:
            lines[number] = " " * draw(st.integers(1, 4)) + lines[number]
            text = "\n".join(lines)
    return text


def printed(text: str, environ: dict[str, str] | None = None) -> str:
    """What is printed about a file; nothing if it is right."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.yaml"
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            load(file, environ or {}, make_secrets=False)
        except SettingsInvalid as invalid:
            return str(invalid)
    return ""


def assert_shows_no_secret(text: str) -> None:
    for secret in SECRETS:
        for start in range(len(secret) - PIECES + 1):
            assert secret[start : start + PIECES] not in text


@given(JUNK)
@hypothesis_settings(max_examples=150, deadline=None)
def test_junk_is_refused_in_words(text: str) -> None:
    assert STRIPE_KEY not in printed(text)


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
@hypothesis_settings(max_examples=150, deadline=None)
def test_bytes_are_refused_in_words(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.yaml"
        file.write_bytes(content)
        with suppress(SettingsInvalid):
            load(file, {}, make_secrets=False)


@given(spoilt())
@hypothesis_settings(max_examples=100, deadline=None)
def test_a_slip_of_the_hand_is_told_without_showing_a_secret(text: str) -> None:
    assert_shows_no_secret(printed(text))


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["free", "usd", "/a/"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=8,
)
KEYS = [
    "version",
    "mode",
    "listen",
    "store",
    "currency",
    "stripe",
    "tokens",
    "secrets",
    "upstreams",
    "routes",
    "limits",
    "tls",
    "trusted_proxies",
    "timeouts",
]
OF_UPSTREAMS = ["servers", "ejection", "health_check", "tls", "credential", "total_timeout", "retries"]
OF_ROUTES = ["rewrite", "strip_prefix", "host", "request_headers", "answer_headers", "concurrency", "context_key"]
OF_HEADERS = st.dictionaries(st.sampled_from(["set", "add", "remove"]), PLAIN)


@given(st.dictionaries(st.sampled_from(KEYS), PLAIN))
@hypothesis_settings(max_examples=100, deadline=None)
def test_any_value_in_any_place_is_refused_in_words(values: dict[str, Any]) -> None:
    shown = "0 mistakes in the settings"
    with tempfile.TemporaryDirectory() as folder:
        try:
            from_mapping(values, base=Path(folder), make_secrets=False)
        except SettingsInvalid as invalid:
            shown = str(invalid)
    assert shown.endswith("in the settings")


@given(
    st.dictionaries(st.sampled_from(OF_UPSTREAMS), PLAIN),
    st.dictionaries(st.sampled_from(OF_ROUTES), PLAIN),
    OF_HEADERS,
)
@hypothesis_settings(max_examples=100, deadline=None)
def test_any_value_inside_of_an_upstream_or_a_route_is_refused_in_words(
    upstream: dict[str, Any], route: dict[str, Any], headers: dict[str, Any]
) -> None:
    shown = "0 mistakes in the settings"
    values = {"upstreams": {"a": upstream}, "routes": [route, {"answer_headers": headers}]}
    with tempfile.TemporaryDirectory() as folder:
        try:
            from_mapping(values, base=Path(folder), make_secrets=False)
        except SettingsInvalid as invalid:
            shown = str(invalid)
    assert shown.endswith("in the settings")


NAMES = st.sampled_from(
    "LISTEN STRIPE ROUTES ROUTES__A__PRICE ROUTES__WEATHER__LIMIT UPSTREAMS__B__URL UPSTREAMS STRIPE__WEBHOOK_SECRETS "
    "SECRETS__PEPPERS_FILE STRIPE__SECRET_KEY_FILE LOG VERSION X __ ROUTES____".split()
)


@given(st.dictionaries(NAMES, JUNK.filter(lambda text: "\x00" not in text), max_size=4))
@hypothesis_settings(max_examples=150, deadline=None)
def test_any_variable_is_refused_in_words(environ: dict[str, str]) -> None:
    text = printed(FULL, {f"GATEWAY_{name}": value for name, value in environ.items()})
    assert_shows_no_secret(text)
