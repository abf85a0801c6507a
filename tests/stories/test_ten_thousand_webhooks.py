"""Webhooks that come several times, in any order, or never, while the processes that take them are killed.

The truth is the stand-in's own journal of the money that moved. Nothing is delivered by the stand-in: this story is the
post, so that it can lose, repeat and shuffle. Whatever is not answered with 2xx is delivered again, as Stripe does.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from gateway.adapters.sqlite.audit import audit
from gateway.adapters.stripe.parameters import parameters
from gateway.adapters.stripe.subscriptions import REFERENCE
from gateway.cli.books import head_keys
from gateway.core import references
from gateway.core.keyring import Keyring
from gateway.core.references import NO_TOKEN, Reference
from gateway.demo.standin import StandIn
from gateway.demo.standin.till import PaymentDeclined
from gateway.settings import Settings
from tests.callers import signed
from tests.gateway_process import GatewayProcess, running, write_config
from tests.relay.scenes import until
from tests.stories.test_many_workers import replaced

TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))
WEBHOOKS = 10_000 if TORTURE else 500
KILLS = 40 if TORTURE else 3
ACCOUNTS = 200 if TORTURE else 20
LOST = 0.3
COPIES_MAX = 5
POSTERS = 8
KEY, SECRET = "sk_test_" + "1a" * 20, "whsec_" + "5a" * 24
MICROS_PER_CENT = 10_000
PLAN_PRICE, OTHER_PRICE, GRANTS_TIMES = "price_month", "price_more", 2
PLANS = {
    "monthly": {"price": PLAN_PRICE, "costs": "10.00 usd", "grants": "20.00 usd", "expires": "period_end"},
    "more": {"price": OTHER_PRICE, "costs": "30.00 usd", "grants": "60.00 usd"},
}
DECLINED_CARD = "4000000000000002"


def account(number: int) -> str:
    return f"acct_{number:032x}"


@dataclass
class Shop:
    """Buyers at the stand-in, each with an account here, who do all that buyers and their banks do."""

    stand_in: StandIn
    keyring: Keyring
    link: str
    order: random.Random
    references: dict[str, str] = field(default_factory=dict)
    """By what a payment carries, whose it is."""

    async def busy(self) -> None:
        """Until so many events have happened."""
        while len(self.webhooks()) < WEBHOOKS:
            for _ in range(WEBHOOKS // 20):
                self._buy()

    def webhooks(self) -> list[dict[str, Any]]:
        """What an endpoint is told of payments."""
        setting_up = ("product.", "price.", "payment_link.", "customer.created", "payment_method.attached")
        return [event for event in self.stand_in.events if not event["type"].startswith(setting_up)]

    def _buy(self) -> None:
        whose = account(self.order.randrange(ACCOUNTS))
        known = Reference(whose, NO_TOKEN, "0000", int(time.time()))
        sealed = references.seal(self.keyring, known, nonce=self.order.randbytes(12))
        self.references[sealed] = whose
        way = self.order.random()
        if way < 0.1:
            self._subscribe(sealed)
        elif way < 0.15:
            with suppress(PaymentDeclined):
                self.stand_in.pay(self.link, client_reference_id=sealed, card=DECLINED_CARD)
        elif way < 0.3:
            bought = self.stand_in.pay(self.link, client_reference_id=sealed, method="later")
            if self.order.random() < 0.8:
                arrives = self.order.random() < 0.7
                self.stand_in.settle(bought["id"], succeed=arrives)
        else:
            self._after(self.stand_in.pay(self.link, client_reference_id=sealed)["id"])

    def _subscribe(self, sealed: str) -> None:
        """A subscription, which may be renewed, changed and refunded."""
        url = self.stand_in.checkout_of(PLAN_PRICE, sealed, {REFERENCE: sealed})
        subscription = self.stand_in.pay(url)["subscription"]
        if self.order.random() < 0.5:
            self._after(self.stand_in.invoices_of(subscription)[-1])
        if self.order.random() < 0.4:
            self.stand_in.change_plan(subscription, OTHER_PRICE, part=self.order.randrange(1, 99))
        if self.order.random() < 0.3:
            self.stand_in.end(subscription)

    def _after(self, session: str) -> None:
        """What may become of a payment that was made."""
        fate = self.order.random()
        if fate < 0.15:
            self.stand_in.refund(session, self.order.randrange(1, 300))
            if self.order.random() < 0.5:
                self.stand_in.refund(session)
        elif fate < 0.25:
            refund = self.stand_in.refund(session, later=True)
            self.stand_in.settle_refund(refund["id"], succeed=self.order.random() < 0.5)
        elif fate < 0.4:
            dispute = self.stand_in.dispute(session, inquiry=self.order.random() < 0.2)
            if self.order.random() < 0.7:
                self.stand_in.close_dispute(dispute["id"], won=self.order.random() < 0.5)
        elif fate < 0.45:
            self.stand_in.warn(session)

    def owned(self) -> dict[str, int]:
        """In micros, what every account has by the money that moved."""
        net: Counter[str] = Counter()
        for movement in self.stand_in.journal:
            assert movement.client_reference_id is not None
            worth = GRANTS_TIMES if movement.session.startswith("in_") else 1
            net[self.references[movement.client_reference_id]] += movement.amount * MICROS_PER_CENT * worth
        return {whose: micros for whose, micros in net.items() if micros}


class Post:
    """Delivers in an order of its own, what is refused again and again."""

    def __init__(self, url: str, deliveries: list[bytes]) -> None:
        self._url = url
        self._left = deliveries
        self.delivered = 0
        self.again = 0

    async def round(self) -> None:
        async with ClientSession() as session:
            await asyncio.gather(*(self._deliver(session) for _ in range(POSTERS)))

    async def _deliver(self, session: ClientSession) -> None:
        while self._left:
            body = self._left.pop()
            while not await self._taken(session, body):
                self.again += 1
                await asyncio.sleep(0.02)
            self.delivered += 1

    async def _taken(self, session: ClientSession, body: bytes) -> bool:
        try:
            async with session.post(self._url, data=body, headers={"Stripe-Signature": signed(body, SECRET)}) as answer:
                assert answer.status in (200, 503)
                return answer.status == 200
        except (ClientError, OSError):
            return False


def deliveries(events: list[dict[str, Any]], order: random.Random) -> list[bytes]:
    """Each several times or never, in any order."""
    arriving = [event for event in events if order.random() >= LOST]
    bodies = [body for event in arriving for body in [json.dumps(event).encode()] * order.randint(1, COPIES_MAX)]
    order.shuffle(bodies)
    return bodies


async def killing(process: GatewayProcess, post: Post, order: random.Random, of: int) -> None:
    """Now a worker, now the keeper, spread over the round."""
    for number in range(1, KILLS + 1):
        await until(lambda: post.delivered >= of * number // (KILLS + 1), seconds=300)  # noqa: B023 -- awaited at once
        victim = process.keeper() if order.random() < 0.4 else order.choice(process.workers())
        os.kill(victim, signal.SIGKILL)
        await replaced(process, victim, 3)


def held(settings: Settings) -> dict[str, int]:
    """What every account has by the books."""
    with closing(sqlite3.connect(f"file:{settings.store_path}?mode=ro", uri=True)) as books:
        rows = books.execute("SELECT holder, sum(credited - spent - debt) FROM account GROUP BY holder")
        return {holder: micros for holder, micros in rows if micros}


async def asked_to_pay(url: str) -> str:
    """The payment link, without a reference."""
    async with ClientSession() as session, session.get(url + "/paid/oslo") as answer:
        return str((await answer.json())["payment_url"]).partition("?")[0]


def configured(file: Path, stand_in: StandIn, *, reconcile_seconds: int) -> None:
    stripe = {
        "secret_key": KEY,
        "webhook_secrets": [SECRET],
        "api_url": stand_in.url,
        "top_up": "5.00 usd",
        "reconcile_seconds": reconcile_seconds,
    }
    file.write_text(json.dumps({**json.loads(file.read_text()), "stripe": stripe, "plans": PLANS}))


@pytest.mark.parametrize("seed", [7])
async def test_the_books_are_the_journal_whatever_became_of_the_webhooks(tmp_path: Path, seed: int) -> None:
    order = random.Random(seed)
    settings = write_config(tmp_path, "http://127.0.0.1:1", workers=2)
    file, webhook_url = tmp_path / "gateway.yaml", f"{settings.public_url}/-/webhooks/stripe"
    many = 4 * WEBHOOKS
    async with StandIn(api_key=KEY, parameters=parameters, objects_max=many, events_max=many) as stand_in:
        stand_in.recurring_price(PLAN_PRICE, 1000)
        stand_in.recurring_price(OTHER_PRICE, 3000)
        configured(file, stand_in, reconcile_seconds=0)
        async with running(file) as process:
            shop = Shop(
                stand_in, Keyring(settings.secrets.sealing_keys), await asked_to_pay(settings.public_url), order
            )
            await shop.busy()
            bodies = deliveries(shop.webhooks(), order)
            post, of = Post(webhook_url, bodies), len(bodies)
            await asyncio.gather(post.round(), killing(process, post, order, of))
            assert await process.stop() == 0
        assert held(settings) != shop.owned(), "nothing was lost, so nothing is found"
        configured(file, stand_in, reconcile_seconds=1)
        async with running(file) as process:
            victim = process.keeper()
            os.kill(victim, signal.SIGKILL)
            await replaced(process, victim, 3)
            await until(lambda: held(settings) == shop.owned(), seconds=300 if TORTURE else 60)
            assert await process.stop() == 0
    report = audit(settings.store_path, head_key=head_keys(settings))
    assert report.clean, report.findings
    assert held(settings) == shop.owned()
    print(
        f"{len(shop.webhooks())} webhooks, {post.delivered} deliveries, {post.again} of them again, {KILLS + 1} kills"
    )
