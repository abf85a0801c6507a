"""What an answer did cost, said at its end to whoever asked: in a last event, and in a trailer."""

import asyncio
import json

import pytest

from tests.core.test_usage import OPENAI
from tests.raw import Visit, answering, ask
from tests.relay.wire import Seen, Wire
from tests.web.shops import EVENT, EVENTS, Shop, answer, chunk, in_chunks, pour

ASKS = "Gateway-Final-Event: cost"
TRAILERS = "TE: trailers"


async def seen(shop: Shop, target: str, *lines: str) -> Seen:
    async with await Wire.to(shop.stage.url) as wire:
        await wire.send(shop.request(target, *lines))
        return await wire.answer()


def last_event(body: bytes) -> dict[str, str]:
    before, _, last = body.rpartition(b"\n\nevent: gateway.cost\ndata: ")
    assert before
    found: dict[str, str] = json.loads(last)
    return found


@pytest.mark.parametrize("pieces", [1, 3])
async def test_a_stream_ends_with_what_it_did_cost(shop: Shop, pieces: int) -> None:
    size = -(-len(OPENAI) // pieces)
    shop.upstream.script = answering(in_chunks([OPENAI[at : at + size] for at in range(0, len(OPENAI), size)]))
    got = await seen(shop, "/tokens/x", ASKS)
    assert got.body.startswith(OPENAI)
    cost = await shop.charged()
    [id] = got.values(b"Gateway-Request-Id")
    assert last_event(got.body) == {"cost": f"{cost / 1_000_000} usd", "request_id": id.decode()}


async def test_it_is_said_of_a_flat_price_too(shop: Shop) -> None:
    shop.upstream.script = answering(in_chunks([EVENT]))
    assert last_event((await seen(shop, "/flat/x", ASKS)).body)["cost"] == "0.002 usd"


async def test_an_event_that_was_not_ended_is_ended_before_it(shop: Shop) -> None:
    shop.upstream.script = answering(in_chunks([b"data: 1"]))
    assert (await seen(shop, "/flat/x", ASKS)).body.startswith(b"data: 1\n\nevent: gateway.cost\n")


async def test_nobody_else_is_told(shop: Shop) -> None:
    shop.upstream.script = answering(in_chunks([OPENAI]))
    got = await seen(shop, "/tokens/x")
    assert (got.body, got.trailers, got.values(b"Trailer")) == (OPENAI, [], [])


async def test_the_upstream_does_not_hear_of_it(shop: Shop) -> None:
    shop.upstream.script = answering(in_chunks([OPENAI]))
    await seen(shop, "/tokens/x", ASKS)
    assert shop.upstream.visits[0].values(b"Gateway-Final-Event") == []


@pytest.mark.parametrize("lines", [(TRAILERS,), (TRAILERS, ASKS)])
async def test_a_trailer_says_what_the_head_could_not(shop: Shop, lines: tuple[str, ...]) -> None:
    may_end = asyncio.Event()

    async def slowly(visit: Visit) -> None:
        visit.writer.write(EVENTS)
        await may_end.wait()
        visit.writer.write(chunk(OPENAI) + b"0\r\nX-Theirs: 1\r\n\r\n")

    shop.upstream.script = slowly
    async with await Wire.to(shop.stage.url) as wire:
        await wire.send(shop.request("/tokens/x", *lines))
        assert (await wire.head()).values(b"Trailer") == [b"Gateway-Cost"]
        may_end.set()
        body = b""
        while piece := await wire.chunk():
            body += piece
        trailers = await wire.rest()
    cost = await shop.charged()
    ours = b"Gateway-Cost: %b usd\r\n\r\n" % str(cost / 1_000_000).encode()
    assert trailers == (b"X-Theirs: 1\r\n" if shop.form == "relay" else b"") + ours
    assert (b"event: gateway.cost" in body) == (ASKS in lines)


async def test_a_trailer_is_not_sent_where_the_head_says_it(shop: Shop) -> None:
    shop.upstream.script = answering(in_chunks([EVENT]))
    got = await seen(shop, "/flat/x", TRAILERS)
    assert (got.values(b"Gateway-Cost"), got.values(b"Trailer"), got.trailers) == ([b"0.002 usd"], [], [])


@pytest.mark.parametrize("kind", ["length", "json", "coded"])
async def test_what_can_have_no_more_events_passes_as_it_is(shop: Shop, kind: str) -> None:
    says = {
        "length": answer(EVENT, "Content-Type: text/event-stream"),
        "json": in_chunks([b"{}"], "application/json"),
        "coded": in_chunks([EVENT], "text/event-stream\r\nContent-Encoding: br"),
    }[kind]
    shop.upstream.script = answering(says)
    assert (await seen(shop, "/tokens/x", ASKS)).body == (b"{}" if kind == "json" else EVENT)


async def test_what_is_cut_off_has_no_last_words(shop: Shop) -> None:
    begun = asyncio.Event()

    async def cut(visit: Visit) -> None:
        visit.writer.write(EVENTS + chunk(EVENT))
        await begun.wait()
        visit.writer.close()

    shop.upstream.script = cut
    async with await Wire.to(shop.stage.url) as wire:
        await wire.send(shop.request("/tokens/x", ASKS, TRAILERS))
        assert (await wire.head()).status == 200
        begun.set()
        rest = await wire.rest()
    assert EVENT in rest
    assert b"cost" not in rest.lower()
    assert not rest.endswith(b"0\r\n\r\n")


async def test_a_stream_whose_balance_ends_says_both(shop: Shop) -> None:
    async def endless(visit: Visit) -> None:
        await pour(visit, EVENTS, chunk(EVENT), 100_000)

    shop.upstream.script = endless
    got = await seen(shop, "/stream/x", ASKS)
    assert got.body.index(b"event: error") < got.body.index(b"event: gateway.cost")
    assert last_event(got.body)["cost"] == f"{(await shop.charged()) / 1_000_000:.2f} usd"


async def test_what_came_beyond_a_slice_is_in_the_cost_that_is_said(shop: Shop) -> None:
    shop.upstream.script = answering(in_chunks([EVENT * 50]))
    got = await seen(shop, "/stream/x", ASKS)
    assert last_event(got.body)["cost"] == "5.00 usd"
    assert await shop.charged() == 5_000_000


async def test_a_caller_of_http_1_0_is_told_before_the_end(shop: Shop) -> None:
    shop.upstream.script = answering(in_chunks([OPENAI]))
    request = shop.request("/tokens/x", ASKS, TRAILERS).replace(b"HTTP/1.1", b"HTTP/1.0")
    body = (await ask(shop.stage.url, request)).partition(b"\r\n\r\n")[2]
    assert body.startswith(OPENAI)
    assert last_event(body)["cost"].endswith(" usd")


async def test_another_event_is_refused_before_any_work(shop: Shop) -> None:
    assert (await shop.ask("/tokens/x", "Gateway-Final-Event: love"))[0] == 400
    assert shop.upstream.visits == []
    assert await shop.charged() == 0
