"""What a request's head means, edge by edge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.framing import NO_BODY, Framing
from gateway.core.headers import Fields
from gateway.core.heads import RequestHead, read_request
from gateway.core.refusals import BadRequest, MethodNotAllowed

HOST = ("Host", "api.example")
TOKEN = "fb_test_1a2b" + "A" * 40


def head(*fields: tuple[str, str], version: int = 11, method: str = "GET") -> RequestHead:
    return read_request(method, version, [HOST, *fields])


def test_a_plain_request_is_read() -> None:
    assert head() == RequestHead("api.example", NO_BODY, True, False, "", False)


# --- method and version -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
def test_methods_that_are_never_served_are_refused_first(method: str) -> None:
    with pytest.raises(MethodNotAllowed):
        read_request(method, 99, [])


@pytest.mark.parametrize("method", ["GET", "M-SEARCH", "trace", "CONNECTED", "X!"])
def test_every_other_token_is_a_method(method: str) -> None:
    head(method=method)


@pytest.mark.parametrize("method", ["", "GE T", "GET\r", "G\x00", "GÉT", "a/b"])
def test_a_method_that_is_no_token_is_refused(method: str) -> None:
    with pytest.raises(BadRequest, match="method"):
        head(method=method)


@pytest.mark.parametrize("version", [9, 0, 12, 20])
def test_other_versions_are_refused(version: int) -> None:
    with pytest.raises(BadRequest, match=r"not HTTP/1\.0 or HTTP/1\.1"):
        head(version=version)


# --- fields -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [*range(9), *range(10, 32), 127])
def test_a_control_character_is_refused_and_the_field_named(code: int) -> None:
    with pytest.raises(BadRequest) as refused:
        head(("X-Fine", "y"), ("X-Odd", f"secret{chr(code)}"))
    assert "X-Odd" in refused.value.why
    assert "secret" not in refused.value.why


@pytest.mark.parametrize("value", ["", "a\tb", " ~", "\x80\x85\xa0\xff", "Ä ok", "\udcff"])
def test_every_other_value_passes(value: str) -> None:
    head(("X", value))


@pytest.mark.parametrize("name", ["", "A B", " A", "A\t", "A:", "A\n", "Ä", "A\x00", "(A)", "A/B", "\u212a"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    for fields in ([(name, "x")], [("X", "y"), (name, ""), ("Z", "")]):
        with pytest.raises(BadRequest, match="name of a field"):
            head(*fields)


@pytest.mark.parametrize("name", ["a", "!#$%&'*+-.^_`|~09AZaz", "-"])
def test_every_token_is_a_name(name: str) -> None:
    head((name, "x"))


# --- host -------------------------------------------------------------------------------------------------------------


def test_a_host_is_as_it_was_sent() -> None:
    assert read_request("GET", 11, [("hOST", " API.example:8080\t")]).host == "API.example:8080"


def test_only_http_1_0_may_come_without_a_host() -> None:
    assert read_request("GET", 10, []).host == ""
    with pytest.raises(BadRequest, match="no Host"):
        read_request("GET", 11, [("X-Host", "a")])


@pytest.mark.parametrize("version", [10, 11])
def test_a_second_host_is_refused_even_if_it_is_equal(version: int) -> None:
    with pytest.raises(BadRequest, match="more than one Host"):
        read_request("GET", version, [HOST, HOST])


@pytest.mark.parametrize("version", [10, 11])
@pytest.mark.parametrize("host", ["", "a b", "u@a", "a/b", "a,b", "a:b:c", "a:", "secret%00"])
def test_a_host_that_is_no_authority_is_refused(host: str, version: int) -> None:
    with pytest.raises(BadRequest, match="its Host is not") as refused:
        read_request("GET", version, [("Host", host)])
    assert "secret" not in refused.value.why


# --- framing ----------------------------------------------------------------------------------------------------------


def test_the_framing_is_that_of_the_fields() -> None:
    assert head(("content-length", "5"), method="POST").framing == Framing("length", 5)
    assert head(("transfer-encoding", "Chunked"), method="GET").framing == Framing("chunked")
    assert head(("Content-Length", "0")).framing == Framing("length", 0)


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        (11, [("Content-Length", "5"), ("Content-Length", "5")]),
        (11, [("Content-Length", "5"), ("Transfer-Encoding", "chunked")]),
        (11, [("Transfer-Encoding", "gzip, chunked")]),
        (10, [("Transfer-Encoding", "chunked")]),
    ],
)
def test_mistakes_of_framing_are_refused(version: int, fields: Fields) -> None:
    with pytest.raises(BadRequest):
        head(*fields, version=version)


# --- connection, expect, te -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "values", "keep_alive"),
    [
        (11, [], True), (11, ["close"], False), (11, ["Close"], False), (11, ["x, close ,y"], False),
        (11, ["x", "\tclose"], False), (11, ["closed"], True), (11, ["keep-alive"], True),
        (11, ["keep-alive, close"], False), (11, ["clo\u017fe"], True),
        (10, [], False), (10, ["keep-alive"], True), (10, ["Keep-Alive, x"], True), (10, ["close, keep-alive"], False),
        (10, ["\u212aeep-alive"], False),
    ],
)  # fmt: skip
def test_whether_another_request_may_follow(version: int, values: list[str], keep_alive: bool) -> None:
    assert head(*(("Connection", value) for value in values), version=version).keep_alive is keep_alive


@pytest.mark.parametrize(
    ("version", "expect", "fields", "expects"),
    [
        (11, "100-continue", [("Content-Length", "1")], True),
        (11, "100-Continue", [("Transfer-Encoding", "chunked")], True),
        (11, "100-continue", [("Content-Length", "0")], False),
        (11, "100-continue", [], False),
        (11, "other", [("Content-Length", "1")], False),
        (11, "100-continued", [("Content-Length", "1")], False),
        (10, "100-continue", [("Content-Length", "1")], False),
    ],
)
def test_who_waits_for_a_go_ahead(version: int, expect: str, fields: Fields, expects: bool) -> None:
    assert head(("Expect", expect), *fields, version=version).expects_continue is expects


@pytest.mark.parametrize(
    ("version", "te", "wanted"),
    [
        (11, "trailers", True), (11, "gzip;q=0.5, Trailers", True), (11, "gzip", False), (11, "trailers;q=0", False),
        (11, "trailer", False), (11, "", False), (10, "trailers", False),
    ],
)  # fmt: skip
def test_who_wants_trailers(version: int, te: str, wanted: bool) -> None:
    assert head(("TE", te), version=version).wants_trailers is wanted


# --- upgrade ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "upgrade"),
    [
        (["websocket"], "websocket"), (["WebSocket"], "WebSocket"), (["a/1, b"], "a/1, b"), (["a", "b"], "a, b"),
        (["h2c"], ""), (["H2C"], ""), (["h2"], ""), (["h2-14"], ""), (["TLS/1.0"], ""),
        (["tls/1.3, websocket"], "websocket"),
        (["h2c, websocket"], "websocket"), (["xh2c"], "xh2c"), (["tls"], "tls"), ([""], ""), ([" , ,"], ""),
        ([TOKEN], ""), ([f"{TOKEN}, a"], "a"),
    ],
)  # fmt: skip
def test_what_may_be_upgraded_to(asked: list[str], upgrade: str) -> None:
    fields = [("Upgrade", value) for value in asked]
    assert head(*fields, ("Connection", "x, Upgrade")).upgrade == upgrade


def test_an_upgrade_counts_only_with_connection_and_in_http_1_1() -> None:
    assert head(("Upgrade", "websocket")).upgrade == ""
    assert head(("Upgrade", "websocket"), ("Connection", "keep-alive")).upgrade == ""
    assert head(("Upgrade", "websocket"), ("Connection", "upgrade"), version=10).upgrade == ""
    assert head(("Connection", "upgrade")).upgrade == ""


@pytest.mark.parametrize("asked", ["web socket", "a/b/c", "/a", "a/", '"a"', "a;b"])
def test_an_upgrade_that_cannot_be_read_is_refused(asked: str) -> None:
    with pytest.raises(BadRequest, match="Upgrade"):
        head(("Upgrade", asked), ("Connection", "upgrade"))


@pytest.mark.parametrize("body", [("Content-Length", "1"), ("Transfer-Encoding", "chunked")])
def test_an_upgrade_with_a_body_is_refused_unless_it_goes_no_further(body: tuple[str, str]) -> None:
    with pytest.raises(BadRequest, match="an Upgrade and a body"):
        head(("Upgrade", "websocket"), ("Connection", "upgrade"), body)
    assert head(("Upgrade", "websocket"), body).upgrade == ""
    assert head(("Upgrade", "h2c"), ("Connection", "upgrade"), body).upgrade == ""


def test_an_upgrade_with_an_empty_body_passes() -> None:
    assert head(("Upgrade", "websocket"), ("Connection", "upgrade"), ("Content-Length", "0")).upgrade == "websocket"


# --- any fields at all ------------------------------------------------------------------------------------------------

names = st.sampled_from("Host Content-Length Transfer-Encoding Connection Upgrade Expect TE X Ä".split())
values = st.one_of(
    st.text(max_size=6), st.sampled_from("5 chunked close upgrade websocket 100-continue a a:80".split())
)


@given(st.sampled_from((10, 11)), st.lists(st.tuples(names, values), max_size=6))
def test_whatever_is_sent_is_read_or_refused_and_no_value_is_quoted(version: int, fields: Fields) -> None:
    marked = [(name, value + "SECRET") for name, value in fields]
    for sent in (fields, [HOST, *fields], marked, [HOST, *marked]):
        found = outcome(version, sent)
        if isinstance(found, str):
            assert "SECRET" not in found
        else:
            assert not (found.upgrade and found.framing.has_body)
            assert found.host or version == 10


def outcome(version: int, fields: Fields) -> RequestHead | str:
    """The head, or why it is refused."""
    try:
        return read_request("POST", version, fields)
    except BadRequest as refused:
        return refused.why
