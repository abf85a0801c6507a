"""Owners are told once of each thing that happened, and again until they have taken it."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.adapters.memory import MemoryLedgerStore
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core import outgoing
from gateway.core.ids import RequestId
from gateway.core.keyring import Keyring
from gateway.core.ledger import Credit, Tariff
from gateway.core.money import Money
from gateway.core.outgoing import GIVEN_UP_MS, Outgoing
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper, Pace
from gateway.flows.notify import LEASE_MS, Notify
from gateway.ports import NotSent
from tests.fakes import FakeClock, SeededRandomness

ANN, BOB = "acct_" + "1a" * 16, "acct_" + "2b" * 16
SECRETS = [Secret("new" * 12), Secret("old" * 12)]
LINE = Money.parse("1.00 usd")


@dataclass
class Receiver:
    """Implements `ports.Sends`."""

    away: bool = False
    got: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    async def send(self, head: Mapping[str, str], body: bytes) -> None:
        self.got.append((head, body))
        if self.away:
            raise NotSent("it answered 500")

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def types(self) -> list[str]:
        return [json.loads(body)["type"] for _, body in self.got]


class Shop:
    """Books and records, and as many processes that notify as are made."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock()
        self.store = MemoryLedgerStore()
        self.ledger = Keeper(
            self.store, self.clock, pace=Pace(gap=0, idly=0, quiet=0, refuse_after=600, give_up_after=600)
        )
        self.records = SqliteRecords(path, keyring=Keyring([Secret("k" * 40)]), randomness=SeededRandomness())
        self.receiver = Receiver()
        self.reported: list[str] = []
        self.flows = [self.process()]
        self._number = 0

    def process(self) -> Notify:
        return Notify(
            outbox=self.records.outbox,
            books=self.store,
            sends=self.receiver,
            secrets=SECRETS,
            line=LINE,
            live=False,
            clock=self.clock,
            report=lambda what, **_: self.reported.append(what),
        )

    async def pay(self, amount: str, account: str = ANN) -> None:
        self._number += 1
        await self.ledger.credit(Credit(f"manual:{self._number}", account, Money.parse(amount), "manual", "a test"))

    async def spend(self, amount: str, account: str = ANN) -> None:
        self._number += 1
        cost, tariff = Money.parse(amount), Tariff("search", "operator", 0, "p")
        hold = await self.ledger.hold(account, cost, id=RequestId(1, self._number), token=7, tariff=tariff)
        await self.ledger.start(hold, cost, "strict")
        self.ledger.settle(hold, cost)
        for flow in self.flows:
            flow._looked.clear()
            flow.spent(account, hold)
        for flow in self.flows:
            await flow.settled()

    async def told(self) -> list[Outgoing]:
        return list(reversed(await self.records.outbox.entries(None, count=100)))


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr("gateway.flows.notify._LOOKS_AFTER", (0.0,))
    made = Shop(tmp_path / "records.db")
    await made.records.open()
    await made.ledger.open()
    yield made
    await made.ledger.close()
    await made.records.close()


async def test_a_low_balance_is_told_once_for_each_time_that_it_falls(shop: Shop) -> None:
    await shop.pay("2.00 usd")
    await shop.spend("1.00 usd")
    assert await shop.told() == [], "at the line is not below it"
    await shop.spend("0.000001 usd")
    await shop.spend("0.50 usd")
    await shop.pay("0.10 usd")
    await shop.spend("0.10 usd")
    [message] = await shop.told()
    assert (message.type, message.account) == ("balance.low", ANN)
    assert message.content == {"balance": "0.999999 usd", "line": "1.00 usd", "micros": 999_999}
    await shop.pay("5.00 usd")
    await shop.spend("1.00 usd")
    assert len(await shop.told()) == 1
    await shop.spend("4.00 usd")
    assert len(await shop.told()) == 2


async def test_many_processes_notice_and_one_message_is_written(shop: Shop) -> None:
    shop.flows += [shop.process() for _ in range(5)]
    await shop.pay("1.50 usd")
    await shop.spend("1.00 usd")
    assert len(await shop.told()) == 1


async def test_one_account_is_looked_at_once_in_a_while(shop: Shop) -> None:
    await shop.pay("1.50 usd")
    await shop.spend("1.00 usd")
    tariff = Tariff("search", "operator", 0, "p")
    hold = await shop.ledger.hold(ANN, Money(1, "usd"), id=RequestId(9, 9), token=7, tariff=tariff)
    shop.flows[0].spent(ANN, hold)
    assert not shop.flows[0]._tasks
    shop.flows[0].spent(BOB, hold)
    assert len(shop.flows[0]._tasks) == 1
    await shop.flows[0].settled()
    shop.ledger.settle(hold, Money.zero("usd"))


async def test_what_is_left_of_a_named_credit_is_no_low_balance(shop: Shop) -> None:
    await shop.ledger.credit(Credit("m:u", BOB, Money(1, "unit:export"), "manual", "a test"))
    tariff, one = Tariff("search", "operator", 0, "p"), Money(1, "unit:export")
    hold = await shop.ledger.hold(BOB, one, id=RequestId(9, 9), token=7, tariff=tariff)
    shop.flows[0].spent(BOB, hold)
    assert not shop.flows[0]._tasks
    shop.ledger.settle(hold, one)


async def test_what_is_told_is_signed_with_every_secret_and_delivered_once(shop: Shop) -> None:
    await shop.records.freezes.add_freeze(ANN, frozen=True, reason="x", now_ms=shop.clock.now_ms())
    for _ in range(2):
        await shop.flows[0].deliver()
    [(head, body)] = shop.receiver.got
    told = json.loads(body)
    assert (told["type"], told["account"], told["live"], told["data"]) == (
        "account.frozen",
        ANN,
        False,
        {"reason": "x"},
    )
    assert told["id"] == head["webhook-id"]
    assert int(head["webhook-timestamp"]) == shop.clock.now_ms() // 1000
    signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
    macs = [hmac.digest(secret.reveal().encode(), signed, hashlib.sha256) for secret in SECRETS]
    assert head["webhook-signature"] == " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)
    assert [one.state for one in await shop.told()] == ["delivered"]


async def test_one_that_fails_is_tried_ever_less_often_and_given_up_after_three_days(shop: Shop) -> None:
    shop.receiver.away = True
    begun = shop.clock.now_ms()
    await shop.records.freezes.add_freeze(ANN, frozen=True, reason="x", now_ms=begun)
    at = []
    while (await shop.told())[0].state == "waiting":
        before = len(shop.receiver.got)
        await shop.flows[0].deliver()
        if len(shop.receiver.got) > before:
            at.append(shop.clock.now_ms() - begun)
        shop.clock.pass_seconds(((await shop.told())[0].due_ms - shop.clock.now_ms()) / 1000)
    waits = [later - earlier for earlier, later in pairwise(at)]
    assert waits[:3] == [20_000, 40_000, 80_000]
    assert max(waits) == 6 * 3_600_000
    assert waits == sorted(waits)
    assert GIVEN_UP_MS - 6 * 3_600_000 <= at[-1] < GIVEN_UP_MS
    assert (await shop.told())[0].error == "it answered 500"
    assert set(shop.reported) == {"notice not delivered"}


async def test_a_receiver_that_is_away_is_asked_once_a_round_and_gets_all_when_it_is_back(shop: Shop) -> None:
    shop.receiver.away = True
    for number in range(3):
        await shop.records.freezes.add_freeze(f"acct_{number}", frozen=True, reason="x", now_ms=shop.clock.now_ms())
    await shop.flows[0].deliver()
    assert len(shop.receiver.got) == 1
    shop.receiver.away = False
    shop.clock.pass_seconds(60)
    await shop.flows[0].deliver()
    assert [one.state for one in await shop.told()] == ["delivered"] * 3
    assert len({head["webhook-id"] for head, _ in shop.receiver.got}) == 3


async def test_one_that_was_taken_by_a_process_that_died_is_sent_again_by_another(shop: Shop) -> None:
    await shop.records.freezes.add_freeze(ANN, frozen=True, reason="x", now_ms=shop.clock.now_ms())
    taken = await shop.records.outbox.take(now_ms=shop.clock.now_ms(), lease_ms=LEASE_MS)
    assert taken is not None
    await shop.process().deliver()
    assert shop.receiver.got == []
    shop.clock.pass_seconds(LEASE_MS / 1000)
    await shop.process().deliver()
    assert shop.receiver.types == ["account.frozen"]


async def test_what_was_told_to_nobody_for_long_is_given_up_when_somebody_listens(shop: Shop) -> None:
    await shop.records.freezes.add_freeze(ANN, frozen=True, reason="x", now_ms=shop.clock.now_ms())
    shop.clock.pass_seconds(GIVEN_UP_MS / 1000 + 1)
    await shop.flows[0].deliver()
    assert shop.receiver.got == []
    [message] = await shop.told()
    assert (message.state, message.error) == ("failed", "it is too old")
    assert await shop.records.outbox.again(message.id, now_ms=shop.clock.now_ms())
    await shop.flows[0].deliver()
    assert shop.receiver.types == ["account.frozen"], "an operator may still want it told"


def test_a_long_wait_does_not_overflow() -> None:
    message = Outgoing("ntc_1", "balance.low", ANN, {}, 0, 0, tries=10**6)
    assert outgoing.next_try_ms(message, now_ms=0) == 6 * 3_600_000
