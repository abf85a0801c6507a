"""Malformed requests over real sockets, byte by byte: the answers are ours, and nobody is told what was sent."""

import asyncio
import inspect
import json
import logging
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp import http_exceptions, web, web_protocol, web_response, web_runner, web_server

from gateway.core.targets import TARGET_BYTES_MAX
from gateway.web.answers import drop_what_was_invented
from gateway.web.front import DiscreetLogger, Front, Sparing
from tests.raw import ask, split

TOKEN = b"fb_test_Zm9yZ2V0IG1lIHBsZWFzZQ"
AUTHORIZATION = b"Authorization: Bearer " + TOKEN


class Place:
    """A front with one page, and what it reported."""

    def __init__(self) -> None:
        self.reported: list[tuple[str, dict[str, Any]]] = []
        self.url = ""
        self.runner: Front | None = None
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    async def start(self, **arguments: Any) -> None:
        app = web.Application()
        app.on_response_prepare.append(drop_what_was_invented)
        app.router.add_get("/fine", self._fine)
        app.router.add_get("/broken", self._broken)
        app.router.add_get("/slow", self._slow)
        app.router.add_get("/nothing", self._nothing)
        app.router.add_get("/halfway", self._halfway)
        app.router.add_post("/body", self._body)
        app.router.add_post("/late", self._late)
        arguments = {"max_line_size": TARGET_BYTES_MAX + 256, "max_field_size": 16384, "max_headers": 256, **arguments}
        self.runner = Front(
            app,
            report=lambda event, **fields: self.reported.append((event, fields)),
            new_id=lambda: "req_0",
            access_log=None,
            auto_decompress=False,
            handler_cancellation=True,
            lingering_time=1,
            **arguments,
        )
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        host, port = self.runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        if self.runner is not None:
            await self.runner.cleanup()

    async def _fine(self, request: web.Request) -> web.Response:
        return web.Response(text=f"fine {len(request.headers)}")

    async def _broken(self, request: web.Request) -> web.Response:
        raise LookupError(f"no such thing: {request.headers['Authorization']}")

    async def _slow(self, request: web.Request) -> web.Response:
        raise TimeoutError(request.headers["Authorization"])

    async def _nothing(self, request: web.Request) -> web.StreamResponse:
        return cast(web.StreamResponse, request.headers["Authorization"])

    async def _halfway(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"half of")
        raise LookupError(request.headers["Authorization"])

    async def _late(self, request: web.Request) -> web.Response:
        self.begun.set()
        await self.go.wait()
        return web.Response(body=await request.read())

    async def _body(self, request: web.Request) -> web.Response:
        self.begun.set()
        return web.Response(body=await request.read())


@pytest.fixture
async def place(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> AsyncIterator[Place]:
    """A place of which nothing but what it reports may be heard, and never a token."""
    caplog.set_level(logging.DEBUG)
    place = Place()
    await place.start()
    yield place
    await place.stop()
    spoken = capfd.readouterr()
    assert (spoken.out, spoken.err) == ("", "")
    assert [record for record in caplog.records if record.name != "asyncio" or record.levelno > logging.DEBUG] == []
    assert TOKEN.decode() not in repr(place.reported)
    assert TOKEN.decode() not in caplog.text


def request(*lines: bytes, first: bytes = b"GET /fine HTTP/1.1") -> bytes:
    return b"\r\n".join([first, b"Host: a", *lines, AUTHORIZATION, b"Connection: close", b"", b""])


LONG = b"x" * 40_000
UNREADABLE = {
    "a control character in a credential": (request(AUTHORIZATION + b"\x01"), 400, "bad_request"),
    "a space before a colon": (request(b"Authorization : Bearer " + TOKEN), 400, "bad_request"),
    "a NUL in a cookie": (request(b"Cookie: farebox=" + TOKEN + b"\x00"), 400, "bad_request"),
    "a field without a colon": (request(TOKEN), 400, "bad_request"),
    "a field without a name": (request(b": " + TOKEN), 400, "bad_request"),
    "a folded field": (request(b"X-A: 1\r\n " + TOKEN), 400, "bad_request"),
    "two hosts": (request(b"Host: " + TOKEN), 400, "bad_request"),
    "two lengths": (request(b"Content-Length: 1", b"Content-Length: 2"), 400, "bad_request"),
    "a length and chunks": (request(b"Content-Length: 1", b"Transfer-Encoding: chunked"), 400, "bad_request"),
    "garbage": (b"\x00\x01\xff\xfe " + TOKEN + b"\r\n\r\n", 400, "bad_request"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + TOKEN + b"\r\n\r\n", 400, "bad_request"),
    "an unknown version": (request(first=b"GET / HTTP/9.9"), 400, "bad_request"),
    "a version with words": (request(first=b"GET / HTTP/" + TOKEN), 400, "bad_request"),
    "a NUL in the target": (request(first=b"GET /" + TOKEN + b"\x00 HTTP/1.1"), 400, "bad_request"),
    "a target of 9,000 bytes": (request(first=b"GET /" + TOKEN + b"x" * 9000 + b" HTTP/1.1"), 414, "target_too_long"),
    "a field of 40,000 bytes": (request(b"X-Long: " + TOKEN + LONG), 431, "head_too_large"),
    "a name of 40,000 bytes": (request(TOKEN + LONG + b": 1"), 431, "head_too_large"),
    "300 fields": (request(*[b"X-%d: %s" % (n, TOKEN) for n in range(300)]), 431, "head_too_large"),
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_an_unreadable_request_gets_a_short_answer_that_quotes_nothing(place: Place, name: str) -> None:
    sent, status, code = UNREADABLE[name]
    answer = await ask(place.url, sent)
    got, fields, body = split(answer)
    named = {key.lower(): value for key, value in fields}
    problem = json.loads(body)
    assert (got, problem["code"], problem["status"], problem["charged"]) == (status, code, status, False)
    assert named["content-type"].startswith("application/problem+json")
    assert (named["connection"], named["gateway-error"], named["cache-control"]) == ("close", code, "no-store")
    assert named["gateway-request-id"] == problem["request_id"] == "req_0"
    assert "server" not in named
    assert len(fields) == len(named)
    assert TOKEN not in answer
    [(event, about)] = place.reported
    assert event == "malformed request"
    assert list(about) == ["error"]
    assert about["error"].isidentifier()


async def test_a_caller_that_is_still_sending_can_read_the_answer(place: Place) -> None:
    sent = request(b"X-Long: " + b"x" * 30_000_000)
    assert split(await ask(place.url, sent))[0] == 431


async def test_a_caller_that_never_closes_is_let_go(place: Place) -> None:
    host, port = place.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(b"garbage\r\n\r\n")
        async with asyncio.timeout(10):
            assert split(await reader.read())[0] == 400
            assert place.runner is not None
            await place.runner.cleanup()  # waits a minute for those who are busy
    finally:
        writer.close()


async def test_garbage_after_a_request_ends_the_connection(place: Place) -> None:
    host, port = place.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(10):
            writer.write(b"GET /fine HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(b"fine 1")).startswith(b"HTTP/1.1 200")
            writer.write(TOKEN + b"\x01\r\n\r\n")
            answer = await reader.read()
    finally:
        writer.close()
    assert split(answer)[0] == 400
    assert TOKEN not in answer


async def test_limits_of_one_size_still_tell_a_target_from_a_field() -> None:
    place = Place()
    await place.start(max_line_size=8192, max_field_size=8192)
    try:
        for name in ("a target of 9,000 bytes", "a field of 40,000 bytes"):
            sent, status, _ = UNREADABLE[name]
            assert split(await ask(place.url, sent))[0] == status
    finally:
        await place.stop()


@pytest.mark.parametrize(("fields", "status"), [(250, 200), (260, 431)])
async def test_the_number_of_fields_has_an_edge(place: Place, fields: int, status: int) -> None:
    assert split(await ask(place.url, request(*[b"X-A: 1"] * fields)))[0] == status


async def test_a_good_request_is_served(place: Place) -> None:
    status, _, body = split(await ask(place.url, request()))
    assert (status, body) == (200, b"fine 3")
    assert place.reported == []


@pytest.mark.parametrize(("path", "error"), [(b"/broken", "LookupError"), (b"/slow", "TimeoutError")])
async def test_a_handler_that_fails_tells_its_caller_only_an_id(place: Place, path: bytes, error: str) -> None:
    answer = await ask(place.url, request(first=b"GET " + path + b" HTTP/1.1"))
    status, fields, body = split(answer)
    assert (status, json.loads(body)["code"], json.loads(body)["request_id"]) == (500, "internal_error", "req_0")
    assert "server" not in {name.lower() for name, _ in fields}
    assert TOKEN not in answer
    [(event, about)] = place.reported
    assert (event, about["request_id"], about["error"]) == ("failed", "req_0", error)


async def test_a_handler_that_fails_halfway_leaves_a_cut_answer(place: Place) -> None:
    answer = await ask(place.url, request(first=b"GET /halfway HTTP/1.1"))
    assert answer.endswith(b"half of\r\n")
    assert [event for event, _ in place.reported] == ["failed"]


async def test_a_handler_whose_answer_is_none_is_not_quoted(place: Place) -> None:
    answer = await ask(place.url, request(first=b"GET /nothing HTTP/1.1"))
    assert split(answer)[0] == 500
    assert TOKEN not in answer
    assert [event for event, _ in place.reported] == ["connection failed"]


@pytest.mark.parametrize("begun", [True, False])
async def test_a_body_that_breaks_its_framing_is_a_bad_request(place: Place, begun: bool) -> None:
    head = request(b"Transfer-Encoding: chunked", first=b"POST /body HTTP/1.1")
    host, port = place.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(10):
            writer.write(head + b"5\r\nhello\r\n")
            if begun:
                await place.begun.wait()
            writer.write(TOKEN + b"\r\n")
            answer = await reader.read()
    finally:
        writer.close()
    status, fields, _ = split(answer)
    assert status == 400
    assert "server" not in {name.lower() for name, _ in fields}
    assert TOKEN not in answer
    assert {event for event, _ in place.reported} == {"malformed request"}


async def test_a_broken_body_does_not_spoil_the_one_before_it(place: Place) -> None:
    host, port = place.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        async with asyncio.timeout(10):
            writer.write(b"POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none")
            writer.write(request(b"Transfer-Encoding: chunked", first=b"POST /body HTTP/1.1"))
            await place.begun.wait()
            writer.write(TOKEN + b"\r\n")
            assert place.runner is not None
            assert place.runner.server is not None
            [connection] = place.runner.server.connections
            while len(connection._messages) < 2:
                await asyncio.sleep(0)
            place.go.set()
            answer = await reader.read()
    finally:
        writer.close()
    good, between, bad = answer.partition(b"\r\n\r\none")
    assert (split(good)[0], between != b"", split(bad)[0]) == (200, True, 400)


async def test_bodies_behind_one_another_are_whole(place: Place) -> None:
    one = b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
    last = request(b"Content-Length: 3", first=b"POST /body HTTP/1.1") + b"two"
    answer = await ask(place.url, one + b"one" + last)
    assert answer.count(b"HTTP/1.1 200") == 2
    assert answer.endswith(b"two")
    assert place.reported == []


def test_one_report_a_second_and_a_count_of_the_others() -> None:
    reported: list[dict[str, object]] = []
    now = 0.0
    complain = Sparing(lambda event, **fields: reported.append(fields), now=lambda: now)
    for _ in range(4):
        complain("malformed request", error="A")
    now = 0.999
    complain("malformed request", error="B")
    assert reported == [{"error": "A"}]
    now = 1.0
    complain("malformed request", error="C")
    now = 2.5
    complain("malformed request", error="D")
    assert reported == [{"error": "A"}, {"error": "C", "more": 4}, {"error": "D"}]


def test_the_logger_passes_on_no_message() -> None:
    reported: list[tuple[str, dict[str, object]]] = []
    logger = DiscreetLogger(lambda event, **fields: reported.append((event, fields)))
    logger.debug("%s", TOKEN)
    logger.warning("got %r", TOKEN)
    try:
        raise LookupError(TOKEN)
    except LookupError as error:
        logger.exception("Error handling %s", TOKEN, exc_info=error)
    assert reported == [("connection failed", {"error": "WARNING"}), ("connection failed", {"error": "LookupError"})]


async def test_a_wrong_argument_shows_at_once() -> None:
    place = Place()
    with pytest.raises(TypeError, match="no_such_argument"):
        await place.start(no_such_argument=1)


def test_what_is_used_of_the_inside_of_aiohttp_is_still_there() -> None:
    assert inspect.iscoroutinefunction(web_runner.AppRunner._make_server)
    assert list(inspect.signature(web_protocol.RequestHandler.handle_error).parameters) == [
        "self", "request", "status", "exc", "message",
    ]  # fmt: skip
    made = inspect.getsource(web_server.Server.__call__)
    assert "RequestHandler(self, loop=self._loop, **self._kwargs)" in made
    arguments = inspect.signature(web_server.Server.__init__).parameters
    assert list(arguments) == ["self", "handler", "request_factory", "handler_cancellation", "loop", "kwargs"]
    assert inspect.iscoroutinefunction(web_response.StreamResponse._write_headers)
    assert http_exceptions.LineTooLong(b"line", 7).args[1] == 7
    assert "if self._force_close or self._close:" in inspect.getsource(web_protocol.RequestHandler.data_received)
    assert {
        "_current_request", "_lingering_time", "_messages", "_request_count", "max_field_size", "max_line_size",
    } <= set(web_protocol.RequestHandler.__slots__)  # fmt: skip
