"""Who may pay, and how often a card may be tried: what can be done here against thieves of cards.

Two things stand outside of us. A payment link is paid at the provider's page, with or without us; and money that came
is credited, whoever sent it. So `Screen` decides who is *offered* a way to pay, by the country of their address, and
whose checkouts are counted together. And `Tries` hears of every attempt that was made, and counts it twice:

- **for its card**, by a keyed digest, never by the card's own mark. One count holds for all links, checkouts and
  accounts: a card that is tried once on each of many links is tried many times;
- **for the account that it was tried for**, if the bank said no: many cards that are tried once each at one link.

After one too many the account of that attempt is frozen: its money stays, nothing is spent of it, an operator looks.

What the provider's events allow: every attempt, also a refused one, is a charge, and a charge names its card and its
payment intent, but neither the link nor the account, nor from which address it was tried. So who it was for is asked of
the provider, one call for each refusal and none for what the bank took; while it cannot be asked, refusals are counted
for their card alone. From where somebody tries is known here only when they ask for a checkout, which is what addresses
and countries are counted by; for the provider's own page it is the provider's to know (Radar).

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
    """Counts what is tried with one card, and refused for one account. Implements `ports.Hears`."""

    def __init__(
        self,
        *,
        attempts: Attempts,
        per_card: Rate | None,
        per_account: Rate | None = None,
        freezes: Freezer | None,
        limits: RateLimits,
        keyring: Keyring,
        peppers: Peppers,
        live: bool,
        report: Callable[..., None],
    ) -> None:
        self._attempts = attempts
        self._per_card = per_card
        self._per_account = per_account
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
        of_card = await self._over(self._per_card, self._peppers.digest(attempt.card.name).hex())
        counts = self._per_account is not None and attempt.declined
        account = await self._account(attempt) if of_card or counts else None
        if of_card:
            await self._too_many(event, account, "a card is tried", f"one card was tried more often than {of_card}")
        elif counts and account is not None and (rate := await self._over(self._per_account, account)):
            await self._too_many(event, account, "cards are refused", f"cards were refused more often than {rate}")
        return True

    async def _over(self, rate: Rate | None, whose: str) -> str | None:
        """Count it; by which rate it was one too many, if it was."""
        if rate is None or (await self._limits.hit(rate, f"-/tries {whose}")).allowed:
            return None
        return rate.text

    async def _too_many(self, event: Event, account: str | None, what: str, why: str) -> None:
        self._report(f"{what} too often", id=event.id, account=account or "")
        if account is not None and self._freezes is not None:
            await self._freezes.freeze(account, why)

    async def _account(self, attempt: Attempt) -> str | None:
        """Whom it was for; None if nobody can say just now: the next attempt asks again."""
        with suppress(PaymentServiceUnavailable, NotOurs, UnknownKey):
            reference = await self._attempts.reference_of(attempt.intent) if attempt.intent else None
            return references.unseal(self._keyring, reference).account if reference else None
        return None
