"""Callers for tests: they pay, they hold tokens, they ask."""

import asyncio
import hmac
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import ClientSession

from gateway.adapters.sqlite.audit import Report, audit
from gateway.cli.books import head_keys
from gateway.cli.stage import Stage
from gateway.core.ledger import Credit
from gateway.core.money import Money

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}


@dataclass(frozen=True, slots=True)
class Funded:
    """A caller with money: its token and its account."""

    token: str
    account: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


async def funded(stage: Stage, amount: str, *, count: int = 1) -> list[Funded]:
    """Callers whose balance was put there by hand, without the detour through a payment."""
    made = []
    for _ in range(count):
        caller = stage.gateway.identity.callers.fresh()
        assert caller.fresh is not None
        made.append(Funded(caller.fresh.reveal(), caller.account))
    await asyncio.gather(
        *(
            stage.gateway.ledger.credit(
                Credit(f"manual:{one.account}", one.account, Money.parse(amount), "manual", "for a test")
            )
            for one in made
        )
    )
    return made


async def unpaid(stage: Stage, session: ClientSession, path: str = "/weather/oslo") -> dict[str, Any]:
    """The 402 of a program that comes without a token."""
    async with session.get(stage.url + path) as answer:
        assert answer.status == 402
        body: dict[str, Any] = await answer.json()
        return body


def reference_in(payment_url: str) -> str:
    """The sealed reference that a payment address carries."""
    return parse_qs(urlsplit(payment_url).query)["client_reference_id"][0]


async def pay(stage: Stage, payment_url: str) -> dict[str, Any]:
    """Pay at an address that the gateway handed out, and wait until everybody has heard of it."""
    session = stage.stand_in.pay(payment_url, client_reference_id=reference_in(payment_url))
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()
    return session


def audited(stage: Stage) -> Report:
    """A clean audit of the stage's books."""
    report = audit(stage.settings.store_path, head_key=head_keys(stage.settings))
    assert report.clean, [str(finding) for finding in report.findings]
    return report


def signed(body: bytes, secret: str, *, at: float | None = None) -> str:
    """The `Stripe-Signature` of a body."""
    timestamp = str(int(time.time() if at is None else at))
    mac = hmac.digest(secret.encode(), timestamp.encode() + b"." + body, "sha256").hex()
    return f"t={timestamp},v1={mac}"
