"""How money comes in and goes back, in one process: the provider, its webhooks, and every flow about payments.

Without a provider most of it is not there. One of several workers, the `first`, does for all what has to be done once:
joining wallets, looking for payments whose webhook never came, sending notices.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.adapters.outgoing import HttpSender
from gateway.app import ways_to_pay
from gateway.app.charging import Charging
from gateway.app.identity import Identity
from gateway.app.licensing import Licensing
from gateway.app.owning import Owning
from gateway.app.paying_owners import pay_out
from gateway.app.services import know_services, services_of
from gateway.app.stores import credit_lines
from gateway.app.ways_to_pay import RETURN_PATH, mails, provider
from gateway.core.charges import PLATFORM_HOLDER
from gateway.core.money import Money
from gateway.core.refusals import PaymentServiceUnavailable
from gateway.core.reversals import Notice
from gateway.flows.compare_plans import report_differences, report_without_a_plan
from gateway.flows.erase import AT_PROVIDER, EraseAtProvider
from gateway.flows.follow import FollowingDesk, JoinBooks
from gateway.flows.keep import Keeper
from gateway.flows.log_in import LogIn
from gateway.flows.notify import Notify
from gateway.flows.pay_out import SWEEP_SECONDS
from gateway.flows.receive import Webhooks
from gateway.flows.reconcile import Reconcile
from gateway.flows.rounds import Rounds
from gateway.flows.take_back import TakeBack
from gateway.flows.top_up import TopUp
from gateway.flows.watch_caps import WatchCaps
from gateway.flows.write_letters import WriteLetters
from gateway.ports import Clock, Hears, Hold, Randomness, RateLimits, Sells
from gateway.settings import Settings, StripeSettings

if TYPE_CHECKING:
    from gateway.app.stores import Records

_RECOGNISE_SECONDS = 1.0
_FORGET_SECONDS = 3600.0


class Paying:
    """The parts by name, and their life."""

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        records: "Records",
        ledger: Keeper,
        limits: RateLimits,
        *,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
        first: bool,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._records = records
        self._ledger = ledger
        self._limits = limits
        self._clock = clock
        self._randomness = randomness
        self._report = report
        self._first = first
        self._live = settings.mode == "live"
        self._opened = AsyncExitStack()

        stripe = settings.stripe
        self.payments = provider(settings, report)
        if self.payments is not None:
            identity.signing_in.also(AT_PROVIDER, EraseAtProvider(self.payments).do)
        self.price = stripe.top_up if stripe else Money.zero(settings.currency)
        self.desk = FollowingDesk(ledger, identity.aliases)
        self.take_back = TakeBack(
            receipts=records,
            ledger=self.desk,
            lines=credit_lines(settings),
            live=self._live,
            report=report,
            witness=identity.witness,
            warned=self._warned if stripe and stripe.freeze_on_fraud_warning else None,
        )
        self.join_books = self._join_books() if first else None
        self.top_up = self._top_up()
        self.screen = ways_to_pay.screen(settings)
        self._orders()
        self.licensing = self._licensing()
        self.log_in = self._log_in()
        self.owning = self._owning()
        self.pay_out = pay_out(
            settings,
            self.payments,
            records,
            ledger,
            accounts=self.owning.accounts,
            roots=identity.aliases,
            witness=identity.witness,
            clock=clock,
            report=report,
        )
        self.services = know_services(settings, identity, records, limits, clock=clock, randomness=randomness)
        self.charging = self._charging()
        self.letters = self._letters()
        self.notify = self._notify()
        self.watch_caps = self._watch_caps()
        self.webhooks = self._webhooks()
        self.reconcile = self._reconcile() if first else None
        self._comparing: asyncio.Task[None] | None = None
        self.linking: asyncio.Task[None] | None = None
        """The first attempt to make the payment link."""

    # --- parts --------------------------------------------------------------------------------------------------------

    async def _warned(self, account: str, notice: Notice) -> None:
        """What is frozen is the account that it is by now. Raises RecordsUnavailable."""
        if account == PLATFORM_HOLDER:  # it paid a fee
            return
        await self._identity.aliases.look()
        await self._identity.freezes.warned(account, notice)

    def _join_books(self) -> JoinBooks:
        return JoinBooks(
            book=self._records.aliases,
            aliases=self._identity.aliases,
            ledger=self._ledger,
            books=credit_lines(self._settings),
            clock=self._clock,
            report=self._report,
        )

    def _sold(self) -> dict[str, str]:
        """Where each named credit is to be had that a plan grants."""
        units = {plan.grants.currency for plan in self._settings.plans if plan.grants.named}
        return dict.fromkeys(units, self._settings.public_url + ways_to_pay.CHOOSE_PATH)

    def _top_up(self) -> TopUp:
        return TopUp(
            payments=self.payments,
            price=self.price,
            bounds=ways_to_pay.link_bounds(self._settings),
            return_url=self._settings.public_url + RETURN_PATH,
            sold=self._sold(),
            live=self._live,
            keyring=self._identity.keyring,
            ledger=self.desk,
            credentials=self._records,
            links=self._records,
            receipts=self._records,
            subscriptions=self._records.subscriptions,
            inbox=self._records,
            take_back=self.take_back,
            clock=self._clock,
            randomness=self._randomness,
            token_recorded=self._identity.token_recorded,
            witness=self._identity.witness,
        )

    def _orders(self) -> None:
        """The ways to pay besides the link."""
        settings, identity, report = self._settings, self._identity, self._report
        self.check_out = ways_to_pay.check_out(
            settings,
            self.payments,
            self._records.ways_to_pay,
            keyring=identity.keyring,
            limits=self._limits,
            books=credit_lines(settings),
            clock=self._clock,
            randomness=self._randomness,
            roots=identity.aliases,
            screen=self.screen,
        )
        self.replenish = ways_to_pay.replenish(
            settings,
            self.payments,
            self._records.ways_to_pay,
            freezes=self._records.freezes,
            receipts=self._records,
            books=credit_lines(settings),
            till=self.top_up,
            witness=identity.witness,
            reference=self.check_out.reference,
            keyring=identity.keyring,
            clock=self._clock,
            randomness=self._randomness,
            report=report,
            roots=identity.aliases,
        )
        self.subscribe = ways_to_pay.subscribe(
            settings,
            self.payments,
            self._records.subscriptions,
            self._records.outbox,
            roots=identity.aliases,
            keyring=identity.keyring,
            clock=self._clock,
            report=report,
        )
        self.tries = ways_to_pay.tries(
            settings,
            self.payments,
            freezes=identity.freezes,
            limits=self._limits,
            keyring=identity.keyring,
            peppers=identity.peppers,
            report=report,
        )

    def _licensing(self) -> Licensing | None:
        if self.payments is None or self._settings.licences is None:
            return None
        return Licensing(
            self._settings,
            self._settings.licences,
            self.payments,
            self._identity,
            self._records,
            self._ledger,
            self._limits,
            clock=self._clock,
            randomness=self._randomness,
            report=self._report,
        )

    def _owning(self) -> Owning:
        return Owning(
            self._settings,
            self.payments,
            self._identity,
            self._records,
            clock=self._clock,
            randomness=self._randomness,
            report=self._report,
            first=self._first,
        )

    def _charging(self) -> Charging | None:
        given = self._settings.charging
        if self.payments is None or given is None or self.services is None:
            return None
        return Charging(
            self._settings,
            given,
            self.payments,
            self._identity,
            self._records,
            self._ledger,
            self.owning,
            self.take_back,
            self.services,
            clock=self._clock,
            randomness=self._randomness,
            report=self._report,
            first=self._first,
        )

    def _log_in(self) -> LogIn | None:
        stripe = self._settings.stripe
        if self.payments is None or stripe is None or self._settings.identity.issuers:
            return None  # who is vouched for elsewhere is known already, and two of them never become one by a card
        return LogIn(
            mode=stripe.login_by_payment,
            payments=self.payments,
            book=self._records.payers,
            aliases=self._identity.aliases,
            outbox=self._records.outbox,
            keyring=self._identity.keyring,
            peppers=self._identity.peppers,
            clock=self._clock,
            randomness=self._randomness,
            report=self._report,
            witness=self._identity.witness,
        )

    def _letters(self) -> WriteLetters | None:
        mail = self._settings.mail
        if mail is None:
            return None
        return WriteLetters(
            reaches=self._identity.reach,
            mails=mails(mail),
            keyring=self._identity.keyring,
            randomness=self._randomness,
            public_url=self._settings.public_url,
        )

    def _notify(self) -> Notify | None:
        told = self._settings.notices
        if told is None:
            return None
        return Notify(
            outbox=self._records.outbox,
            books=credit_lines(self._settings),
            sends=HttpSender(told.url, private=told.private_addresses),
            secrets=told.secrets,
            line=told.low_balance,
            live=self._live,
            clock=self._clock,
            report=self._report,
            letters=self.letters,
        )

    def _watch_caps(self) -> WatchCaps | None:
        if self._settings.notices is None:
            return None
        return WatchCaps(
            outbox=self._records.outbox,
            lines=credit_lines(self._settings),
            percent=self._settings.caps.tell_at_percent,
            clock=self._clock,
        )

    @property
    def _entitle(self) -> Hears | None:
        return self.licensing.entitle if self.licensing is not None else None

    @property
    def _charges(self) -> Hears | None:
        return self.charging.charge if self.charging is not None else None

    def _webhooks(self) -> Webhooks | None:
        if self.payments is None:
            return None
        return Webhooks(
            payments=self.payments,
            inbox=self._records,
            till=self.top_up,
            take_back=self.take_back,
            clock=self._clock,
            report=self._report,
            live=self._live,
            witness=self._identity.witness,
            replenish=self.replenish,
            hears=[
                flow
                for flow in (
                    self.subscribe,
                    self.tries,
                    self._entitle,
                    self.owning.accounts,
                    self.pay_out,
                    self._charges,
                )
                if flow is not None
            ],
            returns=[self.charging.return_fee] if self.charging is not None else [],
        )

    def _reconcile(self) -> Reconcile | None:
        stripe = self._settings.stripe
        if self.payments is None or self.webhooks is None or stripe is None or not stripe.reconcile_seconds:
            return None
        return Reconcile(
            payments=self.payments,
            take=self.webhooks.take,
            settled=self.webhooks.settled,
            watermarks=self._records,
            clock=self._clock,
            report=self._report,
            every_seconds=stripe.reconcile_seconds,
        )

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take up what a stop left, and go on with it in the background. The records are open by now."""
        if self.replenish is not None:
            self._opened.push_async_callback(self.replenish.close)
            await self.replenish.open(sweeps=self._first)
        if self.log_in is not None and self._first:
            for work, seconds in ((self.recognise, _RECOGNISE_SECONDS), (self.log_in.forget, _FORGET_SECONDS)):
                rounds = Rounds(work, every_seconds=seconds, name="login by payment")
                self._opened.push_async_callback(rounds.close)
                rounds.open()
        if self.pay_out is not None and self._first:
            rounds = Rounds(self._pay_owners, every_seconds=SWEEP_SECONDS, name="payouts")
            self._opened.push_async_callback(rounds.close)
            rounds.open()
        if self.charging is not None:
            self._opened.push_async_callback(self.charging.close)
            self.charging.open()
        if self.licensing is not None:
            self._opened.push_async_callback(self.licensing.restore.close)
        if self.watch_caps is not None:
            self._opened.push_async_callback(self.watch_caps.close)
        if self.notify is not None:
            self._opened.push_async_callback(self.notify.close)
            await self.notify.open(delivers=self._first)
        if self.webhooks is not None:
            self._opened.push_async_callback(self.webhooks.close)
            await self.webhooks.open()
        self._opened.push_async_callback(self.owning.close)
        self.owning.open()
        if self.reconcile is not None:
            self._opened.push_async_callback(self.reconcile.close)
            self.reconcile.open()
        self.linking = asyncio.create_task(self._prepare_link(), name="prepare payment link")
        self._opened.push_async_callback(self._stop_linking)
        if self._first and self.payments is not None:
            self._comparing = asyncio.create_task(self._compare_plans(self.payments), name="compare plans")

    async def _pay_owners(self) -> None:
        """Nothing leaves before what was missed was heard: some of it may have left already, and not be on record."""
        assert self.pay_out is not None
        if self.reconcile is not None and self.webhooks is not None and not self.reconcile.was_read.is_set():
            await self.reconcile.was_read.wait()
            await self.webhooks.settled()
        await self.pay_out.sweep()

    async def _compare_plans(self, sells: Sells) -> None:
        plans = self._settings.plans
        await report_without_a_plan(self._records.subscriptions, plans, self._report)
        await report_differences(sells, plans, self._report)

    async def close(self) -> None:
        """End what is under way; the provider itself is closed by `leave`, when nothing can ask for it any more."""
        await self._opened.aclose()

    async def leave(self) -> None:
        """Let go of the provider."""
        if self.payments is not None:
            await self.payments.close()

    async def recognise(self) -> None:
        """Whoever came back from a checkout and counts by now gets the wallet of before. Raises RecordsUnavailable."""
        if self.log_in is not None and self.join_books is not None:
            await self.log_in.settle()
            await self.join_books.now()

    def spent(self) -> Callable[[str, Hold], None] | None:
        """Who is told of every request that was paid for, if anybody is."""
        told = [flow.spent for flow in (self.replenish, self.notify, self.watch_caps) if flow is not None]
        if not told:
            return None

        def spent(account: str, hold: Hold) -> None:
            for one in told:
                one(account, hold)

        return spent

    def renew(self, was: Settings, now: Settings) -> tuple[list[str], StripeSettings | None]:
        """Use these secrets of the provider from now on; which are others than before, and what holds by now."""
        taken, stripe = [], was.stripe
        if self.payments is not None and stripe is not None and now.stripe is not None and now.mode == was.mode:
            if now.stripe.webhook_secrets != stripe.webhook_secrets:
                taken.append("stripe.webhook_secrets")
            if now.stripe.secret_key != stripe.secret_key:
                taken.append("stripe.secret_key")
            keys: dict[str, Any] = {name: getattr(now.stripe, name) for name in ("secret_key", "webhook_secrets")}
            self.payments.renew(**keys)
            stripe = replace(stripe, **keys)
        if self.services is not None and now.services != was.services:
            taken.append("services")
            self.services.exchange(services_of(now, self._identity, self._records))
        return taken, stripe

    async def _stop_linking(self) -> None:
        tasks = [task for task in (self.linking, self._comparing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _prepare_link(self) -> None:
        """Make the payment link before the first caller needs it; whoever needs it sooner shares the attempt."""
        try:
            await self.top_up.prepare()
        except PaymentServiceUnavailable:
            self._report("no payment link yet", why="the payment provider cannot be reached or refuses")
        except Exception as error:
            self._report("no payment link yet", why=type(error).__name__)
