"""Through either form a request is seen the same: which trace it goes on, and what its line says."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.stage import Stage
from tests.callers import Funded, funded
from tests.forms import FORMS, staged
from tests.raw import OK, RawUpstream, Visit, ask, split
from tests.relay.scenes import toy_upstream
from tests.web import shops

TRACE_ID, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
THEIRS = f"00-{TRACE_ID}-{PARENT}-01"
OTHER = f"00-{TRACE_ID[::-1]}-{PARENT[::-1]}-00"


LARGE = 300_000


async def by_path(visit: Visit) -> None:
    """A large answer in chunks for who asks for it."""
    if b"large" not in visit.request_line:
        visit.writer.write(OK)
        return
    visit.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(3):
        visit.writer.write(b"%x\r\n%b\r\n" % (LARGE, b"x" * LARGE))
        await visit.writer.drain()
    visit.writer.write(b"0\r\n\r\n")


@asynccontextmanager
async def opened(form: str, folder: Path, **more: Any) -> AsyncIterator[tuple[Stage, RawUpstream, Funded, Path]]:
    log = folder / "requests.log"
    async with toy_upstream() as upstream:
        rest = {
            "upstreams": {"raw": {"url": upstream.url}, "dead": {"url": "http://127.0.0.1:1"}},
            "routes": [
                {"name": "paid", "match": "/paid/", "upstream": "raw", "price": "0.002 usd"},
                {"name": "free", "match": "/free/", "upstream": "raw", "price": "free"},
                {"name": "dead", "match": "/dead/", "upstream": "dead", "price": "free"},
            ],
            "trusted_proxies": ["127.0.0.1"],
            "log": {"file": str(log), **more.pop("log", {})},
        }
        async with staged(form, folder, **rest, **more) as stage:
            [caller] = await funded(stage, "1.00 usd")
            yield stage, upstream, caller, log


def get(target: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    head = [f"{method} {target} HTTP/1.1", "Host: api.example", *lines, *length, "Connection: close", "", ""]
    return "\r\n".join(head).encode("latin-1") + body


async def lines(log: Path, count: int) -> list[dict[str, Any]]:
    """Of requests; a gateway says more than that."""

    def said() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [one for one in found if one["event"] == "request"]

    async with asyncio.timeout(20):
        while len(found := said()) < count:
            await asyncio.sleep(0.005)
    return found


@pytest.mark.parametrize("form", FORMS)
async def test_a_trace_passes_is_continued_or_is_left_alone(form: str, tmp_path: Path) -> None:
    told = []
    for mode in ("pass", "make", "off"):
        folder = tmp_path / mode
        folder.mkdir()
        async with opened(form, folder, trace=mode) as (stage, upstream, _, log):
            sent: tuple[list[str], ...] = (
                [f"Traceparent: {THEIRS}", "tracestate: a=1"],
                [f"Traceparent: {OTHER}", "tracestate: a=1"],  # the same block of fields, but for the value
                [f"TRACEPARENT:\t{THEIRS}", "tracestate: a=1"],
                ["traceparent: 00-wrong-x-00", "tracestate: a=1"],
                [f"traceparent: {THEIRS}", f"traceparent: {THEIRS}", "tracestate: a=1"],
                ["tracestate: a=1"],
                [],
            )
            for one in sent:
                assert split(await ask(stage.url, get("/free/x", *one)))[0] == 200
            seen = [(visit.values(b"traceparent"), visit.values(b"tracestate")) for visit in upstream.visits]
            logged = [(line["trace_id"], line["span_id"]) for line in await lines(log, len(sent))]
            told.append((seen, logged, [[name.lower() for name, _ in visit.fields] for visit in upstream.visits]))
    (passed, of_passed, _), (made, of_made, order), (left, of_left, _) = told

    assert passed[:3] == [([THEIRS.encode()], [b"a=1"]), ([OTHER.encode()], [b"a=1"]), ([THEIRS.encode()], [b"a=1"])]
    assert of_passed[0] == of_passed[2] == (TRACE_ID, PARENT)
    for (traceparents, _), (trace_id, span_id), theirs in zip(
        made[:3], of_made[:3], (THEIRS, OTHER, THEIRS), strict=True
    ):
        assert traceparents == [f"00-{theirs[3:35]}-{span_id}-{theirs[-2:]}".encode()]
        assert (trace_id, span_id) != (theirs[3:35], theirs[36:52])
    assert [states for _, states in made[:3]] == [[b"a=1"]] * 3
    for seen, logged in ((passed, of_passed), (made, of_made)):
        for (traceparents, states), (trace_id, span_id) in zip(seen[3:], logged[3:], strict=True):
            assert (traceparents, states) == ([f"00-{trace_id}-{span_id}-00".encode()], [])
        assert len({span for _, span in logged[3:]}) == 4
    assert left[0] == ([THEIRS.encode()], [b"a=1"])
    assert left[1] == ([OTHER.encode()], [b"a=1"])
    assert left[3] == ([b"00-wrong-x-00"], [b"a=1"])
    assert left[6] == ([], [])
    assert set(of_left) == {("", "")}
    if form == "relay":
        assert order[0].index(b"traceparent") < order[0].index(b"tracestate")


@pytest.mark.parametrize("form", FORMS)
async def test_a_line_says_whose_it_was_how_long_and_how_much(form: str, tmp_path: Path) -> None:
    async with opened(form, tmp_path) as (stage, upstream, caller, log):
        bearer = f"Authorization: Bearer {caller.token}"
        body = b"x" * 700
        asked = [
            get("/paid/a?secret=1", bearer, "X-Request-Id: front-7", method="POST", body=body),
            get("/free/b", "X-Request-Id: not an id"),
            get("/paid/c"),
            get("/dead/d"),
            get("/nowhere"),
            get("/free/e", method="HEAD"),
            get("/free/large"),
        ]
        upstream.script = by_path
        answers = [split(await ask(stage.url, request)) for request in asked]
        paid, free, unpaid, dead, nowhere, head, large = await lines(log, len(asked))
        assert upstream.visits[0].values(b"X-Request-Id") == [b"front-7"]
    found = (paid, free, unpaid, dead, nowhere, head, large)
    for line, (status, fields, _) in zip(found, answers, strict=True):
        assert line["status"] == status
        assert line["request_id"] == dict(fields)["Gateway-Request-Id"]
        assert 0 < line["ms"] < 60_000
        assert line["worker"] == 0
    paths = ["/paid/a", "/free/b", "/paid/c", "/dead/d", "/nowhere", "/free/e", "/free/large"]
    assert [line["path"] for line in found] == paths
    assert [line["route"] for line in found] == ["paid", "free", "paid", "dead", None, "free", "free"]
    assert [line["bytes_in"] for line in found] == [700, 0, 0, 0, 0, 0, 0]
    assert [line["bytes_out"] for line in found[:-1]] == [len(answer) for _, _, answer in answers[:-1]]
    assert large["bytes_out"] == 3 * LARGE
    assert (paid["account"], paid["cost"], paid["front_id"]) == (caller.account, "0.002 usd", "front-7")
    assert "front_id" not in free
    assert paid["refused"] is free["refused"] is None
    refused = [line["refused"] for line in (unpaid, dead, nowhere)]
    assert refused == ["payment_required", "upstream_failed", "no_route"]
    assert 0 < paid["upstream_ms"] <= paid["ms"] + 0.1
    assert unpaid["upstream_ms"] is dead["upstream_ms"] is None
    assert "secret=1" not in log.read_text()
    assert caller.token not in log.read_text()


async def test_only_what_the_settings_want_gets_a_line_and_a_tunnel_gets_one_at_its_end(tmp_path: Path) -> None:
    async def script(visit: Visit) -> None:
        if b"/free/tunnel" not in visit.request_line:
            visit.writer.write(OK)
            return
        visit.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nhello")
        while data := await visit.reader.read(100):
            visit.writer.write(data * 2)
        visit.writer.close()

    async with opened("relay", tmp_path, log={"requests": "sampled", "sample_one_in": 1_000_000}) as (
        stage, upstream, _, log,
    ):  # fmt: skip
        upstream.script, upstream.reads_bodies = script, False
        assert split(await ask(stage.url, get("/free/x")))[0] == 200
        assert split(await ask(stage.url, get("/nowhere")))[0] == 404
        [line] = await lines(log, 1)
        assert (line["path"], line["refused"]) == ("/nowhere", "no_route")
    log.unlink()
    (tmp_path / "again").mkdir()
    async with opened("relay", tmp_path / "again") as (stage, upstream, _, log):
        upstream.script, upstream.reads_bodies = script, False
        host, _, port = stage.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /free/tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n")
        await reader.readuntil(b"hello")
        writer.write(b"0123456789")
        assert await reader.readexactly(20) == b"0123456789" * 2
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        [line] = await lines(log, 1)
        assert (line["status"], line["bytes_in"], line["bytes_out"]) == (101, 10, 25)


async def test_a_bug_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened("relay", tmp_path) as (stage, _, _, log):

        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(stage.gateway.identity.callers, "identify", broken)
        assert split(await ask(stage.url, get("/free/x")))[0] == 500
        [line] = await lines(log, 1)
        assert (line["status"], line["refused"]) == (500, "internal_error")


@pytest.mark.parametrize("form", FORMS)
async def test_an_answer_that_is_ended_early_says_why(form: str, tmp_path: Path) -> None:
    async with shops.opened(form, tmp_path) as shop:
        shop.upstream.script = lambda visit: shops.pour(visit, shops.LONG, b"x" * 10_000, 100)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await shop.ask("/stream/x")
        tally = shop.stage.gateway.tally
        async with asyncio.timeout(20):
            while not tally.counts().counters.get(("gateway_refusals", "stream", "payment_required")):
                await asyncio.sleep(0.005)
