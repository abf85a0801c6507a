"""kill -9 at every named point of a request's life and of a payment's: nothing lost, doubled, or paid for nothing."""

import asyncio
import json
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import settings as configuration
from gateway.adapters.sqlite.audit import audit
from gateway.cli.books import head_keys
from gateway.core import references, tokens
from gateway.core.keyring import Keyring
from gateway.core.references import Reference
from gateway.core.tokens import TokenMint
from gateway.settings import Settings
from tests.callers import Funded, signed
from tests.gateway_process import fund, running, write_config
from tests.raw import RawUpstream, closed
from tests.relay.scenes import until
from tests.stories.test_many_workers import ask, audited, charged, edit

PRICE = 2_000
WEBHOOK_SECRET = "whsec_" + "5a" * 24

STORE = "gateway.adapters.sqlite.ledger:SqliteLedgerStore"
KEEPER = "gateway.flows.keep.keeper:Keeper"
OF_A_REQUEST = [
    ("gateway.flows.identify:Callers.identify", "after"),
    (f"{KEEPER}.hold", "after"),
    ("gateway.relay.exchange:RelayExchange.forward", "before"),
    ("gateway.relay.exchange:RelayExchange.forward", "after"),
    (f"{KEEPER}.start", "before"),
    (f"{STORE}._write", "before"),
    (f"{STORE}._write", "after"),
    (f"{STORE}._write_once", "after"),
    ("gateway.adapters.sqlite.ledger:Head.write", "before"),
    ("gateway.adapters.sqlite.ledger:Head.write", "after"),
    (f"{KEEPER}._wake", "before"),
    (f"{KEEPER}.start", "after"),
    ("gateway.relay.exchange:RelayExchange.answer", "before"),
    ("gateway.flows.keep.accounts:Holding.started", "before"),
    ("gateway.flows.keep.accounts:Holding.started", "after"),
    ("gateway.relay.exchange:RelayExchange.answer", "after"),
    (f"{KEEPER}.settle", "before"),
    (f"{KEEPER}.settle", "after"),
]
BETWEEN_PROCESSES = [
    ("gateway.adapters.interprocess.worker:BorrowedLedgerStore.draw", "before"),
    ("gateway.adapters.interprocess.worker:BorrowedLedgerStore.draw", "after"),
    ("gateway.adapters.interprocess.worker:BorrowedLedgerStore.commit", "before"),
    ("gateway.adapters.interprocess.worker:BorrowedLedgerStore.commit", "after"),
    ("gateway.flows.keep.slices:Slices.draw", "after"),
    ("gateway.flows.keep.slices:Slices.take", "before"),
    ("gateway.flows.keep.slices:Slices.take", "after"),
]
OF_A_PAYMENT = [
    ("gateway.adapters.stripe.payments:StripePayments.verify", "after"),
    ("gateway.adapters.sqlite.records:SqliteRecords.claim", "before"),
    ("gateway.adapters.sqlite.records:SqliteRecords.claim", "after"),
    ("gateway.flows.top_up:TopUp.fulfil", "before"),
    (f"{KEEPER}.credit", "before"),
    (f"{STORE}._write", "before"),
    (f"{STORE}._write", "after"),
    (f"{STORE}._write_once", "after"),
    (f"{KEEPER}._wake", "before"),
    (f"{KEEPER}.credit", "after"),
    ("gateway.adapters.sqlite.records:SqliteRecords.add", "before"),
    ("gateway.adapters.sqlite.records:SqliteRecords.add", "after"),
    ("gateway.adapters.sqlite.records:SqliteRecords.close_event", "before"),
    ("gateway.adapters.sqlite.records:SqliteRecords.close_event", "after"),
]


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    upstream = RawUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@dataclass
class Bomb:
    """Where the gateway ends, and whether it has."""

    file: Path
    where: str
    side: str

    @property
    def program(self) -> list[str]:
        return ["tests.crashing", self.where, self.side]

    @property
    def environ(self) -> dict[str, str]:
        return {"CRASH_ARMED": str(self.file), "PYTHONPATH": str(Path(__file__).parents[2])}

    def arm(self) -> None:
        self.file.touch()

    @property
    def gone_off(self) -> bool:
        return not self.file.exists()


def named(points: list[tuple[str, str]]) -> list[object]:
    return [pytest.param(*point, id=f"{point[1]} {point[0].partition(':')[2]}") for point in points]


async def answered(settings: Settings, caller: Funded) -> str | None:
    """The id of the request if its answer's head arrived whole, even if nothing came after it."""
    assert isinstance(settings.listen, tuple)
    reader, writer = await asyncio.open_connection(*settings.listen)
    try:
        bearer = f"Authorization: Bearer {caller.token}\r\n"
        writer.write(f"GET /paid/x HTTP/1.1\r\nHost: x\r\n{bearer}Connection: close\r\n\r\n".encode())
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except (OSError, asyncio.IncompleteReadError):
        return None
    finally:
        await closed(writer)
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
    return fields["Gateway-Request-Id"] if head.startswith("HTTP/1.1 200") else None


def judge(settings: Settings, id: str | None) -> None:
    """At most the last answers are given away; an answer that never came is not charged."""
    paid, voided = charged(settings.store_path)
    if id is None:
        assert paid == set()
    else:
        assert paid == {id} or (paid == set() and voided <= 1)
    assert audited(settings) == len(paid) * PRICE


@pytest.mark.parametrize(("where", "side"), named(OF_A_REQUEST))
async def test_a_gateway_that_dies_there_charges_only_what_was_answered(
    tmp_path: Path, upstream: RawUpstream, where: str, side: str
) -> None:
    settings = write_config(tmp_path, upstream.url)
    [caller] = await fund(settings, "1.00 usd", count=1)
    bomb = Bomb(tmp_path / "armed", where, side)
    async with running(tmp_path / "gateway.yaml", program=bomb.program, environ=bomb.environ) as process:
        bomb.arm()
        id = await answered(settings, caller)
        async with asyncio.timeout(10):
            await process.ended()
        assert bomb.gone_off
    async with running(tmp_path / "gateway.yaml") as process:
        assert await process.stop() == 0
    judge(settings, id)


@pytest.mark.parametrize(("where", "side"), named([*OF_A_REQUEST[5:8], *BETWEEN_PROCESSES]))
async def test_of_several_processes_one_may_die_there(
    tmp_path: Path, upstream: RawUpstream, where: str, side: str
) -> None:
    settings = write_config(tmp_path, upstream.url, workers=2)
    [caller] = await fund(settings, "1.00 usd", count=1)
    bomb = Bomb(tmp_path / "armed", where, side)
    async with running(tmp_path / "gateway.yaml", program=bomb.program, environ=bomb.environ) as process:
        bomb.arm()
        ids = {await answered(settings, caller)}
        await until(lambda: bomb.gone_off, 10)
        async with asyncio.timeout(20):
            while True:
                with suppress(OSError, IndexError, ValueError):
                    status, fields, _ = await ask(settings, caller)
                    if status == 200:
                        break
        ids.add(fields["Gateway-Request-Id"])
        assert await process.stop() == 0
    paid, voided = charged(settings.store_path)
    ids.discard(None)
    assert paid <= ids
    assert len(ids - paid) <= voided
    assert audited(settings) == len(paid) * PRICE


# --- payments ---------------------------------------------------------------------------------------------------------


def paid_event(settings: Settings, caller: Funded) -> bytes:
    """The webhook of a payment for this caller's account, as Stripe would send it."""
    pepper = settings.secrets.peppers[0]
    reference = references.seal(
        Keyring(settings.secrets.sealing_keys),
        Reference(caller.account, tokens.digest(pepper, caller.token), tokens.pepper_id(pepper), 2_000_000_000),
        nonce=secrets.token_bytes(12),
    )
    session = {
        "id": "cs_test_" + "a1" * 20,
        "object": "checkout.session",
        "livemode": False,
        "mode": "payment",
        "status": "complete",
        "payment_status": "paid",
        "amount_total": 500,
        "currency": "usd",
        "client_reference_id": reference,
    }
    event = {
        "id": "evt_1",
        "object": "event",
        "type": "checkout.session.completed",
        "livemode": False,
        "created": 1,
        "data": {"object": session},
    }
    return json.dumps(event).encode()


async def deliver(settings: Settings, body: bytes) -> bool:
    """Whether the gateway took it."""
    assert isinstance(settings.listen, tuple)
    try:
        reader, writer = await asyncio.open_connection(*settings.listen)
    except OSError:
        return False
    signature = signed(body, WEBHOOK_SECRET)
    head = f"POST /-/webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    try:
        writer.write(f"{head}Stripe-Signature: {signature}\r\n\r\n".encode() + body)
        async with asyncio.timeout(10):
            return (await reader.read()).startswith(b"HTTP/1.1 2")
    except OSError:
        return False
    finally:
        await closed(writer)


@pytest.mark.parametrize(("where", "side"), named(OF_A_PAYMENT))
async def test_a_payment_is_credited_once_wherever_the_gateway_dies(
    tmp_path: Path, upstream: RawUpstream, where: str, side: str
) -> None:
    settings = write_config(tmp_path, upstream.url)
    stripe = {
        "secret_key": "sk_test_" + "1a" * 12,
        "webhook_secrets": [WEBHOOK_SECRET],
        "api_url": "http://127.0.0.1:1",
    }
    edit(tmp_path / "gateway.yaml", lambda config: config.update(stripe=stripe))
    settings = configuration.load(tmp_path / "gateway.yaml", {}, make_secrets=True)
    token = TokenMint(Keyring(settings.secrets.sealing_keys), "test").mint(
        now_ms=time.time_ns() // 1_000_000, random=os.urandom(12)
    )
    genuine = TokenMint(Keyring(settings.secrets.sealing_keys), "test").recognise(token.reveal())
    assert genuine is not None
    caller = Funded(token.reveal(), genuine.account)
    body = paid_event(settings, caller)
    bomb = Bomb(tmp_path / "armed", where, side)
    async with running(tmp_path / "gateway.yaml", program=bomb.program, environ=bomb.environ) as process:
        bomb.arm()
        taken = await deliver(settings, body)
        async with asyncio.timeout(10):
            await process.ended()
        assert bomb.gone_off
    async with running(tmp_path / "gateway.yaml") as process:
        if not taken:
            assert await deliver(settings, body)  # Stripe tries again until it was taken
        async with asyncio.timeout(20):
            while (await ask(settings, caller))[0] != 200:
                pass
        assert await process.stop() == 0
    report = audit(settings.store_path, head_key=head_keys(settings))
    assert report.clean
    assert (report.credits, report.totals["usd"].credited) == (1, 5_000_000)
