"""What two programs could read differently is refused before the upstream sees a byte of it, and closes the connection.

Every case goes through real sockets as raw bytes, to an upstream that records bytes; both sides of a bound are tried.
The cases of one rule share a test and a stage, and a failure names the case.
"""

import asyncio
import random
from typing import Any

import pytest

from gateway.cli.stage import Stage
from tests import leaks
from tests.forms import FORMS
from tests.gateway_process import patiently
from tests.raw import OK, RawUpstream, Visit, answering
from tests.relay.refusing import (
    CHUNKED,
    SECRET,
    all_pass,
    all_refused,
    config,
    connected,
    flaws,
    head,
    none_passed,
    post,
)

# --- where the body ends ----------------------------------------------------------------------------------------------

LENGTHS = [
    "", "005", "05", "+5", "-1", "-0", "5,5", "5, 5", "5,", ",5", "5 5", "5;", "1e3", "0x5", "5.0", "five", "5\t6",
    "\xb2", "9223372036854775808", "18446744073709551615", "18446744073709551621", "9" * 30, "9" * 2000, "00", "5_0",
]  # fmt: skip
CODINGS = [
    "", "gzip", "chunked, gzip", "gzip, chunked", "gzip,chunked", "xchunked", "chunkedx", "chunked;q=1", "chunked,",
    ",chunked", "chunked, chunked", "chunked, identity", "identity, chunked", "identity", "chunked ;", '"chunked"',
    "chun ked", "chunked\t,", "deflate", "\xa0chunked", "chunked\x85", "chunked\t",
]  # fmt: skip


async def test_a_length_that_is_no_plain_number_is_refused(stage: Stage, upstream: RawUpstream) -> None:
    await none_passed(stage, upstream, {length: post(f"Content-Length: {length}") for length in LENGTHS})


async def test_two_statements_about_a_length_are_refused(stage: Stage, upstream: RawUpstream) -> None:
    length = "Content-Length: 5"
    pairs = {
        "differing": (length, "Content-Length: 6"),
        "equal": (length, length),
        "zeros": ("Content-Length: 0", "content-length: 0"),
        "far apart": (length, "X: y", "Y: z", "CONTENT-LENGTH: 5"),
        "length, then chunks": (length, CHUNKED),
        "chunks, then length": (CHUNKED, length),
        "no length, then chunks": ("Content-Length: 0", CHUNKED),
        "two codings": (CHUNKED, CHUNKED),
        "two codings, one empty": (CHUNKED, "Transfer-Encoding:"),
        "gzip, then chunks": ("Transfer-Encoding: gzip", CHUNKED),
        "an unknown coding with a length": (length, "Transfer-Encoding: identity"),
    }
    await none_passed(stage, upstream, {name: post(*lines) for name, lines in pairs.items()})


async def test_any_coding_but_chunked_is_refused(stage: Stage, upstream: RawUpstream) -> None:
    body = b"5\r\nhello\r\n0\r\n\r\n"
    cases = {coding: post(f"Transfer-Encoding: {coding}", body=body) for coding in CODINGS}
    cases["HTTP/1.0"] = post(CHUNKED, body=body, version="HTTP/1.0")
    await none_passed(stage, upstream, cases)


async def test_chunked_in_any_case_and_between_blanks_passes(stage: Stage, upstream: RawUpstream) -> None:
    codings = ("chunked", "Chunked", "CHUNKED", "chunked ", "chunked   ", "  chunked", "\tchunked", "\t chunked ")
    body = b"5\r\nhello\r\n0\r\n\r\n"
    await all_pass(stage, upstream, {c: post(f"Transfer-Encoding: {c}", body=body) for c in codings})
    assert [visit.body for visit in upstream.visits] == [b"hello", b""] * len(codings)
    assert {bytes(*visit.values(b"Transfer-Encoding")) for visit in upstream.visits} == {b"chunked", b""}


BAD_CHUNKS = {
    "0x5": b"0x5\r\nhello", "blank behind": b"5 \r\nhello", "blank before": b" 5\r\nhello", "tab": b"5\t\r\nhello",
    "-1": b"-1\r\nhello", "+5": b"+5\r\nhello", "g": b"g\r\nhello", "empty": b"\r\nhello", "_": b"1_0\r\nhello",
    "16 digits": b"0000000000000005\r\nhello", "17 digits": b"00000000000000005\r\nhello",
    "17 digits, large": b"10000000000000005\r\nhello", "16 digits, f": b"f" * 16 + b"\r\nhello",
    "LF in an extension": b"5;a=b\nc\r\nhello", "CR in an extension": b"5;a=b\rc\r\nhello", "LF": b"5\nhello",
    "CR": b"5\rhello", "NUL in an extension": b"5;\0\r\nhello", "blank before an extension": b"5 ;a\r\nhello",
    "an extension without a name": b"5;\r\nhello", "long extension": b"5;" + b"a" * 300 + b"\r\nhello",
    "endless extension": b"5;" + b"a" * 3000, "longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "shorter than its size": b"5\r\nhell\r\n0\r\n\r\n", "no end after data": b"5\r\nhello0\r\n\r\n",
    "two bytes for an end": b"5\r\nhelloXX0\r\n\r\n", "LFCR after data": b"5\r\nhello\n\r0\r\n\r\n",
    "LFLF after data": b"5\r\nhello\n\n0\r\n\r\n", "CRX after data": b"5\r\nhello\rX0\r\n\r\n",
    "LF after data": b"5\r\nhello\n0\r\n\r\n", "CR after data": b"5\r\nhello\r0\r\n\r\n",
    "two ends after data": b"5\r\nhello\r\n\r\n0\r\n\r\n",
    "a request for a trailer": b"0\r\nGET /free/x HTTP/1.1\r\n\r\n",
    "no last end": b"0\r\nX\r\n", "LF at the end": b"0\r\n\n", "CR at the end": b"0\r\n\rX",
    "obs-fold": b"0\r\nA: b\r\n c: d\r\n\r\n",
    "control in a trailer": b"0\r\nA: b\x01\r\n\r\n", "NUL in a trailer": b"0\r\nA: \0\r\n\r\n",
    "LF in a trailer": b"0\r\nA: b\nc\r\n\r\n",
    "a length in a trailer": b"0\r\nContent-Length: 5\r\n\r\n",
    "a coding in a trailer": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "no name in a trailer": b"0\r\n: b\r\n\r\n", "blank before the colon": b"0\r\nA : b\r\n\r\n",
    "trailers over the bound": b"0\r\n" + b"A: b\r\n" * 3000 + b"\r\n", "one long trailer": b"0\r\nA: " + b"b" * 17000,
}  # fmt: skip


@pytest.mark.parametrize("target", [f"/free/{SECRET}", "/-/wallet"])
async def test_a_bad_chunk_is_refused_and_the_upstream_never_sees_a_whole_request(
    stage: Stage, upstream: RawUpstream, target: str
) -> None:
    whole = []

    async def script(visit: Visit) -> None:
        whole.append(visit.body)
        await answering(OK)(visit)

    upstream.script = script
    after_a_good_one = {f"{name}, later": b"3\r\nabc\r\n" + bad for name, bad in BAD_CHUNKS.items()}
    cases = {name: post(CHUNKED, body=bad, target=target) for name, bad in (BAD_CHUNKS | after_a_good_one).items()}
    assert not await all_refused(stage.url, cases, code="bad_request")
    assert whole == []


async def test_odd_but_good_chunks_pass_without_their_oddities(stage: Stage, upstream: RawUpstream) -> None:
    bodies = {
        "leading zeros": b"00005\r\nhello\r\n000\r\n\r\n",
        "letters": b"00A\r\nhellohello\r\n0a\r\nhellohello\r\n0\r\n\r\n",
        "extensions": b'5;a;b=c;d="e \\" f"\r\nhello\r\n0;last\r\n\r\n',
        "trailers": b"5\r\nhello\r\n0\r\nX-Trailer: a\r\nAuthorization: b\r\n\r\n",
        "an extension at the bound": b"5;" + b"a" * 255 + b"\r\nhello\r\n0\r\n\r\n",
        "trailers within the bound": b"5\r\nhello\r\n0\r\n" + b"A: b\r\n" * 2500 + b"\r\n",
    }
    await all_pass(stage, upstream, {name: post(CHUNKED, body=body) for name, body in bodies.items()})
    assert {visit.body for visit in upstream.visits} == {b"hello", b"hello" * 4, b""}
    assert not any(b"railer" in visit.head for visit in upstream.visits)
    assert upstream.connections == 1  # nothing was left in it


# --- lines and bytes --------------------------------------------------------------------------------------------------

GOOD = head("X: y")
CONTROLS = [*range(32), 127]


async def test_lines_end_with_crlf_and_nothing_else(stage: Stage, upstream: RawUpstream) -> None:
    line = b"GET /free/x HTTP/1.1"
    cases = {
        "LF everywhere": GOOD.replace(b"\r\n", b"\n"),
        "CR everywhere": GOOD.replace(b"\r\n", b"\r"),
        "LFCR everywhere": GOOD.replace(b"\r\n", b"\n\r"),
        "CRCRLF everywhere": GOOD.replace(b"\r\n", b"\r\r\n"),
        "LF behind the request line": line + b"\nHost: a.example\r\n\r\n",
        "CR behind the request line": line + b"\rHost: a.example\r\n\r\n",
        "only a request line and LF": line + b"\n",
        "a request line of HTTP/0.9": b"GET /free/x\r\n",
        "LF behind a field": line + b"\r\nHost: a.example\nX: y\r\n\r\n",
        "CR behind a field": line + b"\r\nHost: a.example\rX: y\r\n\r\n",
        "LF in a value": line + b"\r\nHost: a.example\r\nX: a\nb\r\n\r\n",
        "CR in a value": line + b"\r\nHost: a.example\r\nX: a\rb\r\n\r\n",
        "CR at the end of a value": line + b"\r\nHost: a.example\r\nX: a\r\r\n\r\n",
        "LF before the body": line + b"\r\nHost: a.example\r\n\n",
        "CR before the body": line + b"\r\nHost: a.example\r\n\r\r\n",
        "LF in the request line": b"GET /free/\nx HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "CR in the request line": b"GET /free/\rx HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "a folded value": line + b"\r\nHost: a.example\r\nX: a\r\n b\r\n\r\n",
        "a folded value, by a tab": line + b"\r\nHost: a.example\r\nX: a\r\n\tb\r\n\r\n",
        "a folded first field": line + b"\r\n Host: a.example\r\n\r\n",
        "a fold of nothing": line + b"\r\nHost: a.example\r\n \r\n\r\n",
        "a folded coding": line + b"\r\nHost: a.example\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "a folded length": line + b"\r\nHost: a.example\r\nContent-Length:\r\n 5\r\n\r\nhello",
    }
    await none_passed(stage, upstream, cases)


async def test_a_control_byte_is_refused_wherever_it_stands(stage: Stage, upstream: RawUpstream) -> None:
    cases = {}
    for code in CONTROLS:
        byte = chr(code)
        for place in ("a" + byte + "b", byte + "b", "a" + byte):
            if byte != "\t":
                cases[f"{code} in a value {place!r}"] = head(f"X: {place}")
            cases[f"{code} in a name {place!r}"] = head(f"{place}: x")
            cases[f"{code} in a target {place!r}"] = head(target=f"/free/{place}")
            cases[f"{code} in a query {place!r}"] = head(target=f"/free/?{place}")
            cases[f"{code} in a method {place!r}"] = head(method=f"{place}GET")
            cases[f"{code} in the version {place!r}"] = head(version=f"HTTP/1.1{place}")
            cases[f"{code} in Host {place!r}"] = head(host=f"{place}.example") if byte != "\t" else head(host="a\tb")
    cases = {name: case for name, case in cases.items() if "\r\n\r\n" not in case[:-4].decode("latin-1")}
    await none_passed(stage, upstream, cases)


async def test_a_name_is_a_token_right_before_its_colon(stage: Stage, upstream: RawUpstream) -> None:
    lines = [
        "X : y", "X\t: y", " X: y", "\tX: y", ": y", "X", "X y", "X(: y", "X): y", "X,: y", "X/: y", "X;: y", "X<: y",
        "X=: y", "X>: y", "X?: y", "X@: y", "X[: y", "X\\: y", "X]: y", "X{: y", "X}: y", 'X": y', "X\xe9: y",
        "\xff: y", "Content-Length : 5", "Transfer-Encoding : chunked", "Host : b.example", "X Y: z",
    ]  # fmt: skip
    await none_passed(stage, upstream, {line: head(line) for line in lines})


async def test_a_method_is_capital_letters(stage: Stage, upstream: RawUpstream) -> None:
    methods = ["get", "Get", "gET", "G(T", "G/T", "G,T", "G\xe9T", "G@T", "GET:", '"GET"', "G" * 40, "1GET", "-GET"]
    await none_passed(stage, upstream, {method: head(method=method) for method in methods})


@pytest.mark.parametrize("target", ["/free/x", "a.example:443", "/-/wallet", "http://a.example/free/x", "*"])
@pytest.mark.parametrize("method", ["CONNECT", "TRACE"])
async def test_connect_and_trace_are_never_served(
    stage: Stage, upstream: RawUpstream, method: str, target: str
) -> None:
    await none_passed(stage, upstream, {method: head(method=method, target=target)}, status=405)


@pytest.mark.parametrize("method", ["M-SEARCH", "PROPFIND", "FOO", "A_B", "PATCH", "DELETE", "OPTIONS"])
async def test_methods_that_nobody_knows_pass(stage: Stage, upstream: RawUpstream, method: str) -> None:
    await all_pass(stage, upstream, {method: head(method=method, target="/free/x")})
    assert upstream.visits[0].request_line == f"{method} /free/x HTTP/1.1".encode()


# --- the request line -------------------------------------------------------------------------------------------------


async def test_a_request_line_has_three_parts_and_two_blanks(stage: Stage, upstream: RawUpstream) -> None:
    lines = [
        "GET", "GET ", "GET /free/x", "GET /free/x ", "GET  /free/x HTTP/1.1", "GET /free/x  HTTP/1.1",
        "GET\t/free/x HTTP/1.1", "GET /free/x\tHTTP/1.1", "GET /free/x HTTP/1.1 ", "GET /free/x HTTP/1.1\t",
        " GET /free/x HTTP/1.1", "GET /free/x HTTP/1.1 HTTP/1.1", "GET /free/x y HTTP/1.1", "GET HTTP/1.1",
        "/free/x HTTP/1.1", "GET /free/x HTTP /1.1", "GET /free/x HTTP/ 1.1", "HTTP/1.1 200 OK",
        "GET\xa0/free/x HTTP/1.1",
    ]  # fmt: skip
    await none_passed(stage, upstream, {line: f"{line}\r\nHost: a.example\r\n\r\n".encode("latin-1") for line in lines})


async def test_only_http_1_0_and_1_1_are_spoken(stage: Stage, upstream: RawUpstream) -> None:
    versions = [
        "HTTP/2.0", "HTTP/2", "HTTP/1.2", "HTTP/0.9", "HTTP/3.0", "HTTP/3", "http/1.1", "Http/1.1", "RTSP/1.0",
        "ICE/1.0",
        "HTTP/1.10", "HTTP/01.1", "HTTP/1,1", "HTTP/1", "HTTP/1.", "HTTP/.1", "HTTP/11", "HTTPS/1.1", "HTTP 1.1", "1.1",
        "HTTP/1.1x", "xHTTP/1.1", "SIP/2.0", "HTTP/9.9", "HTTP/1.1\x00", "HTTP/\xb9.1",
    ]  # fmt: skip
    cases = {version: head(version=version) for version in versions}
    cases["the preface of HTTP/2"] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    await none_passed(stage, upstream, cases)


async def test_garbage_is_refused_at_once(stage: Stage, upstream: RawUpstream) -> None:
    chance = random.Random(1)
    cases = {
        "a TLS ClientHello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(300),
        "an SSH banner": b"SSH-2.0-OpenSSH_9.6\r\n",
        "SOCKS": b"\x05\x01\x00",
        "newlines": b"\n\n\n\n",
        "nothing but ends": b"\r\n" * 20,
        "the PROXY protocol": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /free/x HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    }
    for number in range(50):
        cases[f"random {number}"] = bytes([chance.choice(b"\x00\x01\x80\xff({@")]) + chance.randbytes(200)
    await none_passed(stage, upstream, cases)


async def test_one_empty_line_may_come_before_a_request_and_no_more(stage: Stage, upstream: RawUpstream) -> None:
    await all_pass(stage, upstream, {"one": b"\r\n" + head(target="/free/x")})
    cases = {"two": b"\r\n\r\n", "three": b"\r\n" * 3, "LF": b"\n", "CR": b"\r", "LFCR": b"\n\r", "CRCRLF": b"\r\r\n"}
    cases = {name: ends + head(target="/free/never") for name, ends in cases.items()}
    assert not await all_refused(stage.url, cases)
    assert len(upstream.visits) == 2


async def test_an_empty_line_in_pieces_is_an_empty_line_too(stage: Stage, upstream: RawUpstream) -> None:
    async with connected(stage.url) as wire:
        for _ in range(3):
            await wire.send_slowly(b"\r\n" + head(target="/free/x"))
            assert (await wire.answer()).status == 200
        await wire.send_slowly(b"\r\n")
        await wire.send_slowly(b"\r\n")
        answer = await wire.answer()
        assert not flaws(answer, 400, "bad_request")
    assert len(upstream.visits) == 3


# --- Host and targets -------------------------------------------------------------------------------------------------

HOSTS = [
    "a b", "a/b", "x/#@y", "a@b", "a:b", "a:99999", "a:65536", "a:080", "a:-1", "a:1:2", "[::1", "::1", "[::1]x",
    "[g::]",
    "[]", "a,b", "a.example, b", "a%20b", "a%2eb", "a;b", "a?b", "a#b", "http://a", "a\\b", "a'b", "a\"b", "a(b)",
    "a!b",
    "\xe9.example", "a|b", "a^b", "a{b}", "a`b", "a<b>", "a$b", "a&b", "a=b", "a*b", "a" * 300, "", " ", ":80", "a:",
    "@",
]  # fmt: skip


async def test_host_is_one_plain_authority(stage: Stage, upstream: RawUpstream) -> None:
    cases = {host: head(f"Host: {host}", host="") for host in HOSTS}
    cases["missing"] = head(host="")
    cases["two, equal"] = head("Host: a.example")
    cases["two, differing"] = head("Host: b.example")
    cases["two, one empty"] = head("Host:")
    cases["two, in another case"] = head("X: y", "HOST: b.example")
    cases["one and one folded"] = head("X: y\r\n Host: b.example", "HoSt: c")
    cases["two in HTTP/1.0"] = head("Host: b.example", version="HTTP/1.0")
    cases["a bad one in HTTP/1.0"] = head(host="a/b", version="HTTP/1.0")
    await none_passed(stage, upstream, cases, code="bad_request")


async def test_every_way_to_write_a_good_host_passes(stage: Stage, upstream: RawUpstream) -> None:
    hosts = [
        "a",
        "A.Example",
        "a:80",
        "a:65535",
        "a:0",
        "127.0.0.1:8080",
        "[::1]",
        "[::1]:80",
        "[::ffff:1.2.3.4]",
        "a-b_c",
    ]
    cases = {host: head(host=host, target="/free/x") for host in hosts}
    cases["HTTP/1.0"] = head("Connection: keep-alive", host="a.example", target="/free/x", version="HTTP/1.0")
    cases["none in HTTP/1.0"] = head("Connection: keep-alive", host="", target="/free/x", version="HTTP/1.0")
    await all_pass(stage, upstream, cases)


async def test_bytes_that_a_target_may_not_hold_are_refused(stage: Stage, upstream: RawUpstream) -> None:
    cases = {}
    for byte in '#\\"<>|^{}` \x7f\xe9\xff':
        for place in (
            f"/free/{byte}x",
            f"/free/x{byte}",
            f"/free/x?a={byte}",
            f"/-/wallet{byte}",
            f"/-/wallet?a={byte}",
        ):
            cases[place] = head(target=place)
    await none_passed(stage, upstream, cases)


async def test_a_target_begins_with_a_slash_or_names_its_host(stage: Stage, upstream: RawUpstream) -> None:
    targets = [
        "free/x", "?x", "x", ".", "*", "*/free/x", "**", "a.example", "a.example:80", "http:/free/x", "http:free/x",
        "http://b.example/free/x", "http://a.example:81/free/x", "http://a.example.evil/free/x",
        "http://u@a.example/free/x",
        "http://a.example@b/free/x", "http://u:p@a.example/free/x", "http:///free/x", "http://",
        "http://a.example%2f/free/x",
        "ftp://a.example/free/x", "javascript:alert(1)", "file:///etc/passwd", "gopher://a.example/",
        "ws://a.example/free/x",
        "https://a.example:80/free/x", "http://[::1]/free/x", "http://a.example\\free/x",
        "http://a.example,b/free/x", "http://a.example /free/x", "data:,x", "urn:x", "http://a.example:0x50/free/x",
        "http://a.example/free/../paid/x", "http://a.example/free/%2e%2e/paid/x", "http://a.example#/free/x",
    ]  # fmt: skip
    await none_passed(stage, upstream, {target: head(target=target) for target in targets})


async def test_an_absolute_target_that_agrees_arrives_in_origin_form(stage: Stage, upstream: RawUpstream) -> None:
    targets = ["http://a.example/free/x?y=/..", "HTTP://A.EXAMPLE/free/x?y=/..", "http://a.example:80/free/x?y=/.."]
    await all_pass(stage, upstream, {target: head(target=target) for target in targets})
    assert {visit.request_line for visit in upstream.visits[::2]} == {b"GET /free/x?y=/.. HTTP/1.1"}


@pytest.mark.parametrize(
    "body", [("Content-Length: 5",), (CHUNKED,), ("Content-Length: 5", "Expect: 100-continue")], ids=str
)
@pytest.mark.parametrize("upgrade", ["websocket", "WebSocket, foo", "x/1.0"])
async def test_an_upgrade_with_a_body_is_refused(
    stage: Stage, upstream: RawUpstream, upgrade: str, body: tuple[str, ...]
) -> None:
    lines = (f"Upgrade: {upgrade}", "Connection: keep-alive, Upgrade", *body)
    await none_passed(stage, upstream, {"": post(*lines)})


async def test_our_own_pages_quote_no_expectation(stage: Stage, upstream: RawUpstream) -> None:
    """aiohttp would."""
    async with connected(stage.url) as wire:
        for expect in (f"{SECRET}", "100-continue", "200-ok"):
            wire.send(head(f"Expect: {expect}", target="/-/style.css"))
            answer = await wire.answer()
            assert (answer.status, answer.values(b"server")) == (200, [])
        wire.send(post("Expect: 100-continue", "Content-Length: 5", target="/-/nothing"))
        answer = await wire.answer()
        assert (answer.status, answer.code) == (404, b"no_route")


# --- both forms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
async def test_both_forms_refuse_what_is_dangerous(tmp_path: Any, upstream: RawUpstream, form: str) -> None:
    """The words are each form's own: aiohttp's parser comes before ours."""
    cases = {
        **{f"length {length!r}": post(f"Content-Length: {length}") for length in LENGTHS},
        **{f"coding {c!r}": post(f"Transfer-Encoding: {c}", body=b"0\r\n\r\n") for c in CODINGS if c},
        **{f"host {host!r}": head(f"Host: {host}", host="") for host in HOSTS},
        "two lengths": post("Content-Length: 5", "Content-Length: 5"),
        "length and chunks": post("Content-Length: 5", CHUNKED),
        "chunks and length": post(CHUNKED, "Content-Length: 5"),
        "chunks in HTTP/1.0": post(CHUNKED, version="HTTP/1.0"),
        "no Host": head(host=""),
        "two Hosts": head("Host: b.example"),
        "folded": head("X: y\r\n z"),
        "blank before a colon": head("X : y"),
        "NUL": head("X: a\0b"),
        "bare CR": head("X: a\rb"),
        "another host": head(target="http://b.example/free/x"),
        "userinfo": head(target="http://u@a.example/free/x"),
        "HTTP/2.0": head(version="HTTP/2.0"),
        "upgrade with a body": post("Upgrade: websocket", "Connection: upgrade", "Content-Length: 5"),
    }  # fmt: skip
    stage = await leaks.started(FORMS[form], tmp_path, patiently(config(upstream)))
    try:
        lines = await asyncio.gather(*(_status_line(stage.url, case) for case in cases.values()))
    finally:
        await stage.stop()
    assert {name: line for name, line in zip(cases, lines, strict=True) if b" 400 " not in line} == {}
    assert (upstream.visits, upstream.connections) == ([], 0)


async def _status_line(url: str, request: bytes) -> bytes:
    async with connected(url) as wire, asyncio.timeout(5):
        wire.send(request)
        return await wire.reader.readuntil(b"\r\n")
