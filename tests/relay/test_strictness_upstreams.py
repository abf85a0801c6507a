"""An upstream that talks nonsense is a 502 that costs nothing, and its connection carries nothing to anybody else."""

import asyncio
import random

import pytest

from gateway.cli.stage import Stage
from tests.callers import Funded, funded
from tests.conftest import StageMaker
from tests.raw import OK, RawUpstream, Visit, answering
from tests.relay.refusing import (
    Malformed,
    balance,
    bearer,
    config,
    connected,
    flaws,
    head,
)

# --- upstreams that talk nonsense -------------------------------------------------------------------------------------

OKAY = b"HTTP/1.1 200 OK\r\n"
NONSENSE = {
    "an SSH banner": b"SSH-2.0-OpenSSH_9.6\r\n", "TLS": b"\x15\x03\x01\x00\x02\x02\x46", "HTML": b"<html></html>",
    "an empty line": b"\r\n" + OK, "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "NULs": bytes(100),
    "status 000": b"HTTP/1.1 000 Zero\r\nContent-Length: 0\r\n\r\n",
    "status 099": b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "status 99": b"HTTP/1.1 99 X\r\nContent-Length: 0\r\n\r\n",
    "status 1000": b"HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n",
    "status 2x0": b"HTTP/1.1 2x0 X\r\nContent-Length: 0\r\n\r\n",
    "status -20": b"HTTP/1.1 -20 X\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "a blank for a status": b"HTTP/1.1 \r\nContent-Length: 0\r\n\r\n",
    "two blanks": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "a tab": b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n",
    "200OK": b"HTTP/1.1 200OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http/1.1": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "ICY": b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    "length and chunks": OKAY + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "chunks and length": OKAY + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "two lengths": OKAY + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "equal lengths": OKAY + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "a list of lengths": OKAY + b"Content-Length: 2, 2\r\n\r\nok", "+2": OKAY + b"Content-Length: +2\r\n\r\nok",
    "02": OKAY + b"Content-Length: 02\r\n\r\nok", "-1": OKAY + b"Content-Length: -1\r\n\r\nok",
    "no length": OKAY + b"Content-Length:\r\n\r\nok",
    "2^64": OKAY + b"Content-Length: 18446744073709551616\r\n\r\nok",
    "gzip": OKAY + b"Transfer-Encoding: gzip\r\n\r\nok",
    "gzip, chunked": OKAY + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks of HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two codings": OKAY + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "204 framed twice": b"HTTP/1.1 204 No\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
    "NUL": OKAY + b"X: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "a control byte": OKAY + b"X: a\x01b\r\nContent-Length: 2\r\n\r\nok",
    "DEL": OKAY + b"X: a\x7fb\r\nContent-Length: 2\r\n\r\nok",
    "bare CR": OKAY + b"X: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "bare LF": OKAY + b"X: a\nContent-Length: 2\r\n\r\nok",
    "a fold": OKAY + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "a blank before the colon": OKAY + b"Content-Length : 2\r\n\r\nok",
    "no colon": OKAY + b"X\r\nContent-Length: 2\r\n\r\nok",
    "no name": OKAY + b": x\r\nContent-Length: 2\r\n\r\nok",
    "a bad name": OKAY + b"X(): x\r\nContent-Length: 2\r\n\r\nok",
    "a control byte in the reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok",
    "CR in the reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok", "LF lines": OK.replace(b"\r\n", b"\n"),
    "a large head": OKAY + b"X: " + b"y" * 66_000 + b"\r\nContent-Length: 2\r\n\r\nok",
    "an endless head": OKAY + b"X: y\r\n" * 20_000,
    "many fields": OKAY + b"X: y\r\n" * 200 + b"Content-Length: 2\r\n\r\nok",
    "an endless line": b"HTTP/1.1 200 " + b"O" * 70_000,
    "101 unasked": b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "17 interim answers": b"HTTP/1.1 102 Processing\r\n\r\n" * 17 + OK,
    "a broken interim answer": b"HTTP/1.1 103 X\r\nX: \x01\r\n\r\n" + OK,
    "a bad chunk at once": OKAY + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "0x2": OKAY + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\nok\r\n0\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_nonsense_is_a_502_costs_nothing_and_ends_its_connection(
    make_stage: StageMaker, upstream: RawUpstream, method: str
) -> None:
    changed = config(upstream)
    changed["upstreams"]["raw"]["ejection"] = {"failures": 1000, "time": "1s"}
    stage = await make_stage(**changed)
    [caller] = await funded(stage, "1.00 usd")
    nonsense = b""
    dropped = 0

    async def script(visit: Visit) -> None:
        nonlocal dropped
        if visit.request_line.split(b" ")[1] != b"/paid/bad":
            visit.writer.write(OK if not visit.request_line.startswith(b"HEAD") else OK[:-2])
            return
        visit.writer.write(nonsense)
        assert await visit.reader.read() == b""  # the gateway closes; nothing else is asked here
        dropped += 1

    upstream.script = script
    wrong = {}
    lines = [bearer(caller), *(["Content-Length: 0"] if method == "POST" else [])]
    cases = {
        name: what
        for name, what in NONSENSE.items()
        if not ((method == "HEAD" and "chunk at once" in name) or name == "0x2")
    }
    for name in cases:
        nonsense = cases[name]
        async with connected(stage.url) as wire:
            wire.send(head(*lines, method=method, target="/paid/good"))
            wire.send(head(*lines, method=method, target="/paid/bad"))
            wire.send(head(*lines, method=method, target="/paid/good"))
            good, bad, next = [await wire.answer(method) for _ in range(3)]
            found = flaws(bad, 502, "upstream_failed") if method != "HEAD" else []
            if (good.status, bad.status, next.status) != (200, 502, 200) or found:
                wrong[name] = f"{good.status} {bad.status} {next.status} {found}"
    assert not wrong
    assert dropped == len(cases)
    assert await balance(stage, caller) == 1_000_000 - 2 * 2_000 * len(cases)


@pytest.mark.parametrize("status", [200, 299, 399, 404, 451, 599, 600, 799, 999])
async def test_every_other_status_of_three_digits_passes_as_it_is(
    stage: Stage, upstream: RawUpstream, status: int
) -> None:
    upstream.script = answering(b"HTTP/1.1 %d Odd\r\nContent-Length: 2\r\n\r\nok" % status)
    async with connected(stage.url) as wire:
        for _ in range(2):
            wire.send(head(target="/free/x"))
            answer = await wire.answer()
            assert (answer.status, answer.body) == (status, b"ok")
    assert upstream.connections == 1


async def test_a_101_that_was_asked_for_is_one(stage: Stage, upstream: RawUpstream) -> None:
    async def script(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nearly")
        assert await visit.reader.readexactly(4) == b"ping"
        visit.writer.write(b"pong")
        await visit.reader.read()

    upstream.script = script
    async with connected(stage.url) as wire:
        wire.send(head("Upgrade: websocket", "Connection: Upgrade", target="/free/x"))
        answer = await wire.answer()
        assert (answer.status, answer.values(b"upgrade"), answer.values(b"connection")) == (
            101,
            [b"websocket"],
            [b"Upgrade"],
        )
        wire.send(b"ping")
        assert await wire.reader.readexactly(9) == b"earlypong"


async def test_sixteen_interim_answers_pass(stage: Stage, upstream: RawUpstream) -> None:
    upstream.script = answering(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 16 + OK)
    async with connected(stage.url) as wire:
        wire.send(head(target="/free/x"))
        heads = [(await wire._answer("GET")).status for _ in range(17)]
    assert heads == [103] * 16 + [200]


LEFTOVERS = {
    "bytes": (b"GET", OK + b"x"), "an answer": (b"GET", OK + OK.replace(b"ok", b"no")),
    "an empty line": (b"GET", OK + b"\r\n"),
    "an interim answer": (b"GET", OK + b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a longer body": (b"GET", OKAY + b"Content-Length: 2\r\n\r\noklahoma"),
    "a chunk after the last": (
        b"GET", OKAY + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    ),
    "a body of HEAD": (b"HEAD", OK),
    "chunks of HEAD": (b"HEAD", OKAY + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "a body of 204": (b"GET", b"HTTP/1.1 204 No\r\nContent-Length: 2\r\n\r\nok"),
    "a body of 304": (b"GET", b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\nok"),
    "chunks of 204": (b"GET", b"HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    "no request wanted": (b"GET", OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")),
}  # fmt: skip


@pytest.mark.parametrize("what", LEFTOVERS)
async def test_what_follows_an_answer_is_nobodys_answer(stage: Stage, upstream: RawUpstream, what: str) -> None:
    method, said = LEFTOVERS[what]
    dropped = asyncio.Event()

    async def script(visit: Visit) -> None:
        if visit.request_line.split(b" ")[1] != b"/free/odd":
            visit.writer.write(OK)
            return
        visit.writer.write(said)
        assert await visit.reader.read() == b""
        dropped.set()

    upstream.script = script
    async with connected(stage.url) as wire:
        wire.send(head(method=method.decode(), target="/free/odd"))
        wire.send(head(target="/free/next"))
        odd, next = await wire.answer(method.decode()), await wire.answer()
    assert odd.status == int(said[9:12])
    assert odd.body == (b"" if method == b"HEAD" or odd.status != 200 else b"ok")
    assert (next.status, next.body) == (200, b"ok")
    await asyncio.wait_for(dropped.wait(), 2)
    assert upstream.connections == 2
    if odd.status == 204:
        assert not odd.values(b"content-length")  # RFC 9110, section 8.6


@pytest.mark.parametrize(
    "said", [OK, b"x", b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n"]
)
async def test_an_idle_connection_on_which_the_server_speaks_is_dropped(
    stage: Stage, upstream: RawUpstream, said: bytes
) -> None:
    dropped = asyncio.Event()

    async def script(visit: Visit) -> None:
        visit.writer.write(OK.replace(b"ok", b"%02d" % upstream.connections))
        if upstream.connections == 1:
            await asyncio.wait_for(answered.wait(), 2)
            visit.writer.write(said)
            assert await visit.reader.read() == b""
            dropped.set()

    answered = asyncio.Event()
    upstream.script = script
    async with connected(stage.url) as wire:
        wire.send(head(target="/free/x"))
        assert (await wire.answer()).body == b"01"
        answered.set()
        await asyncio.wait_for(dropped.wait(), 2)
        wire.send(head(target="/free/x"))
        assert (await wire.answer()).body == b"02"


@pytest.mark.parametrize(
    "said",
    [
        OKAY + b"Content-Length: 9\r\n\r\nok", OKAY + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        OKAY + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        OKAY + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n",
        OKAY + b"Transfer-Encoding: chunked\r\n\r\n2\r\noklahoma\r\n", OKAY + b"Content-Len", OKAY,
        b"HTTP/1.1 103 X\r\n\r\n",
    ],
)  # fmt: skip
async def test_half_an_answer_is_never_a_whole_one_and_free(
    stage: Stage, upstream: RawUpstream, caller: Funded, said: bytes
) -> None:
    async def script(visit: Visit) -> None:
        visit.writer.write(said)
        visit.writer.close()

    upstream.script = script
    async with connected(stage.url) as wire:
        wire.send(head(bearer(caller), target="/paid/x"))
        try:
            answer = await wire.answer()
        except Malformed as cut:
            answer = None
            said_when_cut = str(cut)
        assert not flaws(answer, 502, "upstream_failed") if answer else said_when_cut.startswith("cut after")
    assert await balance(stage, caller) == 1_000_000


async def test_every_caller_gets_its_own_answer_from_connections_that_are_poisoned(
    make_stage: StageMaker, upstream: RawUpstream
) -> None:
    changed = config(upstream)
    changed["upstreams"]["raw"]["ejection"] = {"failures": 1000, "time": "1s"}
    stage = await make_stage(**changed)
    chance = random.Random(2)
    poisons = [b"", b"", b"", b"x", OK, b"\r\n", b"HTTP/1.1 100 C\r\n\r\n", b"0\r\n\r\n"]
    kinds = ["length", "length", "chunks", "short", "garbage", "close", "nothing", "early"]

    async def script(visit: Visit) -> None:
        mine = b"answer of " + visit.request_line.split(b" ")[1] + b" with " + visit.body
        kind = chance.choice(kinds)
        if kind == "length":
            said = OKAY + b"Content-Length: %d\r\n\r\n%b" % (len(mine), mine)
        elif kind == "chunks":
            said = OKAY + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(mine), mine)
        elif kind == "close":
            said = OKAY + b"\r\n" + mine
        elif kind == "early":
            said = b"HTTP/1.1 103 Early\r\n\r\n" + OKAY + b"Content-Length: %d\r\n\r\n%b" % (len(mine), mine)
        else:
            said = {"short": OKAY + b"Content-Length: 999\r\n\r\n" + mine, "garbage": b"zzz\r\n\r\n", "nothing": b""}[
                kind
            ]
        poison = chance.choice(poisons) if kind in ("length", "chunks", "early") else b""
        cut = chance.randrange(len(said) + 1)
        visit.writer.write(said[:cut])
        await asyncio.sleep(0)
        visit.writer.write(said[cut:] + poison)
        if kind in ("short", "garbage", "nothing", "close"):
            visit.writer.close()

    upstream.script = script
    outcomes = {"own": 0, "502": 0, "cut": 0}
    two = asyncio.Semaphore(2)

    async def call(name: int) -> None:
        async with connected(stage.url) as wire:
            for number in range(30):
                text = f"{name}-{number}-{chance.random()}".encode()
                body = text if number % 2 else b""
                framing = [f"Content-Length: {len(body)}"] if body else []
                target = f"/free/{name}/{number}"
                async with two:
                    wire.send(head(*framing, method="POST" if body else "GET", target=target) + body)
                    try:
                        answer = await wire.answer()
                    except (AssertionError, EOFError, ConnectionError):
                        outcomes["cut"] += 1
                        return
                if answer.status == 502:
                    outcomes["502"] += 1
                else:
                    assert answer.status == 200
                    assert answer.body == b"answer of %b with %b" % (target.encode(), body)
                    outcomes["own"] += 1

    await asyncio.gather(*(call(name) for name in range(40)))
    assert min(outcomes.values()) > 20, outcomes
    assert outcomes["own"] > outcomes["502"]
