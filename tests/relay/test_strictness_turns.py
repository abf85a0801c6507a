"""Pages of ours and proxied requests take turns on one connection, and every answer is the right one."""

import asyncio
import random

import pytest

from gateway.cli.stage import Stage
from tests.callers import Funded, audited
from tests.raw import RawUpstream, Visit
from tests.relay.refusing import (
    CHUNKED,
    balance,
    bearer,
    connected,
    head,
    post,
)

# --- one connection for everything ------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [1, 16])
async def test_pages_of_ours_and_proxied_requests_take_turns_on_one_connection(
    stage: Stage, upstream: RawUpstream, caller: Funded, window: int
) -> None:
    async def script(visit: Visit) -> None:
        said = b"%b %b" % (visit.request_line, visit.body)
        bodiless = visit.request_line.startswith(b"HEAD")
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), b"" if bodiless else said))

    upstream.script = script
    chance = random.Random(window)
    count = 1000 if window > 1 else 300
    requests = [_request(chance, number, caller) for number in range(count)]
    async with connected(stage.url) as wire:
        for at in range(0, count, window):
            batch = requests[at : at + window]
            wire.send(b"".join(request for request, _, _ in batch))
            for request, method, expected in batch:
                answer = await wire.answer(method)
                assert answer.status == (404 if b"/-/nothing" in request else 200), request
                assert expected in answer.body, request
                assert not answer.closes, request
        wire.writer.write_eof()
        assert await wire.rest() == b""
    paid = sum(b"/paid/" in request for request, _, _ in requests)
    assert await balance(stage, caller) == 1_000_000 - 2_000 * paid
    assert len(upstream.visits) == sum(b" /-/" not in request for request, _, _ in requests)
    if window > 1:
        settings = stage.settings
        await stage.stop_gateway()
        assert audited(stage).totals["usd"].spent == 2_000 * paid
        await stage.start_gateway(settings)


def _request(chance: random.Random, number: int, caller: Funded) -> tuple[bytes, str, bytes]:
    """A request, its method, and what its answer holds."""
    kind = chance.choice(
        ["wallet", "style", "head of ours", "post to us", "chunks to us", "get", "head", "length", "chunks", "paid"]
    )
    body = b"body %d" % number
    chunks = b"%x;x=y\r\n%b\r\n0\r\nT: u\r\n\r\n" % (len(body), body)
    target = f"/free/{number}"
    if kind == "wallet":
        return head(bearer(caller), target="/-/wallet"), "GET", caller.account.encode()
    if kind == "style":
        return head(target="/-/style.css"), "GET", b"{"
    if kind == "head of ours":
        return head(method="HEAD", target="/-/style.css"), "HEAD", b""
    if kind == "post to us":
        return post(f"Content-Length: {len(body)}", target="/-/nothing", body=body), "POST", b"no_route"
    if kind == "chunks to us":
        return post(CHUNKED, target="/-/nothing", body=chunks), "POST", b"no_route"
    if kind == "get":
        return head(target=target), "GET", f"GET {target} HTTP/1.1 ".encode()
    if kind == "head":
        return head(method="HEAD", target=target), "HEAD", b""
    if kind == "length":
        return post(f"Content-Length: {len(body)}", target=target, body=body), "POST", b"HTTP/1.1 " + body
    if kind == "chunks":
        return post(CHUNKED, target=target, body=chunks), "POST", b"HTTP/1.1 " + body
    return head(bearer(caller), target=f"/paid/{number}"), "GET", f"GET /paid/{number} HTTP/1.1 ".encode()


async def test_a_body_that_breaks_after_its_answer_ends_the_connection_in_order(
    stage: Stage, upstream: RawUpstream
) -> None:
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    async with connected(stage.url) as wire:
        wire.send(post(CHUNKED, target="/-/nothing", body=b"5\r\nhel"))
        assert (await wire.answer()).status == 404
        wire.send(b"lo\r\nzz\r\n" + head(target="/free/smuggled"))
        assert await wire.rest() == b""
    assert unhandled == []
    assert upstream.visits == []
