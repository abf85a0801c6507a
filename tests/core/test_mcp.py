"""Which tool a body calls, and the bodies that two parsers would read differently."""

import base64
import json

import pytest

from gateway.core.mcp import NO_CALL, Call, read_call
from gateway.core.refusals import BadRequest

SEARCH = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{"name":"x","NAME":1}}}'


def test_a_call_is_read_from_its_body() -> None:
    assert read_call(SEARCH, {}) == Call(1, "tools/call", "search")
    assert read_call(b'{"method":"tools/list","id":"a"}', {}) == Call("a", "tools/list")
    assert read_call(b'{"method":"notifications/initialized"}', {}) == Call(None, "notifications/initialized")
    assert read_call(b'{"id":1,"result":{}}', {}) == Call(1, "")
    assert read_call(b"", {}) == NO_CALL


@pytest.mark.parametrize(
    "body",
    [
        b'{"method":"tools/list","method":"tools/call","params":{"name":"search"}}',
        b'{"method":"tools/list","Method":"tools/call","params":{"name":"search"}}',
        b'{"Method":"tools/call","params":{"name":"search"}}',
        b'{"method":"tools/call","params":{"name":"ping","name":"search"}}',
        b'{"method":"tools/call","params":{"name":"ping","Name":"search"}}',
        b'{"method":"tools/call","params":{"name":"ping"},"params":{"name":"search"}}',
        b'{"method":"tools/call","params":{"name":"ping"},"PARAMS":{"name":"search"}}',
        '{"method":"tools/call","para\u017fm\u017f":1,"param\u017f":{"name":"search"},"params":{"name":"ping"}}'.encode(),
        b'{"method":"tools/call","params":["search"]}',
        b'{"method":"tools/call"}',
        b'{"method":7}',
        b'{"id":true,"method":"ping"}',
        b"[" + SEARCH + b"]",
        b'"tools/call"',
        b"\xef\xbb\xbf" + SEARCH,
        SEARCH.decode().encode("utf-16"),
        SEARCH + b"x",
        b"[" * 100_000,
        None,
    ],
)
def test_a_body_that_is_not_one_plain_message_is_refused(body: bytes | None) -> None:
    with pytest.raises(BadRequest):
        read_call(body, {})


def test_fields_say_the_same_as_the_body() -> None:
    coded = f"=?base64?{base64.b64encode(b'search').decode()}?="
    for name in ("search", coded):
        assert read_call(SEARCH, {"Mcp-Method": "tools/call", "Mcp-Name": name}).tool == "search"
    listing = json.dumps({"id": 1, "method": "tools/list"}).encode()
    for body, fields in (
        (SEARCH, {"Mcp-Method": "tools/list"}),
        (SEARCH, {"Mcp-Name": "ping"}),
        (SEARCH, {"Mcp-Name": "=?base64?!?="}),
        (SEARCH, {"Content-Encoding": "gzip"}),
        (listing, {"Mcp-Method": "tools/call"}),
    ):
        with pytest.raises(BadRequest):
            read_call(body, fields)
