"""Who is offered a way to pay, and how often a card may be tried."""

from typing import Any

import pytest

from gateway.adapters.memory import MemoryRecords
from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.adapters.stripe.attempts import attempt_of
from gateway.core import references
from gateway.core.countries import CountryRule
from gateway.core.keyring import Keyring
from gateway.core.limits import Limiter, Rate
from gateway.core.payers import Payer
from gateway.core.payments import Attempt, Event
from gateway.core.references import NO_TOKEN, Reference
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.secrets import Secret
from gateway.core.tokens import Peppers
from gateway.flows.freeze import Freezes
from gateway.flows.screen import Screen, Tries
from tests.fakes import FakeClock

ANN, BOB = "acct_" + "1a" * 16, "acct_" + "2b" * 16
KEYRING = Keyring([Secret("k" * 40)])
THREE = Rate(3, 3600, "3/hour")


@pytest.mark.parametrize(
    ("rule", "may"),
    [
        (CountryRule(), {"NO", "SE", None}),
        (CountryRule(unknown=False), {"NO", "SE"}),
        (CountryRule(allow=frozenset({"NO"})), {"NO", None}),
        (CountryRule(allow=frozenset({"NO"}), unknown=False), {"NO"}),
        (CountryRule(deny=frozenset({"NO"})), {"SE", None}),
    ],
)
def test_a_rule_admits_these_countries(rule: CountryRule, may: set[str | None]) -> None:
    assert {country for country in ("NO", "SE", None) if rule.admits(country)} == may


class Atlas:
    """Implements `ports.Countries`."""

    def country_of(self, address: str) -> str | None:
        return {"192.0.2.1": "NO", "192.0.2.2": "NO", "192.0.2.3": "SE"}.get(address)


def test_the_checkouts_of_a_country_are_counted_together() -> None:
    screen = Screen(Atlas(), CountryRule(deny=frozenset({"SE"})), THREE)
    keys = [screen.asks(peer)[0].key for peer in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "unix")]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    assert [screen.refusal(peer) is None for peer in ("192.0.2.1", "192.0.2.3", "unix")] == [True, False, True]
    assert Screen(Atlas(), CountryRule(), None).asks("192.0.2.1") == []


def charge(number: int, card: str = "f1", type: str = "charge.failed", live: bool = False, **more: Any) -> Event:
    details = {"type": "card", "card": {"fingerprint": card}}
    about = {"id": f"ch_{number}", "payment_intent": f"pi_{number}", "payment_method_details": details, "metadata": {}}
    return Event(f"evt_{number}", type, live, 1_800_000_000, {**about, **more})


class Bank:
    """Implements `ports.Attempts`; every payment is for Ann unless it is known otherwise."""

    def __init__(self) -> None:
        self.down = False
        self.asked: list[str] = []
        self.names: dict[str, str | None] = {}

    def attempt(self, event: Event) -> Attempt | None:
        return attempt_of(event)

    async def reference_of(self, intent: str) -> str | None:
        self.asked.append(intent)
        if self.down:
            raise PaymentServiceUnavailable()
        return self.names.get(intent, sealed(ANN))


def sealed(account: str) -> str:
    reference = Reference(account, NO_TOKEN, "0000", 2_000_000_000)
    return references.seal(KEYRING, reference, nonce=b"n" * 12)


class Watch:
    def __init__(self, *, freezes: bool = True, per_card: Rate | None = THREE, per_account: Rate | None = None) -> None:
        self.clock, self.bank, self.told = FakeClock(), Bank(), list[tuple[str, str]]()
        self.freezes = Freezes(book=MemoryRecords().freezes, clock=self.clock, report=lambda *_, **__: None)
        self.limiter = Limiter()
        self.tries = Tries(
            attempts=self.bank,
            per_card=per_card,
            per_account=per_account,
            freezes=self.freezes if freezes else None,
            limits=MemoryRateLimits(self.clock, self.limiter),
            keyring=KEYRING,
            peppers=Peppers([Secret("p" * 40)]),
            live=False,
            report=lambda what, **more: self.told.append((what, more["account"])),
        )

    async def hear(self, *events: Event) -> list[bool]:
        return [await self.tries.heard(event) for event in events]


async def test_a_card_that_is_tried_too_often_freezes_whom_it_was_tried_for() -> None:
    watch = Watch()
    tried = [charge(number, type=("charge.failed", "charge.succeeded")[number % 2]) for number in range(3)]
    assert await watch.hear(*tried) == [True] * 3
    assert (watch.told, watch.bank.asked) == ([], [])
    watch.bank.names["pi_3"] = sealed(BOB)
    await watch.hear(charge(3))
    assert watch.told == [("a card is tried too often", BOB)]
    assert (watch.freezes.holds(BOB), watch.freezes.holds(ANN)) == (True, False)
    [row] = await watch.freezes._book.freezes_of(BOB)
    assert row.reason == "one card was tried more often than 3/hour"
    await watch.hear(charge(4, card="f2"))
    assert len(watch.told) == 1, "another card is another card"
    watch.clock.pass_seconds(2 * 3600)
    await watch.hear(charge(5))
    assert len(watch.told) == 1, "an hour is over"


async def test_a_card_is_counted_by_its_digest_alone() -> None:
    watch = Watch()
    await watch.hear(charge(1, card="fingerprint-of-ann"))
    assert "fingerprint-of-ann" not in repr(vars(watch.limiter))
    assert watch.limiter.kept == 1


async def test_what_is_no_attempt_of_a_payer_is_not_counted() -> None:
    watch = Watch()
    others = [
        charge(1, metadata={"farebox_refill": "1"}),
        charge(2, type="charge.refunded"),
        charge(3, live=True),
        charge(4, payment_method_details={"type": "link", "link": {}}),
        charge(5, payment_method_details=None),
        charge(6, card=""),
    ]
    assert await watch.hear(*others) == [False] * 6
    assert watch.limiter.kept == 0


async def test_who_cannot_be_asked_about_or_is_unknown_is_told_and_nothing_waits() -> None:
    watch = Watch()
    await watch.hear(*(charge(number) for number in range(3)))
    watch.bank.down = True
    assert await watch.hear(charge(3)) == [True]
    watch.bank.down = False
    watch.bank.names = {"pi_4": None, "pi_5": "somebody's own"}
    await watch.hear(charge(4), charge(5), charge(6, payment_intent=None))
    assert watch.told == [("a card is tried too often", "")] * 4
    assert not watch.freezes.holds(ANN)


async def test_without_freezing_it_is_only_told() -> None:
    watch = Watch(freezes=False)
    await watch.hear(*(charge(number) for number in range(4)))
    assert watch.told == [("a card is tried too often", ANN)]
    assert not watch.freezes.holds(ANN)


def test_a_charge_names_its_card() -> None:
    assert attempt_of(charge(1)) == Attempt(Payer("card", "f1"), "pi_1", False, declined=True)
    assert attempt_of(charge(1, type="charge.succeeded")) == Attempt(Payer("card", "f1"), "pi_1", False)


async def test_a_card_that_is_tried_once_on_each_of_many_links_is_tried_many_times() -> None:
    watch = Watch()
    accounts = [f"acct_{number:032x}" for number in range(5)]
    watch.bank.names = {f"pi_{number}": sealed(account) for number, account in enumerate(accounts)}
    await watch.hear(*(charge(number) for number in range(5)))
    assert [watch.freezes.holds(account) for account in accounts] == [False, False, False, True, True]


async def test_many_cards_that_are_refused_once_each_for_one_account_freeze_it() -> None:
    watch = Watch(per_card=None, per_account=THREE)
    taken = [charge(number, card=f"ok{number}", type="charge.succeeded") for number in range(10, 20)]
    await watch.hear(*taken)
    assert watch.bank.asked == [], "of what the bank takes nobody is asked"
    await watch.hear(*(charge(number, card=f"f{number}") for number in range(3)))
    assert watch.told == []
    watch.bank.names["pi_3"] = sealed(BOB)
    await watch.hear(charge(3, card="f3"))
    assert watch.told == [], "another account is another account"
    await watch.hear(charge(4, card="f4"))
    assert watch.told == [("cards are refused too often", ANN)]
    [row] = await watch.freezes._book.freezes_of(ANN)
    assert row.reason == "cards were refused more often than 3/hour"


async def test_refusals_that_nobody_can_be_asked_about_are_counted_for_their_card() -> None:
    watch = Watch(per_account=THREE)
    watch.bank.down = True
    await watch.hear(*(charge(number) for number in range(4)))
    assert watch.told == [("a card is tried too often", "")]
