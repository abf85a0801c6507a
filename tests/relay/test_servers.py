"""An upstream of several servers: whose turn it is, who is left out, what is tried again, and who comes back."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from gateway.cli.stage import Stage
from gateway.core.routes import Upstream
from gateway.relay.upstream import Pool
from tests.callers import audited, funded
from tests.conftest import StageMaker
from tests.raw import OK, RawUpstream, Visit
from tests.relay.scenes import balance, connected, relay_of, request, serving, toy_upstream, under_way, until

PRICE = 2_000
MONEY = 1_000_000


@pytest.fixture
async def three() -> AsyncIterator[list[RawUpstream]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(toy_upstream()) for _ in range(3)]


async def stage_before(make_stage: StageMaker, servers: Sequence[RawUpstream], **upstream: Any) -> Stage:
    prices = {"free": "free", "paid": "0.002 usd"}
    return await make_stage(
        upstreams={"raw": {"servers": [server.url for server in servers], **upstream}},
        stripe=None,
        routes=[
            {"name": name, "match": f"/{name}/", "upstream": "raw", "price": price} for name, price in prices.items()
        ],
    )


async def status(stage: Stage, target: str = "/free/ok", method: str = "GET", body: bytes = b"", *lines: str) -> int:
    """Asks on a connection of its own."""
    length = (f"Content-Length: {len(body)}",) if body else ()
    async with connected(stage.url) as wire:
        wire.send(request(target, None, *lines, *length, "Connection: close", method=method) + body)
        return int((await wire.reader.readuntil(b"\r\n\r\n")).split(b" ")[1])


async def hang_up(visit: Visit) -> None:
    visit.writer.close()


async def fail(visit: Visit) -> None:
    visit.writer.write(b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n")


async def redirect(visit: Visit) -> None:
    visit.writer.write(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")


async def ok(visit: Visit) -> None:
    visit.writer.write(OK)


async def hang(visit: Visit) -> None:
    await visit.reader.read()


# --- turns and trials -------------------------------------------------------------------------------------------------


async def test_three_servers_take_turns(make_stage: StageMaker, three: list[RawUpstream]) -> None:
    stage = await stage_before(make_stage, three)
    assert [await status(stage) for _ in range(9)] == [200] * 9
    assert [len(server.visits) for server in three] == [3, 3, 3]
    assert [server.connections for server in three] == [1, 1, 1]


async def test_a_server_that_misbehaves_is_left_out_tried_once_and_comes_back(make_stage: StageMaker) -> None:
    async with toy_upstream(hang_up) as bad, toy_upstream() as good:
        stage = await stage_before(make_stage, [bad, good], ejection={"failures": 2, "time": "300ms"})
        assert [await status(stage, "/free/x", "POST") for _ in range(6)] == [502, 200, 502, 200, 200, 200]
        assert len(bad.visits) == 2
        await asyncio.sleep(0.35)
        bad.script = hang
        together = [asyncio.create_task(status(stage, "/free/x", "POST")) for _ in range(5)]
        await until(lambda: sum(task.done() for task in together) == 4)
        assert len(bad.visits) == 3  # one tries it, the others go on without
        bad.visits[-1].writer.close()
        assert sorted(await asyncio.gather(*together)) == [200, 200, 200, 200, 502]
        bad.script = ok
        await asyncio.sleep(0.35)
        assert [await status(stage) for _ in range(3)] == [200] * 3
        assert len(bad.visits) == 3  # left out for twice as long
        await asyncio.sleep(0.3)
        assert [await status(stage) for _ in range(4)] == [200] * 4
        assert len(bad.visits) == 5


@pytest.mark.parametrize("silent", [False, True], ids=["hangs up", "says nothing"])
async def test_nobody_can_take_the_only_server_away_by_what_he_asks(make_stage: StageMaker, silent: bool) -> None:
    async with toy_upstream() as server:
        stage = await stage_before(
            make_stage, [server], first_byte_timeout="50ms", ejection={"failures": 1, "time": "30s"}
        )
        for _ in range(3):
            assert await status(stage, "/free/silent" if silent else "/free/hang-up") == (504 if silent else 502)
            assert await status(stage, "/free/ok") == 200


async def test_nobody_can_take_all_servers_away_by_what_he_asks(
    make_stage: StageMaker, three: list[RawUpstream]
) -> None:
    stage = await stage_before(make_stage, three, ejection={"failures": 1, "time": "30s"})
    assert [await status(stage, "/free/hang-up", "POST") for _ in range(9)] == [502] * 9
    assert await status(stage, "/free/ok", "POST") == 200


@asynccontextmanager
async def dead_server() -> AsyncIterator[tuple[str, socket.socket]]:
    """Its URL, and a socket there that can begin to listen."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}", bound


async def stage_before_dead(make_stage: StageMaker, url: str, failures: int) -> Stage:
    return await make_stage(
        upstreams={"raw": {"url": url, "ejection": {"failures": failures, "time": "300ms"}}},
        stripe=None,
        routes=[{"name": "free", "match": "/free/", "upstream": "raw", "price": "free"}],
    )


async def test_the_only_server_that_cannot_be_reached_is_left_out_tried_once_and_comes_back(
    make_stage: StageMaker,
) -> None:
    async with dead_server() as (url, bound):
        stage = await stage_before_dead(make_stage, url, failures=2)
        assert [await status(stage) for _ in range(4)] == [502, 502, 503, 503]
        await asyncio.sleep(0.35)
        together = await asyncio.gather(*(status(stage) for _ in range(5)))
        assert sorted(together) == [502, 503, 503, 503, 503]
        async with serving(answer_ok, sock=bound):
            await asyncio.sleep(0.35)
            assert await status(stage) == 503  # left out for twice as long
            await asyncio.sleep(0.3)
            assert [await status(stage) for _ in range(3)] == [200] * 3


async def test_a_request_that_would_try_a_server_and_leaves_does_not_keep_it_out(make_stage: StageMaker) -> None:
    asked = asyncio.Event()

    async def hang_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked.is_set():
            await answer_ok(reader, writer)
        asked.set()
        await reader.read()

    async with dead_server() as (url, bound):
        stage = await stage_before_dead(make_stage, url, failures=1)
        assert [await status(stage) for _ in range(2)] == [502, 503]
        async with serving(hang_once, sock=bound):
            await asyncio.sleep(0.3)
            async with connected(stage.url) as wire:
                wire.send(request("/free/x"))
                await asked.wait()
            await until(lambda: under_way(stage) == 0)
            await asyncio.sleep(0.3)
            assert await status(stage) == 200


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.readuntil(b"\r\n\r\n"):
        writer.write(OK)


# --- what is tried again ----------------------------------------------------------------------------------------------

REPEATED = [("GET", b""), ("HEAD", b""), ("OPTIONS", b""), ("DELETE", b""), ("PUT", b"")]
NOT_REPEATED = [("POST", b""), ("PATCH", b""), ("POST", b"hello"), ("PUT", b"hello"), ("DELETE", b"hello")]


async def test_what_no_server_has_seen_goes_to_the_next_whatever_it_is(
    make_stage: StageMaker, three: list[RawUpstream]
) -> None:
    dead, *_, alive = three
    stage = await stage_before(make_stage, [dead, alive], ejection={"failures": 1000})
    await dead.stop()
    [caller] = await funded(stage, "1.00 usd")
    cases = REPEATED + NOT_REPEATED
    bearer = f"Authorization: Bearer {caller.token}"
    for method, body in cases:
        relay_of(stage).pools._pools.clear()  # the dead one's turn again
        assert await status(stage, "/paid/ok", method, body, bearer) == 200
    assert [visit.body for visit in alive.visits] == [body for _, body in cases]
    assert await balance(stage, caller) == (MONEY - len(cases) * PRICE, 0)
    await stage.stop_gateway()
    assert audited(stage).totals["usd"].spent == len(cases) * PRICE


@pytest.mark.parametrize("silent", [False, True], ids=["hangs up", "says nothing"])
async def test_what_a_server_may_have_acted_upon_is_repeated_only_if_that_does_no_harm(
    make_stage: StageMaker, three: list[RawUpstream], silent: bool
) -> None:
    bad, _, good = three
    bad.script = hang if silent else hang_up
    stage = await stage_before(make_stage, [bad, good], first_byte_timeout="50ms", ejection={"failures": 1000})
    [caller] = await funded(stage, "1.00 usd")
    bearer = f"Authorization: Bearer {caller.token}"

    async def outcome(number: int, method: str, body: bytes) -> int:
        return await status(stage, f"/paid/{number}", method, body, bearer)

    # The turns go on with every request, so each one is sent until the bad one was asked first.
    for methods, expected in ((REPEATED, 200), (NOT_REPEATED, 504 if silent else 502)):
        found = [await asyncio.gather(*(outcome(n, *case) for n, case in enumerate(methods))) for _ in range(2)]
        for answers in zip(*found, strict=True):
            assert set(answers) <= {200, expected}
    targets = [visit.request_line for visit in good.visits]
    assert sum(b"/paid/" in target for target in targets) == len(targets)
    asked = {method.encode() for method, _ in REPEATED}
    again = [visit.request_line for visit in bad.visits if visit.request_line.split()[0] in asked and not visit.body]
    assert len(again) >= len(REPEATED)
    await until(lambda: under_way(stage) == 0)
    _, held = await balance(stage, caller)
    assert held == 0
    await stage.stop_gateway()
    assert audited(stage).totals["usd"].spent == len(good.visits) * PRICE  # charged for what was answered, once


class Forgetful:
    """Answers the first request of each connection, and closes on the second, as a server does that is restarted."""

    def __init__(self) -> None:
        self.seen: set[asyncio.StreamWriter] = set()

    async def __call__(self, visit: Visit) -> None:
        if visit.writer in self.seen:
            visit.writer.close()
        else:
            self.seen.add(visit.writer)
            visit.writer.write(OK.removesuffix(b"ok") if visit.head.startswith(b"HEAD") else OK)


@pytest.mark.parametrize(("method", "body"), REPEATED)
async def test_an_old_connection_that_closes_is_nobodys_fault_and_the_request_is_repeated(
    make_stage: StageMaker, method: str, body: bytes
) -> None:
    async with toy_upstream(Forgetful()) as server:
        stage = await stage_before(make_stage, [server], retries=0, ejection={"failures": 1, "time": "30s"})
        assert [await status(stage, "/free/x", method, body) for _ in range(4)] == [200] * 4
        assert (len(server.visits), server.connections) == (7, 4)


@pytest.mark.parametrize(("method", "body"), NOT_REPEATED)
async def test_an_old_connection_that_closes_is_told_if_a_repetition_might_do_harm(
    make_stage: StageMaker, method: str, body: bytes
) -> None:
    async with toy_upstream(Forgetful()) as server:
        stage = await stage_before(make_stage, [server], ejection={"failures": 1, "time": "30s"})
        assert [await status(stage, "/free/x", method, body) for _ in range(4)] == [200, 502, 200, 502]
        assert len(server.visits) == 4


@pytest.mark.parametrize("answer", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2"])
async def test_an_answer_that_began_is_never_asked_for_again(
    make_stage: StageMaker, three: list[RawUpstream], answer: bytes
) -> None:
    async def begin(visit: Visit) -> None:
        visit.writer.write(answer)
        await visit.writer.drain()
        visit.writer.close()

    for server in three:
        server.script = begin
    stage = await stage_before(make_stage, three, retries=2, ejection={"failures": 1000})
    async with connected(stage.url) as wire:
        wire.send(request("/free/x", None, "Connection: close"))
        assert b"HTTP/1.1 502" in await wire.rest()
    assert sum(len(server.visits) for server in three) == 1


async def test_an_answer_of_5xx_is_an_answer(make_stage: StageMaker, three: list[RawUpstream]) -> None:
    for server in three:
        server.script = fail
    stage = await stage_before(make_stage, three, ejection={"failures": 1, "time": "30s"})
    assert [await status(stage) for _ in range(6)] == [503] * 6
    assert [len(server.visits) for server in three] == [2, 2, 2]


async def test_as_many_others_are_tried_as_the_settings_say(make_stage: StageMaker, three: list[RawUpstream]) -> None:
    for server in three:
        server.script = hang_up
    for retries in (0, 1, 2, 5):
        stage = await stage_before(make_stage, three, retries=retries, ejection={"failures": 1000})
        before = sum(len(server.visits) for server in three)
        assert await status(stage) == 502
        assert sum(len(server.visits) for server in three) - before == min(retries, 2) + 1


# --- health checks ----------------------------------------------------------------------------------------------------

CHECK = {"path": "/health?deep=1", "every": "60ms"}


def checks(server: RawUpstream) -> list[Visit]:
    return [visit for visit in server.visits if b" /health" in visit.request_line]


async def test_a_server_that_fails_its_checks_is_left_out_until_it_passes_one(
    make_stage: StageMaker, three: list[RawUpstream]
) -> None:
    sick, well, _ = three
    sick.script = fail
    stage = await stage_before(
        make_stage, [sick, well], health_check=CHECK, ejection={"failures": 2, "time": "1ms", "time_max": "1ms"}
    )
    await until(lambda: len(checks(sick)) >= 4)
    assert [await status(stage) for _ in range(6)] == [200] * 6
    assert len(sick.visits) == len(checks(sick))  # no caller's request had to find out
    sick.script = redirect  # 3xx is as good
    before = len(checks(sick))
    await until(lambda: len(checks(sick)) >= before + 2)
    assert sorted([await status(stage), await status(stage)]) == [200, 302]


async def test_nobody_is_asked_while_every_server_fails_its_checks(make_stage: StageMaker) -> None:
    async with toy_upstream(hang_up) as server:
        stage = await stage_before(
            make_stage, [server], health_check={**CHECK, "every": "100ms"}, ejection={"failures": 1, "time": "1ms"}
        )
        await until(lambda: len(checks(server)) >= 2)
        await asyncio.sleep(0.03)  # a request would try it now
        async with connected(stage.url) as wire:
            wire.send(request("/free/x"))
            answer = await wire.answer()
            assert (answer.status, answer.code) == (503, b"upstream_unavailable")
            assert answer.values(b"retry-after") == [b"1"]
        assert len(server.visits) == len(checks(server))
        server.script = ok
        async with asyncio.timeout(2):
            while await status(stage) == 503:
                await asyncio.sleep(0.02)
        assert await status(stage) == 200


async def test_a_server_that_cannot_be_reached_or_hangs_fails_its_check(
    make_stage: StageMaker, three: list[RawUpstream]
) -> None:
    dead, hanging, well = three
    hanging.script = hang
    stage = await stage_before(
        make_stage, three, health_check=CHECK, first_byte_timeout="100ms", ejection={"failures": 2, "time": "10s"}
    )
    await dead.stop()
    pool = relay_of(stage).pools._pools["raw"]
    await until(lambda: len(pool._troubled) == 2 and len(checks(hanging)) >= 3, 3)
    assert [await status(stage) for _ in range(6)] == [200] * 6
    assert len(hanging.visits) == len(checks(hanging))
    assert len(well.visits) - len(checks(well)) == 6


async def test_a_check_says_what_a_request_would_and_leaves_no_connection(
    make_stage: StageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[object] = []
    monkeypatch.setattr(Pool, "put", lambda _, connection, seconds: kept.append(connection))
    async with toy_upstream() as server:
        await stage_before(
            make_stage, [server], health_check=CHECK, credential={"header": {"name": "X-Key", "value": "ours"}}
        )
        await until(lambda: len(checks(server)) >= 3)
        head = checks(server)[0].head
        authority = server.url.removeprefix("http://")
        assert (
            head
            == (
                f"GET /health?deep=1 HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: farebox-health-check\r\n"
                "Connection: close\r\nX-Key: ours\r\n\r\n"
            ).encode()
        )
        assert server.connections == len(server.visits)
        assert kept == []  # not for a moment: whoever took it would lose it with the check's end


async def test_checks_begin_and_end_with_their_upstream(make_stage: StageMaker, three: list[RawUpstream]) -> None:
    first, second, _ = three
    stage = await stage_before(make_stage, [first], health_check=CHECK)
    other = await stage_before(make_stage, [second], health_check=CHECK)
    pools, old, new = relay_of(stage).pools, stage.settings.upstreams["raw"], other.settings.upstreams["raw"]
    await other.stop_gateway()
    await until(lambda: len(checks(first)) >= 2)
    await _no_more_checks(second)
    for upstream, asked, left in ((new, second, first), (old, first, second)):  # as a reload does
        pools.watch([upstream])
        before = len(checks(asked))
        await until(lambda asked=asked, before=before: len(checks(asked)) > before)  # type: ignore[misc]
        await _no_more_checks(left)
    pools.watch([old])
    nobody: list[Upstream] = []
    pools.watch(nobody)
    await _no_more_checks(first)
    assert pools._pools == {}


async def _no_more_checks(server: RawUpstream) -> None:
    await asyncio.sleep(0.03)
    before = len(checks(server))
    await asyncio.sleep(0.1)
    assert len(checks(server)) == before
