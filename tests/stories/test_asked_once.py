"""What is asked for with one `Idempotency-Key` is sold once, on both roads: through real sockets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from tests.callers import Funded, audited, funded
from tests.conftest import StageMaker
from tests.forms import FORMS, staged
from tests.raw import RawUpstream, Visit
from tests.relay.scenes import connected, request
from tests.stories.test_the_readme import blocks, script, section

PRICE = 2_000


class Press:
    """An upstream that prints a new number on every page, when it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.may.set()
        self.head = b"HTTP/1.1 200 Fine\r\nX-Page: yes\r\n"
        self.size = 0
        self.breaks = self.no_body = False
        self.upstream = RawUpstream(self.print)

    async def print(self, visit: Visit) -> None:
        number = len(self.upstream.visits)
        await self.may.wait()
        body = (b"page %d" % number).ljust(self.size, b".")
        visit.writer.write(self.head + b"Content-Length: %d\r\n\r\n" % len(body))
        if visit.head.startswith(b"HEAD") or self.no_body:
            return
        visit.writer.write(body[:3] if self.breaks else body)
        await visit.writer.drain()
        if self.breaks:
            visit.writer.close()

    @property
    def count(self) -> int:
        return len(self.upstream.visits)


@dataclass
class Shop:
    stage: Stage
    press: Press
    caller: Funded
    session: ClientSession

    async def ask(
        self, key: str | None = "k1", path: str = "/press/a", method: str = "POST", body: bytes = b"x"
    ) -> tuple[int, dict[str, str], bytes]:
        fields = {**self.caller.headers, **({} if key is None else {"Idempotency-Key": key})}
        async with self.session.request(method, self.stage.url + path, headers=fields, data=body) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    async def spent(self) -> int:
        async with asyncio.timeout(5):  # a twin may have its answer before the first request has ended
            while (found := await self.stage.gateway.ledger.balance(self.caller.account, "usd")).held.micros:
                await asyncio.sleep(0.001)
        return 1_000_000 - found.available.micros


@asynccontextmanager
async def shop_of(form: str, folder: Path, *, price: Any = "0.002 usd", **more: Any) -> AsyncIterator[Shop]:
    press = Press()
    await press.upstream.start()
    route = {"name": "press", "match": "/press/", "upstream": "press", "price": price, **more.pop("route", {})}
    plain = {"name": "plain", "match": "/plain/", "upstream": "press", "price": price, "idempotency": "upstream"}
    upstreams = {"press": {"url": press.upstream.url, "first_byte_timeout": "5s"}}
    async with staged(form, folder, upstreams=upstreams, routes=[route, plain], **more) as stage:
        [caller] = await funded(stage, "1.00 usd")
        async with ClientSession() as session:
            yield Shop(stage, press, caller, session)
        assert audited(stage).clean
    await press.upstream.stop()


@pytest.fixture(params=sorted(FORMS))
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop_of(request.param, tmp_path, idempotency={"answer_max": "1 KiB", "body_max": "1 KiB"}) as shop:
        yield shop


async def test_the_same_again_is_replayed_with_its_receipt(shop: Shop) -> None:
    first = await shop.ask('"k1"')
    again = await shop.ask("k1")
    assert (first[0], first[2]) == (again[0], again[2]) == (200, b"page 1")
    assert again[1].pop("Idempotency-Replayed") == "true"
    receipt = ("Gateway-Cost", "Gateway-Balance", "Gateway-Request-Id", "X-Page", "Content-Length")
    assert [first[1][name] for name in receipt] == [again[1][name] for name in receipt]
    assert "Idempotency-Replayed" not in first[1]
    assert (shop.press.count, await shop.spent()) == (1, PRICE)


@pytest.mark.parametrize("form", sorted(FORMS))
async def test_of_more_than_is_kept_the_oldest_is_not_replayed_and_not_sold_again(form: str, tmp_path: Path) -> None:
    kept = {"answer_max": "1 KiB", "answers_max": "2 KiB"}
    async with shop_of(form, tmp_path, idempotency=kept) as shop:
        shop.press.size = 1024
        for key in ("k1", "k2"):
            assert (await shop.ask(key))[0] == 200
        await shop.stage.gateway.upkeep.drop_keys()
        first, second = await shop.ask("k1"), await shop.ask("k2")
        assert (first[0], first[1]["Gateway-Error"]) == (409, "answer_not_kept")
        assert (second[0], second[1]["Idempotency-Replayed"]) == (200, "true")
        assert (shop.press.count, await shop.spent()) == (2, 2 * PRICE)


async def test_what_has_no_body_is_replayed_without_one(shop: Shop) -> None:
    first, again = [await shop.ask("k1", method="HEAD", body=b"") for _ in range(2)]
    assert first[1]["Content-Length"] == again[1]["Content-Length"] == "6"
    shop.press.head = b"HTTP/1.1 304 Same\r\nX-Page: x\r\n"
    shop.press.no_body = True
    first, again = [await shop.ask("k2", method="GET", body=b"") for _ in range(2)]
    assert (first[0], again[0], again[1]["X-Page"], again[2]) == (304, 304, "x", b"")
    assert shop.press.count == 2


async def test_another_key_another_account_and_no_key_buy_anew(shop: Shop) -> None:
    await shop.ask("k1")
    await shop.ask("k2")
    await shop.ask(None)
    await shop.ask(None)
    assert (shop.press.count, await shop.spent()) == (4, 4 * PRICE)
    [shop.caller] = await funded(shop.stage, "1.00 usd")
    assert (await shop.ask("k1"))[2] == b"page 5"
    assert await shop.spent() == PRICE


@pytest.mark.parametrize("other", [{"body": b"y"}, {"path": "/press/b"}, {"path": "/press/a?x"}, {"method": "PUT"}])
async def test_a_key_belongs_to_its_request(shop: Shop, other: dict[str, Any]) -> None:
    await shop.ask("k1")
    status, headers, _ = await shop.ask("k1", **other)
    assert (status, headers["Gateway-Error"]) == (422, "idempotency_key_reused")
    assert (shop.press.count, await shop.spent()) == (1, PRICE)


@pytest.mark.parametrize("key", ["", '"', '"a" b', "a b", '"a', "é", "k" * 256])
async def test_what_is_no_key_is_refused(shop: Shop, key: str) -> None:
    status, headers, _ = await shop.ask(key)
    assert (status, headers["Gateway-Error"]) == (400, "bad_request")
    assert shop.press.count == 0


async def test_fifty_twins_at_once_are_one(shop: Shop) -> None:
    shop.press.may.clear()
    asked = [asyncio.create_task(shop.ask("k1")) for _ in range(50)]
    await shop.press.upstream.visited.wait()
    shop.press.may.set()
    answers = await asyncio.gather(*asked)
    assert {(status, body) for status, _, body in answers} == {(200, b"page 1")}
    assert sum("Idempotency-Replayed" in headers for _, headers, _ in answers) == 49
    assert (shop.press.count, await shop.spent()) == (1, PRICE)


async def test_who_leaves_comes_back_for_the_answer(shop: Shop) -> None:
    shop.press.may.clear()
    asked = asyncio.create_task(shop.ask("k1"))
    await shop.press.upstream.visited.wait()
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    shop.press.may.set()
    status, headers, body = await shop.ask("k1")
    assert (status, body) == (200, b"page 1")
    assert headers["Idempotency-Replayed"] == "true"
    assert (shop.press.count, await shop.spent()) == (1, PRICE)


async def test_a_larger_answer_is_passed_on_and_not_sold_twice(shop: Shop) -> None:
    shop.press.size = 1024
    assert len((await shop.ask("fits"))[2]) == len((await shop.ask("fits"))[2]) == 1024
    shop.press.size = 1025
    status, headers, body = await shop.ask("k1")
    assert (status, len(body)) == (200, 1025)
    original = headers["Gateway-Request-Id"]
    status, headers, body = await shop.ask("k1")
    assert (status, headers["Gateway-Error"]) == (409, "answer_not_kept")
    assert original.encode() in body
    assert (shop.press.count, await shop.spent()) == (2, 2 * PRICE)


async def test_a_stream_of_events_is_passed_on_as_it_comes(shop: Shop) -> None:
    shop.press.head += b"Content-Type: text/event-stream\r\n"
    assert (await shop.ask("k1"))[0] == 200
    assert (await shop.ask("k1"))[1]["Gateway-Error"] == "answer_not_kept"
    assert (shop.press.count, await shop.spent()) == (1, PRICE)


async def test_a_body_that_cannot_be_compared_is_refused(shop: Shop) -> None:
    assert (await shop.ask("fits", body=b"x" * 1024))[0] == 200
    status, headers, _ = await shop.ask("k1", body=b"x" * 1025)
    assert (status, headers["Gateway-Error"]) == (413, "idempotency_body")
    assert (shop.press.count, await shop.spent()) == (1, PRICE)


@pytest.mark.parametrize("size", [1, 700])
async def test_a_body_in_chunks_is_compared_by_what_it_carries(shop: Shop, size: int) -> None:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]
            await asyncio.sleep(0)  # the gateway runs on this loop: it looks between any two pieces
            await asyncio.sleep(0)

    body = b"0123456789abcdef" * 64
    fields = {**shop.caller.headers, "Idempotency-Key": "k1"}
    statuses = []
    for sent in (pieces(body), body, pieces(body[:-1]), pieces(body + b"!")):
        async with shop.session.post(shop.stage.url + "/press/a", headers=fields, data=sent) as answer:
            statuses.append((answer.status, answer.headers.get("Gateway-Error")))
    assert statuses == [(200, None), (200, None), (422, "idempotency_key_reused"), (413, "idempotency_body")]
    assert [visit.body for visit in shop.press.upstream.visits] == [body]
    assert await shop.spent() == PRICE


async def test_who_waits_to_be_told_to_send_a_body_is_told_so_once(shop: Shop) -> None:
    async with connected(shop.stage.url) as wire:
        for body, status in ((b"as much", 200), (b"as much", 200), (b"another", 422)):
            fields = ["Idempotency-Key: k1", "Expect: 100-continue", f"Content-Length: {len(body)}"]
            wire.send(request("/press/a", shop.caller, *fields, method="POST"))
            assert await wire.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            wire.send(body)
            assert (await wire.answer()).status == status
    assert [visit.body for visit in shop.press.upstream.visits] == [b"as much"]


@pytest.mark.parametrize(
    ("body", "answer"), [(b"x\r\n", b" 400"), (b"1\r\nabc\r\n0\r\n\r\n", b" 400"), (b"5\r\nabc", b"")]
)
async def test_a_body_in_chunks_that_is_none_or_never_ends_is_not_forwarded(
    shop: Shop, body: bytes, answer: bytes
) -> None:
    async with connected(shop.stage.url) as wire:
        fields = ["Idempotency-Key: k1", "Transfer-Encoding: chunked"]
        wire.send(request("/press/a", shop.caller, *fields, method="POST") + body)
        if not answer:
            wire.writer.write_eof()
        assert (await wire.rest())[8:12] == answer
    assert (shop.press.count, await shop.spent()) == (0, 0)


@pytest.mark.parametrize(("method", "again"), [("POST", 409), ("DELETE", 409), ("GET", 200)])
async def test_an_answer_that_broke_off_is_sold_again_only_if_that_is_safe(shop: Shop, method: str, again: int) -> None:
    shop.press.breaks = True
    status, _, _ = await shop.ask("k1", method=method)
    assert (status, await shop.spent()) == (502, 0)
    shop.press.breaks = False
    status, headers, _ = await shop.ask("k1", method=method)
    assert status == again
    if again == 409:
        assert headers["Gateway-Error"] == "outcome_unknown"
    assert (shop.press.count, await shop.spent()) == ((2, PRICE) if again == 200 else (1, 0))


@pytest.mark.parametrize(("status", "visits"), [(500, 1), (404, 1), (429, 2), (503, 2)])
async def test_a_failure_is_an_outcome_unless_it_says_to_come_again(shop: Shop, status: int, visits: int) -> None:
    shop.press.head = b"HTTP/1.1 %d No\r\n" % status
    assert [(await shop.ask("k1"))[0] for _ in range(2)] == [status, status]
    assert (shop.press.count, await shop.spent()) == (visits, 0)


async def test_who_cannot_pay_pays_and_asks_again_with_the_same_key(shop: Shop) -> None:
    [shop.caller] = await funded(shop.stage, "0.002 usd")
    assert (await shop.ask("k0"))[0] == 200
    assert (await shop.ask("k1"))[0] == 402
    assert (await shop.ask("k0"))[0] == 200, "a replay needs no money"
    [rich] = await funded(shop.stage, "1.00 usd")
    await shop.stage.gateway.ledger.join(rich.account, shop.caller.account, "usd")
    assert (await shop.ask("k1"))[2] == b"page 2"


async def test_the_key_reaches_the_upstream_and_may_be_its_affair(shop: Shop) -> None:
    await shop.ask("k1")
    assert shop.press.upstream.visits[0].values(b"Idempotency-Key") == [b"k1"]
    assert [(await shop.ask("k1", path="/plain/a"))[2] for _ in range(2)] == [b"page 2", b"page 3"]


@pytest.mark.parametrize("form", sorted(FORMS))
async def test_who_waits_too_long_for_a_twin_is_told(form: str, tmp_path: Path) -> None:
    async with shop_of(form, tmp_path, idempotency={"wait": "1ms"}) as shop:
        shop.press.may.clear()
        asked = asyncio.create_task(shop.ask("k1"))
        await shop.press.upstream.visited.wait()
        status, headers, _ = await shop.ask("k1")
        assert (status, headers["Gateway-Error"], headers["Retry-After"]) == (409, "request_in_flight", "2")
        shop.press.may.set()
        assert (await asked)[0] == 200
        assert (shop.press.count, await shop.spent()) == (1, PRICE)


@pytest.mark.parametrize("slice", [{}, {"slice": "0.002 usd"}])
@pytest.mark.parametrize("form", sorted(FORMS))
async def test_what_is_metered_costs_what_it_did_though_nobody_was_there(
    form: str, slice: dict[str, str], tmp_path: Path
) -> None:
    price = {"per": {"answer_bytes": "0.001 usd"}, "maximum": "0.5 usd", **slice}
    async with shop_of(form, tmp_path, price=price) as shop:
        shop.press.may.clear()
        asked = asyncio.create_task(shop.ask("k1"))
        await shop.press.upstream.visited.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        shop.press.may.set()
        _, headers, body = await shop.ask("k1")
        assert (headers["Gateway-Cost"], body) == ("0.006 usd", b"page 1")
        assert (shop.press.count, await shop.spent()) == (1, 6_000)


async def test_the_readmes_example_works_as_it_stands(make_stage: StageMaker, tmp_path: Path) -> None:
    stage = await make_stage()
    [ann] = await funded(stage, "1.00 usd")
    [commands] = blocks(section("### Asking again without paying again", "### Several tokens"), "sh")
    told = f"GATEWAY={stage.url} TOKEN={ann.token}\n{commands}"
    ran = await asyncio.create_subprocess_exec("bash", "-c", script(told), stdout=asyncio.subprocess.PIPE)
    shown, _ = await ran.communicate()
    assert ran.returncode == 0, shown
    found = await stage.gateway.ledger.balance(ann.account, "usd")
    assert found.available.micros == 1_000_000 - PRICE
