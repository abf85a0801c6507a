"""TLS of 1.2 at least, with callers and with upstreams; what a webhook must be to be believed; and no card data."""

import asyncio
import json
import re
import ssl
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.web import pages
from tests.callers import funded, signed
from tests.conftest import StageMaker
from tests.relay.test_tls_and_sockets import Authority

EVENT = {"id": "evt_1", "object": "event", "type": "x.y", "livemode": False, "created": 1,
         "data": {"object": {"id": "x_1"}}}  # fmt: skip


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "an authority")


@contextmanager
def old_tls(context: ssl.SSLContext) -> Iterator[ssl.SSLContext]:
    """One that speaks nothing newer than TLS 1.1; the library warns of it, and it is why we ask."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        yield context


async def test_a_caller_with_an_older_tls_than_1_2_is_not_spoken_to(
    make_stage: StageMaker, authority: Authority
) -> None:
    certificate, key = authority.certify("gateway", "localhost")
    stage = await make_stage(tls={"certificate": certificate, "key": key}, public_url="https://localhost", stripe=None)
    assert isinstance(stage.settings.listen, tuple)
    trusting = ssl.create_default_context(cafile=authority.file)
    _, writer = await asyncio.open_connection(*stage.settings.listen, ssl=trusting, server_hostname="localhost")
    assert writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
    writer.close()
    with old_tls(ssl.create_default_context(cafile=authority.file)) as old, pytest.raises((ssl.SSLError, OSError)):
        await asyncio.open_connection(*stage.settings.listen, ssl=old, server_hostname="localhost")


async def test_an_upstream_with_an_older_tls_than_1_2_is_not_spoken_to(
    make_stage: StageMaker, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ssl.SSLContext] = []
    create = ssl.create_default_context

    def noted(*words: Any, **more: Any) -> ssl.SSLContext:
        made.append(create(*words, **more))
        made[-1].set_ciphers("DEFAULT:@SECLEVEL=0")  # what refuses is the version, and not the library's usual level
        return made[-1]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with old_tls(authority.server("upstream", "localhost")) as old:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=old)
        monkeypatch.setattr("gateway.relay.upstream.ssl.create_default_context", noted)
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
        stage = await make_stage(
            upstreams={"old": {"url": url, "tls": {"ca": authority.file}}},
            stripe=None,
            routes=[{"name": "old", "match": "/old/", "upstream": "old", "price": "free"}],
        )
        async with ClientSession() as session, session.get(f"{stage.url}/old/x") as got:
            assert got.status == 502
        server.close()
    assert made
    assert {context.minimum_version for context in made} == {ssl.TLSVersion.TLSv1_2}


async def test_a_webhook_that_is_forged_old_or_repeated_does_nothing(make_stage: StageMaker) -> None:
    stage = await make_stage()
    body, now = json.dumps(EVENT).encode(), int(time.time())
    good = signed(body, stage.webhook_secret)
    moment = re.sub(r"t=\d+", f"t={now - 301}", good)
    async with ClientSession() as session:

        async def delivered(content: bytes, signature: str | None) -> int:
            fields = {"Stripe-Signature": signature} if signature is not None else {}
            async with session.post(f"{stage.url}/-/webhooks/stripe", data=content, headers=fields) as answer:
                return answer.status

        for content, signature in (
            (body, None),
            (body, ""),
            (body, signed(body, "whsec_" + "9f" * 24)),
            (body + b" ", good),
            (body, moment),
        ):
            assert await delivered(content, signature) == 400, signature
        assert await stage.gateway.records.ask("SELECT id FROM event WHERE id = 'evt_1'") == []
        assert [await delivered(body, good) for _ in range(3)] == [200] * 3
    assert len(await stage.gateway.records.ask("SELECT id FROM event WHERE id = 'evt_1'")) == 1


async def test_no_page_of_ours_asks_for_a_card_and_no_answer_names_one(make_stage: StageMaker) -> None:
    """Payment pages are Stripe's: a form of ours that asked for a card would put us into another PCI scope."""
    field = re.compile(r"<input[^>]*(?:card|cvc|cvv|expiry|exp[-_]month|cc-)[^>]*>", re.IGNORECASE)
    folder = Path(pages.__file__).parent / "templates"
    assert not [file.name for file in folder.rglob("*.html*") if field.search(file.read_text())]
    assert field.search('<input name="cardnumber">'), "or this test could not fail"
    stage = await make_stage(limits={"request_body_max": "64 KiB"})
    [ann] = await funded(stage, "1.00 usd")
    async with ClientSession() as session:
        wish = {"amount": "5.00 usd", "card": "4242424242424242"}
        async with session.post(f"{stage.url}/-/api/v1/top-ups", json=wish, headers=ann.headers) as answer:
            assert "4242" not in await answer.text()
    files = b"".join(path.read_bytes() for path in stage.settings.store_path.parent.glob("*.db*"))
    assert b"4242424242424242" not in files
