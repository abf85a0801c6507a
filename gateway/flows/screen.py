"""Who may pay, and how often a card may be tried: what can be done here against thieves of cards.

Two things stand outside of us. A payment link is paid at the provider's page, with or without us; and money that came
is credited, whoever sent it. So `Screen` decides who is *offered* a way to pay, by the country of their address, and
whose checkouts are counted together. And `Tries` hears of every attempt that was made, counts it for its card (by a
keyed digest, never by the card's own mark), and freezes the account that a card was tried for too often: its money
stays, nothing is spent of it, and an operator looks.

A country is what the operator's database says of an address. Nobody proves where they are with it.
"""

from collections.abc import Callable
from contextlib import suppress

from gateway.core import references
from gateway.core.countries import CountryRule
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.limits import Ask, Rate
from gateway.core.payments import Attempt, Event
from gateway.core.refusals import CountryRefused, PaymentServiceUnavailable
from gateway.core.tokens import Peppers
from gateway.ports import Attempts, Countries, Freezer, RateLimits


class Screen:
    """Implements `ports.Screens`."""

    def __init__(self, countries: Countries, rule: CountryRule, per_country: Rate | None) -> None:
        self._countries = countries
        self._rule = rule
        self._per_country = per_country

    def refusal(self, peer: str) -> CountryRefused | None:
        return None if self._rule.admits(self._countries.country_of(peer)) else CountryRefused()

    def asks(self, peer: str) -> list[Ask]:
        if self._per_country is None:
            return []
        return [Ask(self._per_country, f"-/checkouts from {self._countries.country_of(peer) or 'unknown'}")]


class OpenToAll:
    """Implements `ports.Screens` where nobody is asked where they are."""

    def refusal(self, peer: str) -> None:
        return None

    def asks(self, peer: str) -> list[Ask]:
        return []


class Tries:
    """Counts what is tried with one card. Implements `ports.Hears`."""

    def __init__(
        self,
        *,
        attempts: Attempts,
        per_card: Rate,
        freezes: Freezer | None,
        limits: RateLimits,
        keyring: Keyring,
        peppers: Peppers,
        live: bool,
        report: Callable[..., None],
    ) -> None:
        self._attempts = attempts
        self._per_card = per_card
        self._freezes = freezes
        self._limits = limits
        self._keyring = keyring
        self._peppers = peppers
        self._live = live
        self._report = report

    async def heard(self, event: Event) -> bool:
        """Count an attempt; after one too many its account is frozen, if that is known and wanted."""
        attempt = self._attempts.attempt(event)
        if attempt is None or attempt.live != self._live:
            return False
        stand = await self._limits.hit(self._per_card, f"-/tries {self._peppers.digest(attempt.card.name).hex()}")
        if not stand.allowed:
            await self._too_many(event, attempt)
        return True

    async def _too_many(self, event: Event, attempt: Attempt) -> None:
        account = await self._account(attempt)
        self._report("a card is tried too often", event=event.id, account=account or "")
        if account is not None and self._freezes is not None:
            await self._freezes.freeze(account, f"one card was tried more often than {self._per_card.text}")

    async def _account(self, attempt: Attempt) -> str | None:
        """Whom it was for; None if nobody can say just now: the next attempt asks again."""
        with suppress(PaymentServiceUnavailable, NotOurs, UnknownKey):
            reference = await self._attempts.reference_of(attempt.intent) if attempt.intent else None
            return references.unseal(self._keyring, reference).account if reference else None
        return None
