"""What a command needs to act on payments: the records, the provider, and the flows between them and the books.

The records can be opened by several processes at once, the books cannot: whoever keeps them is given as `entries`.
"""

from collections.abc import Callable
from typing import Any

from gateway.adapters.jobs import JobBook
from gateway.adapters.people import PeopleBook
from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.app import ways_to_pay
from gateway.app.charging import charges, return_fee
from gateway.app.owning import belong, follow_accounts
from gateway.app.paying_owners import pay_out
from gateway.app.stores import credit_lines, records, witness
from gateway.app.ways_to_pay import RETURN_PATH, provider
from gateway.core.keyring import Keyring
from gateway.core.tokens import Peppers
from gateway.flows.charge import ChargeByAgreement
from gateway.flows.follow import Aliases, Following
from gateway.flows.receive import Webhooks
from gateway.flows.screen import OpenToAll
from gateway.flows.take_back import TakeBack
from gateway.flows.top_up import TopUp
from gateway.ports import Entries, Hears, HearsReturns
from gateway.settings import Settings


class Office:
    """Everything about payments but the web. Raises ValueError without a provider."""

    def __init__(self, settings: Settings, entries: Entries, *, report: Callable[..., None]) -> None:
        payments = provider(settings, report)
        if payments is None or settings.stripe is None:
            raise ValueError("stripe is not configured: there are no payments here")
        if not settings.secrets.peppers or not settings.secrets.sealing_keys:
            raise ValueError("there are no sealing keys and peppers here: no gateway has run with this configuration")
        self.settings = settings
        self.clock, randomness, keyring = SystemClock(), SystemRandomness(), Keyring(settings.secrets.sealing_keys)
        self.payments = payments
        self.records = records(settings, keyring, randomness)
        live = settings.mode == "live"
        self.aliases = Aliases(book=self.records.aliases, clock=self.clock, report=report)
        trail = witness(settings, keyring, self.records, self.clock, report)
        following = Following(entries, self.aliases)
        self.take_back = TakeBack(
            receipts=self.records,
            ledger=following,
            lines=credit_lines(settings),
            live=live,
            report=report,
            witness=trail,
            origin="command",
        )
        self.top_up = TopUp(
            payments=payments,
            price=settings.stripe.top_up,
            return_url=settings.public_url + RETURN_PATH,
            live=live,
            keyring=keyring,
            ledger=following,
            credentials=self.records,
            links=self.records,
            receipts=self.records,
            subscriptions=self.records.subscriptions,
            inbox=self.records,
            take_back=self.take_back,
            clock=self.clock,
            randomness=randomness,
            token_recorded=lambda digest: None,
            witness=trail,
            origin="command",
        )
        kept, limits = self.records.ways_to_pay, MemoryRateLimits(self.clock)
        check_out = ways_to_pay.check_out(
            settings,
            payments,
            kept,
            limits=limits,
            books=credit_lines(settings),
            keyring=keyring,
            clock=self.clock,
            randomness=randomness,
            roots=self.aliases,
            screen=OpenToAll(),
        )
        replenish = ways_to_pay.replenish(
            settings,
            payments,
            kept,
            freezes=self.records.freezes,
            receipts=self.records,
            books=credit_lines(settings),
            till=self.top_up,
            witness=trail,
            reference=check_out.reference,
            keyring=keyring,
            clock=self.clock,
            randomness=randomness,
            report=report,
            roots=self.aliases,
        )
        subscribe = ways_to_pay.subscribe(
            settings,
            payments,
            self.records.subscriptions,
            self.records.outbox,
            roots=self.aliases,
            keyring=keyring,
            clock=self.clock,
            report=report,
        )
        accounts = follow_accounts(settings, payments, self.records, witness=trail, clock=self.clock, report=report)
        self.pay_out = pay_out(
            settings,
            payments,
            self.records,
            entries,
            accounts=accounts,
            roots=self.aliases,
            witness=trail,
            clock=self.clock,
            report=report,
        )
        self._trail = trail
        hears: list[Hears] = [flow for flow in (subscribe, accounts, self.pay_out) if flow is not None]
        returns: list[HearsReturns] = []
        self.charge: ChargeByAgreement | None = None
        if settings.charging is not None:
            kinds: dict[str, Any] = {"witness": trail, "clock": self.clock, "report": report}
            people = PeopleBook(self.records.ask)
            peppers = Peppers(settings.secrets.peppers)
            self.charge = charges(
                settings,
                settings.charging.terms,
                payments,
                self.records,
                entries,
                people=people,
                jobs=JobBook(self.records.ask, shared=settings.store_url is not None),
                acts_for=belong(
                    settings, self.records, people, peppers, witness=trail, clock=self.clock, randomness=randomness
                ),
                roots=self.aliases,
                keyring=keyring,
                randomness=randomness,
                **kinds,
            )
            hears.append(self.charge)
            returns.append(return_fee(settings, payments, self.records, self.take_back, **kinds))
        self.webhooks = Webhooks(
            payments=payments,
            inbox=self.records,
            till=self.top_up,
            take_back=self.take_back,
            clock=self.clock,
            report=report,
            live=live,
            witness=trail,
            replenish=replenish,
            hears=hears,
            returns=returns,
        )

    async def open(self) -> None:
        """Raises StoreDamaged, StoreFailed, RecordsUnavailable."""
        await self.records.open()
        await self.aliases.look()

    async def close(self) -> None:
        await self.webhooks.close()
        await self._trail.close()
        await self.payments.close()
        await self.records.close()
