"""One gateway, put together: `Gateway` is its parts by name, its life, and the addresses that it serves.

Putting it together does not touch the world. `open` opens files and starts background work, `close` ends it in the
order in which nothing is lost: no new requests, requests in flight, webhooks, ledger.
"""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.adapters import logs
from gateway.adapters.interprocess.limits import SharedRateLimits
from gateway.adapters.interprocess.worker import BorrowedLedgerStore, Line, News
from gateway.adapters.metrics import Tally, Totals, exposition
from gateway.adapters.outgoing import HttpSender
from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.adapters.sqlite.archive import SqliteArchive
from gateway.adapters.sqlite.bookkeeping import SqliteBookkeeping
from gateway.adapters.sqlite.credits import SqliteCreditLines
from gateway.adapters.sqlite.ledger import SqliteLedgerStore
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.adapters.sqlite.scratch import SqliteScratch
from gateway.adapters.sqlite.statement import SqliteStatementBooks
from gateway.adapters.system import SystemClock, SystemFile, SystemRandomness
from gateway.app import ways_to_pay
from gateway.app.upkeep import Upkeep
from gateway.app.ways_to_pay import RETURN_PATH, provider
from gateway.core.ids import RequestId, RequestNumbers
from gateway.core.keyring import Keyring
from gateway.core.letters import STOP_PATH
from gateway.core.limits import Limiter
from gateway.core.money import Money
from gateway.core.places import Places
from gateway.core.refusals import GatewayBusy, MethodNotAllowed, NoRoute, PaymentServiceUnavailable
from gateway.core.reversals import Notice
from gateway.core.routes import RESERVED_PREFIXES
from gateway.core.secrets import Secret
from gateway.core.tokens import Peppers, TokenMint
from gateway.flows.admit import Admit
from gateway.flows.follow import Aliases, FollowingDesk, JoinBooks
from gateway.flows.freeze import Freezes
from gateway.flows.identify import Callers
from gateway.flows.keep import Keeper, Pace, Recovered
from gateway.flows.log_in import LogIn
from gateway.flows.maintain import Housekept, Maintain
from gateway.flows.notify import Notify
from gateway.flows.once import RENEW_SECONDS, Bounds, Once
from gateway.flows.receive import Webhooks
from gateway.flows.reconcile import Reconcile
from gateway.flows.rotate import CallIn
from gateway.flows.rounds import Rounds
from gateway.flows.serve import Serve
from gateway.flows.statement import LookBack
from gateway.flows.take_back import TakeBack
from gateway.flows.top_up import TopUp
from gateway.flows.write_letters import WriteLetters
from gateway.ports import Clock, Hold, Mails, Randomness, RateLimits, Served, StatementBooks, StoreFailed
from gateway.relay.lending import Borrower
from gateway.relay.listener import Relay
from gateway.settings import MailSettings, Settings, load
from gateway.web.amounts import ChoosePlace
from gateway.web.answers import drop_what_was_invented, internal_error, log_failure
from gateway.web.auto_top_up import AutoPlace
from gateway.web.codes import CodePlace
from gateway.web.cookies import Cookies
from gateway.web.front import Sparing
from gateway.web.guard import Handler, continue_at_once, guarded
from gateway.web.letters import LetterPlace
from gateway.web.pages import Pages
from gateway.web.price_list import PriceListPlace
from gateway.web.proxy import Proxy, continue_when_paid
from gateway.web.quotes import QuotePlace
from gateway.web.refusals import Refusals, as_problem
from gateway.web.status import AdminPlace
from gateway.web.subscriptions import SubscriptionPlace
from gateway.web.templates import Templates
from gateway.web.visitors import Visitors
from gateway.web.wallet import WalletPlace
from gateway.web.webhooks import WebhookPlace

if TYPE_CHECKING:  # an extra: imported where a store is a database
    from gateway.adapters.postgres.credits import PostgresCreditLines
    from gateway.adapters.postgres.ledger import PostgresLedgerStore
    from gateway.adapters.postgres.records import PostgresRecords
    from gateway.adapters.postgres.sessions import Address

HEAD_KEY_PURPOSE = "ledger head"
_ANYTHING = r"[\s\S]*"  # aiohttp matches decoded paths, and its usual `.*` stops at an encoded line feed
_RELOADED = frozenset(("routes", "upstreams"))
_FILES_OF_OURS = 64  # the books, the records, the logs, the webhooks that are being received


class Gateway:
    """One gateway: its parts by name, its life, and the addresses that it serves.

    With a `line` it is one worker of several: the books are kept, and requests counted, at its other end.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        served: Served | None = None,
        report: Callable[..., None],
        line: Line | None = None,
        slot: int = 0,
    ) -> None:
        self.settings = settings
        self.report = report
        self.clock = SystemClock()
        self.randomness = SystemRandomness()
        self.keyring = Keyring(settings.secrets.sealing_keys)
        self.peppers = Peppers(settings.secrets.peppers)
        self.records = records(settings, self.keyring, self.randomness)
        self.ledger = self._ledger(line)
        self.payments = provider(settings, report)
        self.price = settings.stripe.top_up if settings.stripe else Money.zero(settings.currency)
        self.cookies = Cookies(
            name=settings.tokens.cookie,
            secure=settings.public_url.startswith("https://"),
            keyring=self.keyring,
            randomness=self.randomness,
        )
        self.aliases = Aliases(book=self.records.aliases, clock=self.clock, report=report)
        self.freezes = Freezes(book=self.records.freezes, clock=self.clock, report=report, root=self.aliases.root)
        self.desk = FollowingDesk(self.ledger, self.aliases)
        self.limiter = Limiter(settings.limits.subjects_max)
        self.limits = self._limits(line)
        self.callers = Callers(
            mint=TokenMint(self.keyring, settings.mode),
            peppers=self.peppers,
            credentials=self.records,
            frozen=self.freezes,
            clock=self.clock,
            randomness=self.randomness,
            header=settings.tokens.header,
            cookie_names=(self.cookies.name,),
            aliases=self.aliases,
        )
        hears_of_others(self.records, self.callers)
        self.token_recorded = News(line, self.callers.forget).token_recorded if line else self.callers.forget
        self.take_back = TakeBack(
            receipts=self.records,
            ledger=self.desk,
            lines=credit_lines(settings),
            live=settings.mode == "live",
            report=report,
            warned=self._warned if settings.stripe and settings.stripe.freeze_on_fraud_warning else None,
        )
        self.call_in = self._call_in(slot)
        self.join_books = self._join_books() if slot == 0 else None
        self.upkeep = Upkeep(
            records=self.records,
            callers=self.callers,
            freezes=self.freezes,
            aliases=self.aliases,
            join_books=self.join_books,
            call_in=self.call_in,
            clock=self.clock,
            events_days=settings.retention.events_days,
            first=slot == 0,
        )
        self.top_up = self._top_up()
        self.screen = ways_to_pay.screen(settings)
        self.check_out = ways_to_pay.check_out(
            settings,
            self.payments,
            self.records.ways_to_pay,
            keyring=self.keyring,
            limits=self.limits,
            books=credit_lines(settings),
            clock=self.clock,
            randomness=self.randomness,
            roots=self.aliases,
            screen=self.screen,
        )
        self.replenish = ways_to_pay.replenish(
            settings,
            self.payments,
            self.records.ways_to_pay,
            freezes=self.records.freezes,
            receipts=self.records,
            books=credit_lines(settings),
            till=self.top_up,
            reference=self.check_out.reference,
            keyring=self.keyring,
            clock=self.clock,
            randomness=self.randomness,
            report=report,
            roots=self.aliases,
        )
        self.subscribe = ways_to_pay.subscribe(
            settings,
            self.payments,
            self.records.subscriptions,
            self.records.outbox,
            roots=self.aliases,
            keyring=self.keyring,
            clock=self.clock,
            report=report,
        )
        self.tries = ways_to_pay.tries(
            settings,
            self.payments,
            freezes=self.freezes,
            limits=self.limits,
            keyring=self.keyring,
            peppers=self.peppers,
            report=report,
        )
        self.log_in = self._log_in()
        self.letters = self._letters()
        self.notify = self._notify()
        self._sweeps = slot == 0
        self.webhooks = self._webhooks()
        self.reconcile = self._reconcile() if slot == 0 else None
        self.numbers = RequestNumbers(slot=slot, start=int.from_bytes(self.randomness.bytes(4)))
        self.templates = Templates()
        self._request_log = logs.RequestLog(self.clock)
        self.tally = Tally(served or self._request_log)
        self.once = self._once()
        self.serve = self._serve(self.tally)
        self.refusals = Refusals(
            templates=self.templates,
            cookies=self.cookies,
            public_url=settings.public_url,
            presets=settings.stripe.choice.presets if settings.stripe else (),
            recognises=settings.stripe is not None and settings.stripe.login_by_payment != "off",
            header=settings.tokens.header,
        )
        self.look_back = LookBack(statement_books(settings), SqliteScratch, self.clock)
        self.proxy = self._proxy()
        self.own_paths = {
            *(settings.stripe.webhook_aliases if settings.stripe else ()),
            *settings.price_list_aliases,
        }
        self.recovered = Recovered(0, 0)
        self._opened = AsyncExitStack()
        self._linking: asyncio.Task[None] | None = None

    # --- parts --------------------------------------------------------------------------------------------------------

    def _ledger(self, line: Line | None) -> Keeper:
        if line is None:
            return keeper(self.settings, self.keyring, self.clock, self.report)
        store = BorrowedLedgerStore(line)
        report = lambda problem: self.report("ledger", problem=problem)  # noqa: E731
        pace = Pace.patient(self.settings.ledger_seconds, gap=0)
        return Keeper(store, self.clock, lender=store, teller=store, pace=pace, report=report)

    def _limits(self, line: Line | None) -> RateLimits:
        near = SharedRateLimits(line, self.clock) if line else MemoryRateLimits(self.clock, self.limiter)
        limits = self.settings.limits
        if limits.storage_url is None:
            return near
        return shared_limits(limits.storage_url, near, seconds_max=limits.storage_seconds_max, clock=self.clock)

    def _call_in(self, slot: int) -> CallIn:
        return CallIn(
            roll=self.records.key_roll,
            holder=f"{self.settings.host_name} {slot}",
            ids=lambda: {"sealing_key": [key.id for key in self.keyring.keys], "pepper": self.peppers.ids},
            clock=self.clock,
            report=self.report,
        )

    async def _warned(self, account: str, notice: Notice) -> None:
        """What is frozen is the account that it is by now. Raises RecordsUnavailable."""
        await self.aliases.look()
        await self.freezes.warned(account, notice)

    def _top_up(self) -> TopUp:
        return TopUp(
            payments=self.payments,
            price=self.price,
            bounds=ways_to_pay.link_bounds(self.settings),
            return_url=self.settings.public_url + RETURN_PATH,
            live=self.settings.mode == "live",
            keyring=self.keyring,
            ledger=self.desk,
            credentials=self.records,
            links=self.records,
            receipts=self.records,
            subscriptions=self.records.subscriptions,
            inbox=self.records,
            take_back=self.take_back,
            clock=self.clock,
            randomness=self.randomness,
            token_recorded=self.token_recorded,
        )

    def _log_in(self) -> LogIn | None:
        stripe = self.settings.stripe
        if self.payments is None or stripe is None:
            return None
        return LogIn(
            mode=stripe.login_by_payment,
            payments=self.payments,
            book=self.records.payers,
            aliases=self.aliases,
            outbox=self.records.outbox,
            keyring=self.keyring,
            peppers=self.peppers,
            clock=self.clock,
            randomness=self.randomness,
            report=self.report,
        )

    def _join_books(self) -> JoinBooks:
        """One of several workers does it for all."""
        return JoinBooks(
            book=self.records.aliases,
            aliases=self.aliases,
            ledger=self.ledger,
            books=credit_lines(self.settings),
            clock=self.clock,
            report=self.report,
        )

    def _notify(self) -> Notify | None:
        told = self.settings.notices
        if told is None:
            return None
        return Notify(
            outbox=self.records.outbox,
            books=credit_lines(self.settings),
            sends=HttpSender(told.url, private=told.private_addresses),
            secrets=told.secrets,
            line=told.low_balance,
            live=self.settings.mode == "live",
            clock=self.clock,
            report=self.report,
            letters=self.letters,
        )

    def _letters(self) -> WriteLetters | None:
        mail = self.settings.mail
        if mail is None:
            return None
        return WriteLetters(
            payers=self.records.payers,
            mails=mails(mail),
            roots=self.aliases,
            keyring=self.keyring,
            randomness=self.randomness,
            public_url=self.settings.public_url,
        )

    def _webhooks(self) -> Webhooks | None:
        if self.payments is None:
            return None
        return Webhooks(
            payments=self.payments,
            inbox=self.records,
            till=self.top_up,
            take_back=self.take_back,
            clock=self.clock,
            report=self.report,
            live=self.settings.mode == "live",
            replenish=self.replenish,
            hears=[flow for flow in (self.subscribe, self.tries) if flow is not None],
        )

    def _reconcile(self) -> Reconcile | None:
        """One of several workers does it for all."""
        stripe = self.settings.stripe
        if self.payments is None or self.webhooks is None or stripe is None or not stripe.reconcile_seconds:
            return None
        return Reconcile(
            payments=self.payments,
            take=self.webhooks.take,
            settled=self.webhooks.settled,
            watermarks=self.records,
            clock=self.clock,
            report=self.report,
            every_seconds=stripe.reconcile_seconds,
        )

    def _once(self) -> Once:
        kept = self.settings.idempotency
        return Once(
            claims=self.records.key_claims,
            ledger=self.ledger,
            keyring=self.keyring,
            bounds=Bounds(int(kept.keep_seconds * 1000), kept.answer_bytes_max, kept.body_bytes_max, kept.wait_seconds),
            clock=self.clock,
            randomness=self.randomness,
        )

    def _serve(self, served: Served) -> Serve:
        return Serve(
            routes=self.settings.routes,
            callers=self.callers,
            limits=Admit(limits=self.limits, ledger=self.ledger, uncounted=self.tally.uncounted),
            ledger=self.ledger,
            till=self.replenish or self.top_up,
            served=served,
            now=time.monotonic,
            places=Places(share=self.settings.workers),
            spent=self._spent(),
            screen=self.screen.refusal,
            once=self.once,
        )

    def _spent(self) -> Callable[[str, Hold], None]:
        """Who is told of every request that was paid for."""
        told = [flow.spent for flow in (self.replenish, self.notify) if flow is not None]

        def spent(account: str, hold: Hold) -> None:
            for one in told:
                one(account, hold)

        return spent

    def _proxy(self) -> Proxy:
        settings = self.settings
        return Proxy(
            serve=self.serve,
            refusals=self.refusals,
            clock=self.clock,
            numbers=self.numbers,
            cookie=self.cookies.name,
            scheme=settings.public_url.partition("://")[0],
            body_bytes_max=settings.limits.request_body_bytes_max,
            head_bytes_max=settings.limits.request_head_bytes_max,
            report=self.report,
            trusted=settings.trusted_proxies,
            trust_unix=settings.trust_unix,
            fields_max=settings.limits.request_fields_max,
            body_seconds=settings.timeouts.body_seconds,
            issuer=settings.public_url,
        )

    def relay(self, lend: Callable[[], Borrower]) -> Relay:
        """The express road, on the running loop; `lend` makes what serves our own addresses."""
        settings = self.settings
        return Relay(
            serve=self.serve.serve,
            refusals=lambda refusal, exchange, route: self.refusals.answer(refusal, exchange, route).plain(),
            internal_error=lambda id: internal_error(id).plain(),
            log_failure=lambda id, error: log_failure(self.report, id, error),
            complain=Sparing(self.report),
            lend=lend,
            own_paths=self.own_paths,
            clock=self.clock,
            numbers=self.numbers,
            cookie=self.cookies.name,
            scheme=settings.public_url.partition("://")[0],
            timeouts=settings.timeouts,
            body_bytes_max=settings.limits.request_body_bytes_max,
            head_bytes_max=settings.limits.request_head_bytes_max,
            fields_max=settings.limits.request_fields_max,
            connections_max=connections_max(settings.limits.connections_max),
            trusted=settings.trusted_proxies,
            trust_unix=settings.trust_unix,
            too_many=as_problem(GatewayBusy()).plain(),
            issuer=settings.public_url,
            chance=lambda: int.from_bytes(self.randomness.bytes(4)) / 2**32,
        )

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the books and the records and take up what a stop left. Raises StoreDamaged, StoreLocked.

        Whatever was opened is closed again by `close`, in the reverse order, also when a later part could not open.
        """
        self._opened.push_async_callback(asyncio.to_thread, self._request_log.close)
        self._opened.push_async_callback(self.proxy.close)
        self._opened.push_async_callback(self.look_back.close)
        if self.payments is not None:
            self._opened.push_async_callback(self.payments.close)
        self._opened.push_async_callback(self.limits.close)
        self._opened.push_async_callback(self.ledger.close)
        self.recovered = await self.ledger.open()  # first: its lock keeps a second gateway away from all files
        self._opened.push_async_callback(self.records.close)
        await self.records.open()
        renewing = Rounds(self.once.renew, every_seconds=RENEW_SECONDS, name="idempotency claims")
        renewing.open()
        self._opened.push_async_callback(renewing.close)
        self._opened.push_async_callback(self.once.close)
        if self.recovered.count:
            self.report("given away after a crash", requests=self.recovered.count, micros=self.recovered.micros)
        self._opened.push_async_callback(self.upkeep.close)
        await self.upkeep.open()
        if self.replenish is not None:
            self._opened.push_async_callback(self.replenish.close)
            await self.replenish.open(sweeps=self._sweeps)
        if self.log_in is not None and self._sweeps:
            for work, seconds in ((self.recognise, 1.0), (self.log_in.forget, 3600.0)):
                rounds = Rounds(work, every_seconds=seconds, name="login by payment")
                self._opened.push_async_callback(rounds.close)
                rounds.open()
        if self.notify is not None:
            self._opened.push_async_callback(self.notify.close)
            await self.notify.open(delivers=self._sweeps)
        if self.webhooks is not None:
            self._opened.push_async_callback(self.webhooks.close)
            await self.webhooks.open()
        if self.reconcile is not None:
            self._opened.push_async_callback(self.reconcile.close)
            self.reconcile.open()
        self._linking = asyncio.create_task(self._prepare_link(), name="prepare payment link")
        self._opened.push_async_callback(self._stop_linking)

    async def close(self) -> None:
        """After the last request has ended: finish what is under way and let go of the files, whatever else fails."""
        await self._opened.aclose()

    async def recognise(self) -> None:
        """Whoever came back from a checkout and counts by now gets the wallet of before. Raises RecordsUnavailable."""
        if self.log_in is not None and self.join_books is not None:
            await self.log_in.settle()
            await self.join_books.now()

    async def _stop_linking(self) -> None:
        if self._linking is not None:
            self._linking.cancel()
            await asyncio.gather(self._linking, return_exceptions=True)

    async def _prepare_link(self) -> None:
        """Make the payment link before the first caller needs it; whoever needs it sooner shares the attempt."""
        try:
            await self.top_up.prepare()
        except PaymentServiceUnavailable:
            self.report("no payment link yet", why="the payment provider cannot be reached or refuses")
        except Exception as error:
            self.report("no payment link yet", why=type(error).__name__)

    def reload(self, settings: Settings) -> dict[str, Any]:
        """Serve by these routes and upstreams from the next request on; what changed, and what waits for a restart.

        Requests under way keep the route, and so the price, that they were quoted.
        """
        before = {route.name: route for route in self.serve.routes.routes}
        after = {route.name: route for route in settings.routes.routes}
        self.serve.routes = settings.routes
        served = {path for path in self.settings.price_list_aliases if settings.routes.serves(path)}
        self.own_paths -= served  # an upstream's from now on, whatever else waits for a restart
        keys = self._take_up(settings)
        return {
            "reloaded": True,
            "keys": keys,
            "added": [name for name in after if name not in before],
            "changed": [name for name in after if name in before and after[name] != before[name]],
            "removed": [name for name in before if name not in after],
            "needs_restart": [
                field.name
                for field in fields(Settings)
                if field.name not in _RELOADED and getattr(settings, field.name) != getattr(self.settings, field.name)
            ],
        }

    def _take_up(self, settings: Settings) -> list[str]:
        """Use these keys from now on; which of them are others than before."""
        was, now, taken = self.settings, settings, []
        if now.secrets.sealing_keys != was.secrets.sealing_keys:
            self.keyring.renew(now.secrets.sealing_keys)
            taken.append("sealing_keys")
        if now.secrets.peppers != was.secrets.peppers:
            self.peppers.renew(now.secrets.peppers)
            taken.append("peppers")
        if taken:
            self.callers.forget_all()  # what a key made that is gone is not ours any more
        stripe = was.stripe
        if self.payments is not None and stripe is not None and now.stripe is not None and now.mode == was.mode:
            if now.stripe.webhook_secrets != stripe.webhook_secrets:
                taken.append("stripe.webhook_secrets")
            if now.stripe.secret_key != stripe.secret_key:
                taken.append("stripe.secret_key")
            keys: dict[str, Any] = {name: getattr(now.stripe, name) for name in ("secret_key", "webhook_secrets")}
            self.payments.renew(**keys)
            stripe = replace(stripe, **keys)
        ours = replace(was.secrets, sealing_keys=now.secrets.sealing_keys, peppers=now.secrets.peppers)
        self.settings = replace(was, secrets=ours, stripe=stripe)
        return taken

    # --- places -------------------------------------------------------------------------------------------------------

    def add_to(self, app: web.Application) -> None:
        """Add every address of the gateway to an aiohttp application; the proxied ones catch what nothing else does."""
        self.add_own_to(app)
        app.router.add_route("*", f"/{{target:{_ANYTHING}}}", self.proxy.handle, expect_handler=continue_when_paid)

    def add_own_to(self, app: web.Application) -> None:
        """Add our own addresses."""
        visitors = Visitors(
            callers=self.callers, cookies=self.cookies, keyring=self.keyring, clock=self.clock,
            randomness=self.randomness, token_header=self.settings.tokens.header,
        )  # fmt: skip
        stripe = self.settings.stripe
        portal = self.payments if stripe and stripe.customer_portal else None
        auto = AutoPlace(visitors, self.replenish, self.check_out, self.ledger, self.templates, portal)
        subscriptions = SubscriptionPlace(
            visitors, self.subscribe, self.check_out, self.templates,
            payer_is_holder=bool(stripe and stripe.customer_portal),
        )  # fmt: skip
        presets = stripe.choice.presets if stripe else ()
        chooser = ChoosePlace(self.templates, visitors, self.check_out, presets)
        pages = Pages(
            templates=self.templates,
            cookies=self.cookies,
            top_up=self.top_up,
            price=self.price,
            ledger=self.ledger,
            limits=self.limits,
            looks=self.settings.limits.payment_looks,
            visitors=visitors,
            roots=self.aliases,
            log_in=self.log_in,
        )
        wallet = WalletPlace(
            templates=self.templates,
            cookies=self.cookies,
            visitors=visitors,
            top_up=self.top_up,
            price=self.price,
            ledger=self.ledger,
            look_back=self.look_back,
            lines=credit_lines(self.settings),
            provider=self.payments,
            limits=self.limits,
            frozen=self.freezes,
            clock=self.clock,
            routes=lambda: self.serve.routes,
            auto=auto,
            subscriptions=subscriptions,
            codes=self.log_in is not None and self.log_in.mode == "on",
            roots=self.aliases,
        )
        app.on_response_prepare.append(drop_what_was_invented)
        self._add(app, "GET", "/-/", wallet.show)
        self._add(app, "GET", "/-/wallet", wallet.show)
        self._add(app, "GET", "/-/wallet/statement.csv", wallet.statement)
        self._add(app, "GET", "/-/paid", pages.paid)
        quotes = QuotePlace(
            visitors=visitors, routes=lambda: self.serve.routes, ledger=self.ledger, look_back=self.look_back,
            limits=self.limits, frozen=self.freezes, roots=self.aliases, currency=self.settings.currency,
            public_url=self.settings.public_url,
        )  # fmt: skip
        prices = PriceListPlace(
            templates=self.templates, routes=lambda: self.serve.routes, currency=self.settings.currency,
            public_url=self.settings.public_url, top_up=self.price if self.payments is not None else None,
            plans=self.settings.plans if subscriptions.offered else (), header=self.settings.tokens.header,
        )  # fmt: skip
        for path, (alias, handler) in prices.addresses().items():
            self._add(app, "GET", path, handler)
            if alias in self.settings.price_list_aliases:
                self._add(app, "*", alias, self._unless_a_route_serves_it(handler))
        self._add(app, "GET", "/-/api/v1/quote", quotes.quote)
        self._add(app, "POST", "/-/api/v1/quote", quotes.quote)
        self._add(app, "GET", "/-/api/v1/requests/{id}", quotes.request)
        self._add(app, "GET", "/-/style.css", pages.style)
        if self.payments is not None:
            self._add(app, "GET", "/-/wallet/receipt", wallet.receipt)
            self._add(app, "GET", "/-/top-up", chooser.show)
            self._add(app, "POST", "/-/top-up", chooser.choose)
            self._add(app, "POST", "/-/api/v1/top-ups", chooser.order)
        if self.letters is not None:
            letters = LetterPlace(self.templates, self.letters)
            self._add(app, "GET", STOP_PATH, letters.ask)
            self._add(app, "POST", STOP_PATH, letters.stop)
        if subscriptions.offered:
            self._add(app, "POST", "/-/subscribe", subscriptions.choose)
            self._add(app, "POST", "/-/wallet/subscription", subscriptions.cancel)
            self._add(app, "GET", "/-/api/v1/subscriptions", subscriptions.tell)
            self._add(app, "POST", "/-/api/v1/subscriptions", subscriptions.begin)
            self._add(app, "DELETE", "/-/api/v1/subscriptions/{id}", subscriptions.stop)
        if self.log_in is not None and self.log_in.mode == "on":
            codes = CodePlace(visitors, self.log_in, self.limits, self.settings.limits.payment_looks)
            self._add(app, "POST", "/-/wallet/code", codes.enter)
            self._add(app, "POST", "/-/api/v1/codes", codes.tell)
        if self.replenish is not None:
            self._add(app, "POST", "/-/wallet/auto-top-up", auto.change)
            self._add(app, "POST", "/-/wallet/portal", auto.portal)
            self._add(app, "GET", "/-/api/v1/auto-top-up", auto.tell)
            self._add(app, "PUT", "/-/api/v1/auto-top-up", auto.want)
            self._add(app, "DELETE", "/-/api/v1/auto-top-up", auto.stop)
        if self.webhooks is not None and self.settings.stripe is not None:
            place = WebhookPlace(self.webhooks)
            for path in ("/-/webhooks/stripe", *self.settings.stripe.webhook_aliases):
                self._add(app, "POST", path, place.receive)
        for prefix in RESERVED_PREFIXES:
            self._add(app, "*", f"{prefix}{{rest:{_ANYTHING}}}", _nothing_here)

    def _unless_a_route_serves_it(self, handler: Handler) -> Handler:
        """Routes may have come with a reload that serve what was our alias before."""

        async def either(request: web.Request) -> web.StreamResponse:
            if request.path not in self.own_paths:
                return await self.proxy.handle(request)
            if request.method not in ("GET", "HEAD"):
                raise MethodNotAllowed()
            return await handler(request)

        return either

    def _add(self, app: web.Application, method: str, path: str, handler: Handler) -> None:
        bounded = guarded(handler, report=self.report, new_id=self.new_id, tell=self.refusals.tell)
        if method == "GET":
            app.router.add_get(path, bounded, expect_handler=continue_at_once)  # and HEAD
        else:
            app.router.add_route(method, path, bounded, expect_handler=continue_at_once)

    def new_id(self) -> str:
        """The id of a request that is not proxied."""
        return str(RequestId(self.clock.now_ms(), self.numbers.next()))


def url_of(scheme: str, address: tuple[Any, ...]) -> str:
    """The address of a socket, for people."""
    host, port = address[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def connections_max(wanted: int) -> int:
    """How many callers may be connected: not more than the system lets us have sockets for, one more each upstream."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * wanted + _FILES_OF_OURS
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, (soft - _FILES_OF_OURS) // 2))


async def _nothing_here(request: web.Request) -> web.StreamResponse:
    raise NoRoute()


def admin_application(
    settings: Settings,
    ledger: Keeper,
    aliases: Aliases,
    freezes: Freezes,
    clock: Clock,
    *,
    reload: Callable[[], Awaitable[dict[str, Any]]],
    restart: Callable[[], Awaitable[dict[str, Any]]],
    totals: Callable[[], Totals],
    forgotten: Callable[[], int],
) -> web.Application:
    """What the admin listener serves."""
    assert settings.secrets.operator_token is not None, "secrets are made before a gateway is built"
    place = AdminPlace(
        ledger=FollowingDesk(ledger, aliases),
        aliases=aliases,
        freezes=freezes,
        ledger_stuck=lambda: ledger.stuck,
        operator_token=settings.secrets.operator_token,
        currency=settings.currency,
        clock=clock,
        reload=reload,
        restart=restart,
        metrics=lambda: exposition(totals(), ledger_stuck=lambda: ledger.stuck, forgotten=forgotten),
    )
    app = place.application()
    app.on_response_prepare.append(drop_what_was_invented)
    return app


def keeper(
    settings: Settings,
    keyring: Keyring,
    clock: Clock,
    report: Callable[..., None],
    *,
    crew: str = "",
    heir: bool = False,
) -> Keeper:
    """Who keeps the books, in this process: one of a `crew`, whose workers may have outlived the one before it."""
    if settings.store_url is not None:
        return shared_keeper(settings, keyring, clock, report, crew=crew, heir=heir)
    store = ledger_store(settings.store_path, keyring)
    tell = lambda problem: report("ledger", problem=problem)  # noqa: E731
    bookkeeping = SqliteBookkeeping(store, settings.store_path, keyring.subkeys(HEAD_KEY_PURPOSE))
    days = settings.retention.batches_days
    housekeeping = Maintain(bookkeeping, clock, batches_days=days, ledger=lambda: made, report=tell)
    pace = Pace.patient(settings.ledger_seconds)
    archive = SqliteArchive(settings.store_path)
    made = Keeper(Housekept(store, housekeeping), clock, archive=archive, pace=pace, report=tell)
    return made


def shared_keeper(
    settings: Settings, keyring: Keyring, clock: Clock, report: Callable[..., None], *, crew: str, heir: bool
) -> Keeper:
    """Who keeps this host's part of the books that many share."""
    keys = keyring.subkeys(HEAD_KEY_PURPOSE)
    store = shared_store(settings, clock, name=settings.host_name, report=report, crew=crew, heir=heir, head_keys=keys)
    from gateway.adapters.postgres.bookkeeping import PostgresBookkeeping

    bookkeeping = PostgresBookkeeping(database(settings), keys, name=settings.host_name, host=lambda: store.host)
    tell = lambda problem: report("ledger", problem=problem)  # noqa: E731
    days = settings.retention.batches_days
    housekeeping = Maintain(bookkeeping, clock, batches_days=days, ledger=lambda: made, report=tell)
    pace, kept = Pace.patient(settings.ledger_seconds), Housekept(store, housekeeping)
    made = Keeper(kept, clock, lender=store, teller=store, refunds=store, pace=pace, report=tell)
    return made


def ledger_store(path: Path, keyring: Keyring) -> SqliteLedgerStore:
    """The books at `path`; their head is signed by the ring's newest key and may be signed by an older one."""
    keys = keyring.subkeys(HEAD_KEY_PURPOSE)
    store = SqliteLedgerStore(path, head_key=keys[0])
    store.sign_with(keys)
    return store


def shared_limits(url: Secret, near: RateLimits, *, seconds_max: float, clock: Clock) -> RateLimits:
    """Limits that hosts count together. Raises StoreFailed without the extra that they need."""
    try:
        from gateway.adapters.redis import RedisRateLimits
    except ImportError:
        raise StoreFailed("limits.storage at redis://… needs more packages: pip install 'farebox[redis]'") from None
    return RedisRateLimits(url.reveal(), near=near, seconds_max=seconds_max, clock=clock)


def mails(mail: MailSettings) -> Mails:
    """Who sends letters. Raises StoreFailed without the extra that it needs."""
    try:
        from gateway.adapters.mail import SmtpMails
    except ImportError:
        raise StoreFailed("the setting mail needs more packages: pip install 'farebox[mail]'") from None
    return SmtpMails(
        host=mail.host,
        port=mail.port,
        user=mail.user,
        password=mail.password,
        sender=mail.sender,
        starttls=mail.starttls,
    )


def database(settings: Settings) -> "Address":
    """Where the store is, if it is a database. Raises StoreFailed without the extra that it needs."""
    try:
        from gateway.adapters.postgres.sessions import Address
    except ImportError:
        raise StoreFailed("a store at postgresql://… needs more packages: pip install 'farebox[postgres]'") from None
    assert settings.store_url is not None
    return Address(settings.store_url, password=settings.store_password)


def shared_store(
    settings: Settings,
    clock: Clock,
    *,
    name: str,
    report: Callable[..., None],
    crew: str = "",
    heir: bool = False,
    head_keys: Sequence[bytes] = (),
) -> "PostgresLedgerStore":
    """The books that many hosts share; `name` is whose leases and batches ours are. With keys, its head is kept."""
    address = database(settings)
    from gateway.adapters.postgres.head import HostHead
    from gateway.adapters.postgres.ledger import PostgresLedgerStore

    tell = lambda problem: report("ledger", problem=problem)  # noqa: E731
    head = HostHead(SystemFile(head_path(settings)), head_keys, name, tell) if head_keys else None
    return PostgresLedgerStore(address, name=name, clock=clock, report=tell, crew=crew, heir=heir, head=head)


def head_path(settings: Settings) -> Path:
    """Where this host keeps the head of its chain, if the books themselves are in a database."""
    return settings.secrets_path.with_name(f"{settings.host_name}.head")


def records(settings: Settings, keyring: Keyring, randomness: Randomness) -> "SqliteRecords | PostgresRecords":
    """What is known besides the money: beside its file, or in the same database."""
    if settings.store_url is None:
        return SqliteRecords(records_path(settings.store_path), keyring=keyring, randomness=randomness)
    address = database(settings)
    from gateway.adapters.postgres.records import CONNECTIONS_MAX, PostgresRecords

    share = max(1, CONNECTIONS_MAX // settings.workers)
    return PostgresRecords(address, keyring=keyring, randomness=randomness, connections_max=share)


def credit_lines(settings: Settings) -> "SqliteCreditLines | PostgresCreditLines":
    """Who reads payments and accounts out of the books, whoever keeps them."""
    if settings.store_url is None:
        return SqliteCreditLines(settings.store_path)
    address = database(settings)
    from gateway.adapters.postgres.credits import PostgresCreditLines

    return PostgresCreditLines(address)


def statement_books(settings: Settings) -> StatementBooks:
    """Who opens the books for statements, whoever keeps them."""
    if settings.store_url is None:
        return SqliteStatementBooks(settings.store_path)
    address = database(settings)
    from gateway.adapters.postgres.statement import PostgresStatementBooks

    return PostgresStatementBooks(address)


def hears_of_others(records: "SqliteRecords | PostgresRecords", callers: Callers) -> None:
    """What another host puts on record is not remembered otherwise here."""
    if not isinstance(records, SqliteRecords):
        records.recorded, records.forgotten = callers.forget, callers.forget_all


def records_path(store_path: Path) -> Path:
    """The records' file stands beside the money's: `gateway.db`, `gateway.records.db`."""
    return store_path.with_name(f"{store_path.stem}.records{store_path.suffix}")


def mount(app: web.Application, config: Path | str | Settings) -> Gateway:
    """Put the gateway inside an aiohttp application: add this after your own routes, and it serves the rest.

    It opens with the application and closes with it. Run the application with `auto_decompress=False` and
    `handler_cancellation=True` (both are arguments of `web.AppRunner` and `web.run_app`'s runner), so that coded bodies
    pass untouched and abandoned requests are abandoned upstream. Raises SettingsInvalid.
    """
    import os

    settings = config if isinstance(config, Settings) else load(Path(config), os.environ, make_secrets=True)
    gateway = Gateway(settings, report=logs.report)

    async def life(app: web.Application) -> AsyncIterator[None]:
        await gateway.open()
        yield
        await gateway.close()

    app.cleanup_ctx.append(life)
    gateway.add_to(app)
    return gateway
