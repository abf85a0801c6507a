"""Metered prices from end to end, in both forms of the exchange: what an upstream delivers is what is charged."""

import asyncio
import gzip
import json
import os
import random

import pytest

from gateway.core.money import Money
from tests.core.test_usage import ANTHROPIC, OPENAI
from tests.raw import Visit, answering, ask, closed, split
from tests.web.shops import EVENT, EVENTS, LONG, PAID, Shop, answer, chunk, in_chunks, pour

STREAMS = 500 if os.environ.get("GATEWAY_TORTURE") else 50
OF_THE_STREAMS = 1_000 + 400 * 3 + 600 * 3 // 10 + 20 * 15
USED = json.dumps({"text": "hello", "usage": {"prompt_tokens": 100, "completion_tokens": 7}}).encode()


async def test_tokens_of_an_answer_are_charged_and_it_passes_as_it_is(shop: Shop) -> None:
    shop.upstream.script = answering(answer(USED, "Content-Type: application/json"))
    status, fields, body = await shop.ask("/tokens/x", method="POST", body=b"{}")
    assert (status, body) == (200, USED)
    assert await shop.charged() == 1_000 + 300 + 105
    if shop.form == "relay":
        assert (fields["gateway-cost"], fields["gateway-balance"]) == ("0.001405 usd", "9.998595 usd")
    else:
        assert fields["gateway-cost-max"] == "0.50 usd"


async def test_a_coded_answer_is_metered_without_changing_a_byte(shop: Shop) -> None:
    packed = gzip.compress(USED)
    shop.upstream.script = answering(answer(packed, "Content-Type: application/json", "Content-Encoding: gzip"))
    assert (await shop.ask("/tokens/x"))[2] == packed
    assert await shop.charged() == 1_405


@pytest.mark.parametrize("stream", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_streams_of_events_are_charged_by_their_usage(shop: Shop, stream: bytes, size: int) -> None:
    pieces = [stream[i : i + size] for i in range(0, len(stream), size)]
    shop.upstream.script = answering(in_chunks(pieces))
    assert b"".join(pieces) in (await shop.ask("/tokens/x"))[2] or size < len(stream)
    assert await shop.charged() == OF_THE_STREAMS


async def test_what_says_nothing_of_its_usage_costs_the_maximum(shop: Shop) -> None:
    shop.upstream.script = answering(in_chunks([b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"]))
    await shop.ask("/tokens/x")
    assert await shop.charged() == 500_000


async def test_a_caller_that_leaves_before_the_usage_comes_does_not_get_it_free(shop: Shop) -> None:
    async def endless(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + OPENAI[:100])
        await visit.reader.read()

    shop.upstream.script = endless
    host, port = shop.stage.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(shop.request("/tokens/x"))
    await reader.readuntil(OPENAI[:100])
    await closed(writer)
    assert await shop.charged() == 500_000


@pytest.mark.parametrize("status", ["400 Bad", "404 No", "429 Many", "500 Oh", "503 Busy"])
async def test_an_error_of_the_upstream_is_free(shop: Shop, status: str) -> None:
    shop.upstream.script = answering(answer(USED, "Content-Type: application/json", status=status))
    assert (await shop.ask("/tokens/x"))[0] == int(status[:3])
    assert await shop.charged() == 0


@pytest.mark.parametrize(
    ("method", "says", "due"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n", 1_000),
        ("GET", b"HTTP/1.1 204 None\r\n\r\n", 1_000),
        ("GET", b"HTTP/1.1 304 Same\r\nETag: x\r\n\r\n", 1_000),
        ("OPTIONS", answer(b"", status="200 OK"), 500_000),
        ("GET", answer(USED[:9], "Content-Type: application/json", status="206 Part"), 500_000),
    ],
)
async def test_answers_that_can_have_no_body_cost_the_base(shop: Shop, method: str, says: bytes, due: int) -> None:
    shop.upstream.script = answering(says)
    await shop.ask("/tokens/x", method=method)
    assert await shop.charged() == due


async def test_bytes_of_both_ways_are_charged(shop: Shop) -> None:
    shop.upstream.script = answering(answer(b"x" * 250))
    await shop.ask("/bytes/x", method="POST", body=b"y" * 30)
    assert await shop.charged() == 250 * 10 + 30 * 100


async def test_rows_are_counted(shop: Shop) -> None:
    shop.upstream.script = answering(answer(b'{"data": {"items": [1, {}, [2, 3]]}}', "Content-Type: application/json"))
    await shop.ask("/rows/x")
    shop.upstream.script = answering(in_chunks([b"{}\n{", b"}\n\n{}"], "application/x-ndjson"))
    await shop.ask("/rows/x")
    assert await shop.charged() == (3 + 3) * 10_000


@pytest.mark.parametrize(("says", "due"), [("0.0123 usd", 13_300), ("0.0123", 13_300), ("7.00 usd", 100_000)])
async def test_an_upstreams_own_price_is_charged_and_not_passed_on(shop: Shop, says: str, due: int) -> None:
    shop.upstream.script = answering(answer(b"ok", f"Gateway-Price: {says}"))
    status, fields, _ = await shop.ask("/reported/x")
    assert status == 200
    assert "gateway-price" not in fields
    assert await shop.charged() == due


@pytest.mark.parametrize(
    ("says", "due"),
    [
        (answer(b"ok"), 10_000),
        (answer(b"no", status="404 No"), 10_000),
        (answer(b"no", status="302 There"), 0),
        (answer(b""), 0),
    ],
)
async def test_a_route_charges_when_it_says(shop: Shop, says: bytes, due: int) -> None:
    shop.upstream.script = answering(says)
    await shop.ask("/contract/x")
    assert await shop.charged() == due


async def begin_and_cut(shop: Shop, target: str, head: bytes, rest: bytes) -> None:
    """A caller sees the beginning of an answer; then the upstream says the rest and breaks off."""
    begun = asyncio.Event()

    async def cut(visit: Visit) -> None:
        visit.writer.write(head)
        await begun.wait()
        visit.writer.write(rest)
        visit.writer.close()

    shop.upstream.script = cut
    host, port = shop.stage.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    async with asyncio.timeout(5):
        writer.write(shop.request(target))
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await reader.read()
    await closed(writer)


@pytest.mark.parametrize("size", [20, 200_000, 1 << 20])
async def test_no_more_is_held_than_the_request_can_cost_and_its_body_passes_as_it_is(shop: Shop, size: int) -> None:
    shop.upstream.script = answering(answer(USED, "Content-Type: application/json"))
    body = b'{"max_tokens": 100}'.ljust(size)
    status, _, _ = await shop.ask("/bounded/x", method="POST", body=body)
    assert (status, shop.upstream.visits[0].body == body) == (200, True)
    assert await shop.charged() == 7 * 10_000 + size


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b'{"max_tokens": 1001}', []),
        (b'{"max_tokens": 1}'.ljust((1 << 20) + 1), []),
        (b"{}", []),
        (b"", []),
        (b'{"max_tokens": 1}', ["Content-Encoding: gzip"]),
        (b'{"max_tokens": 1}', ["Expect: 100-continue"]),
    ],
    ids=["too-many", "too-long", "unsaid", "empty", "coded", "expecting"],
)
async def test_the_maximum_is_held_where_the_request_does_not_say(shop: Shop, body: bytes, lines: list[str]) -> None:
    status, fields, refused = await shop.ask("/bounded/x", *lines, method="POST", body=body)
    assert (status, fields["gateway-error"]) == (402, "payment_required")
    assert json.loads(refused)["price"]["amount"] == ("10.01002" if b"1001" in body else "20.00")
    assert shop.upstream.visits == []
    assert await shop.charged() == 0


async def test_what_comes_in_chunks_is_not_waited_for(shop: Shop) -> None:
    chunks = b'11\r\n{"max_tokens": 1}\r\n0\r\n\r\n'
    request = shop.request("/bounded/x", "Transfer-Encoding: chunked", method="POST") + chunks
    assert split(await ask(shop.stage.url, request))[0] == 402


async def test_a_body_that_does_not_come_is_refused_and_nothing_is_held(shop: Shop) -> None:
    request = shop.request("/bounded/x", "Content-Length: 30", method="POST") + b'{"max_tokens"'
    assert split(await ask(shop.stage.url, request))[0] == 408
    assert shop.upstream.visits == []
    assert await shop.charged() == 0


async def test_a_stranger_is_refused_before_its_body_is_waited_for(shop: Shop) -> None:
    made = shop.stage.gateway.identity.callers.fresh().fresh
    assert made is not None
    request = shop.request("/bounded/x", "Content-Length: 30", method="POST")
    status, _, _ = split(await ask(shop.stage.url, request.replace(shop.caller.token.encode(), made.reveal().encode())))
    assert status == 402


async def test_the_next_request_of_a_connection_is_not_taken_for_a_body(shop: Shop) -> None:
    shop.upstream.script = answering(answer(USED, "Content-Type: application/json"))
    one = shop.request("/bounded/x", method="POST", body=b'{"max_tokens": 9}').replace(b"Connection: close\r\n", b"")
    answers = await ask(shop.stage.url, one + shop.request("/bounded/x", method="POST", body=b'{"max_tokens": 10}'))
    assert answers.count(USED) == 2
    assert [visit.body for visit in shop.upstream.visits] == [b'{"max_tokens": 9}', b'{"max_tokens": 10}']
    assert await shop.charged() == 2 * 70_000 + 17 + 18


@pytest.mark.parametrize(
    ("target", "limit", "status"),
    [
        ("/tokens/x", "0.50 usd", 200), ("/tokens/x", "0.5", 200), ("/tokens/x", "0.499999 usd", 412),
        ("/tokens/x", "0.50 eur", 412), ("/tokens/x", "cheap", 400), ("/flat/x", "0.002", 200), ("/flat/x", "0", 412),
        ("/free/x", "0", 200), ("/bounded/x", "0.09002", 200), ("/bounded/x", "0.090016", 412),
    ],
)  # fmt: skip
async def test_nothing_is_done_for_more_than_the_caller_wants_to_pay(
    shop: Shop, target: str, limit: str, status: int
) -> None:
    shop.upstream.script = answering(answer(USED, "Content-Type: application/json"))
    answered, fields, _ = await shop.ask(
        target, f"Gateway-Max-Price: {limit}", method="POST", body=b'{"max_tokens": 9}'
    )
    assert answered == status
    assert len(shop.upstream.visits) == (status == 200)
    if status == 200:
        assert shop.upstream.visits[0].values(b"Gateway-Max-Price") == []
    else:
        assert fields["gateway-error"] == ("price_too_high" if status == 412 else "bad_request")
        assert await shop.charged() == 0


@pytest.mark.parametrize("size", [100, 2_500])
async def test_a_long_answer_is_paid_slice_by_slice_and_passes_whole(shop: Shop, size: int) -> None:
    async def stream(visit: Visit) -> None:
        await pour(visit, EVENTS, chunk(EVENT * (size // 100)), 9_000 // size)
        visit.writer.write(b"0\r\n\r\n")

    shop.upstream.script = stream
    status, fields, body = await shop.ask("/stream/x")
    count = 9_000 // size * (size // 100)
    assert (status, body.count(b"data: "), b"error" in body) == (200, count, False)
    assert fields.get("gateway-cost-max", "100.00 usd") == "100.00 usd"
    assert await shop.charged() == count * 100_000


async def test_a_stream_ends_with_an_event_when_the_balance_ends(shop: Shop) -> None:
    async def endless(visit: Visit) -> None:
        await pour(visit, EVENTS, chunk(EVENT), 100_000)

    shop.upstream.script = endless
    status, _, body = await shop.ask("/stream/x")
    assert status == 200
    assert body.endswith(b"0\r\n\r\n")
    (last,) = [line for line in body.split(b"\n") if b'"code"' in line]
    assert json.loads(last.removeprefix(b"data: "))["code"] == "payment_required"
    assert PAID - 500_000 <= await shop.charged() <= PAID
    await asyncio.wait_for(shop.upstream.visits[0].gone.wait(), 5)


async def test_a_stream_ends_with_an_event_when_a_cap_is_reached(shop: Shop) -> None:
    async def endless(visit: Visit) -> None:
        await pour(visit, EVENTS, chunk(EVENT), 100_000)

    cap = Money.parse("4.20 usd")
    await shop.stage.gateway.identity.caps.set(shop.caller.account, "total", cap)
    shop.upstream.script = endless
    status, _, body = await shop.ask("/stream/x")
    assert status == 200
    assert body.endswith(b"0\r\n\r\n")
    (last,) = [line for line in body.split(b"\n") if b'"code"' in line]
    assert json.loads(last.removeprefix(b"data: "))["code"] == "spend_cap_reached"
    assert cap.micros - 500_000 <= await shop.charged() <= cap.micros
    await asyncio.wait_for(shop.upstream.visits[0].gone.wait(), 5)


async def test_any_other_answer_looks_cut_when_the_balance_ends(shop: Shop) -> None:
    async def endless(visit: Visit) -> None:
        await pour(visit, LONG, b"x" * 100, 10_000)

    shop.upstream.script = endless
    _, fields, body = await shop.ask("/stream/x")
    assert int(fields["content-length"]) > len(body)
    assert PAID - 500_000 <= await shop.charged() <= PAID


async def test_what_comes_at_once_beyond_a_slice_is_paid_all_the_same(shop: Shop) -> None:
    shop.upstream.script = answering(answer(b"x" * 5_000))
    assert len((await shop.ask("/stream/x"))[2]) == 5_000
    assert await shop.charged() == 5_000_000


async def test_beyond_the_maximum_an_answer_goes_on_for_nothing(shop: Shop) -> None:
    async def stream(visit: Visit) -> None:
        await pour(visit, LONG, b"x" * 1_000, 1_000)

    shop.upstream.script = stream
    assert len((await shop.ask("/short/x"))[2]) == 1_000_000
    assert await shop.charged() == 2_000_000


async def test_time_runs_out_though_nothing_comes(shop: Shop) -> None:
    async def silent(visit: Visit) -> None:
        visit.writer.write(EVENTS)
        await visit.reader.read()

    shop.upstream.script = silent
    _, _, body = await shop.ask("/time/x")
    assert b"payment_required" in body
    assert PAID - 2_000_000 <= await shop.charged() <= PAID


async def test_streams_that_are_cut_cost_what_was_delivered(shop: Shop) -> None:
    """Cut at random places by the upstream, whose own journal says what it delivered."""
    chance, journal = random.Random(7), 0
    whole = b"".join(b"%x\r\n%b\r\n" % (size, b"x" * size) for size in range(1, 30)) + b"0\r\n\r\n"
    for _ in range(STREAMS):
        delivered = whole[: chance.randrange(len(whole))]
        await begin_and_cut(
            shop, "/bytes/x", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", delivered
        )
        journal += 1 + delivered.count(b"x")
    assert await shop.charged() == journal * 10


async def test_half_of_a_flat_price_for_what_the_upstream_breaks_off(shop: Shop) -> None:
    await begin_and_cut(shop, "/contract/x", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", b"")
    assert await shop.charged() == 5_000


async def test_an_hour_of_an_open_connection_is_charged(shop: Shop) -> None:
    if shop.form != "relay":
        pytest.skip("the aiohttp form passes no upgrades on")
    seconds = [0.0]
    shop.stage.gateway.serve._now = lambda: seconds[0]

    async def switch(visit: Visit) -> None:
        visit.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: toy\r\nConnection: Upgrade\r\n\r\n")
        await visit.reader.read()

    shop.upstream.script = switch
    host, port = shop.stage.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    upgrade = shop.request("/open/x").replace(b"Connection: close", b"Connection: Upgrade\r\nUpgrade: toy")
    writer.write(upgrade)
    await reader.readuntil(b"\r\n\r\n")
    seconds[0] += 3600
    await closed(writer)
    assert await shop.charged() == 60 * 60_000


async def test_an_upstream_can_be_asked_not_to_code_its_answers(shop: Shop) -> None:
    shop.upstream.script = answering(answer(USED, "Content-Type: application/json"))
    await shop.ask("/readable/x", "Accept-Encoding: br, gzip")
    assert shop.upstream.visits[0].values(b"Accept-Encoding") == [b"identity"]
    assert await shop.charged() == 1_405


async def test_what_no_meter_reads_costs_the_maximum(shop: Shop) -> None:
    shop.upstream.script = answering(answer(USED, "Content-Type: application/json", "Content-Encoding: br"))
    await shop.ask("/tokens/x")
    assert await shop.charged() == 500_000
