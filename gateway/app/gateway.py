"""One gateway, put together: `Gateway` is its parts by name, its life, and the addresses that it serves.

Putting it together does not touch the world. `open` opens files and starts background work, `close` ends it in the
order in which nothing is lost: no new requests, requests in flight, webhooks, ledger.
"""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.adapters import logs
from gateway.adapters.alerts import AlertBook
from gateway.adapters.interprocess.limits import SharedRateLimits
from gateway.adapters.interprocess.worker import BorrowedLedgerStore, Line
from gateway.adapters.metrics import Tally
from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.adapters.route_use import RecordedUse
from gateway.adapters.sqlite.scratch import SqliteScratch
from gateway.adapters.system import SystemClock, SystemRandomness, alone
from gateway.app import logged
from gateway.app.addresses import OLDER_PATH, Addresses
from gateway.app.authorizing import Authorizing
from gateway.app.identity import Identity
from gateway.app.paying import Paying
from gateway.app.stores import credit_lines, keeper, records, shared_limits, statement_books, witness
from gateway.app.tokens import hand_out
from gateway.app.upkeep import Upkeep
from gateway.core import compat
from gateway.core.ids import RequestId, RequestNumbers
from gateway.core.keyring import Keyring
from gateway.core.limits import Limiter
from gateway.core.places import Places
from gateway.core.refusals import GatewayBusy, RecordsUnavailable
from gateway.core.routes import changes
from gateway.core.versions import version_of
from gateway.flows import count_spending, record_use
from gateway.flows.add_up import LookAtOwners
from gateway.flows.admit import Admit
from gateway.flows.checkpoint import Checkpoints
from gateway.flows.count_spending import CountSpending
from gateway.flows.keep import Keeper, Pace, Recovered
from gateway.flows.maintain import DAY_MS
from gateway.flows.note_prices import NotePrices
from gateway.flows.once import RENEW_SECONDS, Bounds, Once
from gateway.flows.own_routes import OwnRoutes
from gateway.flows.record_meters import RecordMeters
from gateway.flows.record_use import RecordUse
from gateway.flows.rounds import Rounds
from gateway.flows.serve import Serve
from gateway.flows.statement import LookBack
from gateway.ports import Door, RateLimits, Served, StoreFailed, StoreLocked
from gateway.relay.lending import Borrower
from gateway.relay.listener import Relay
from gateway.settings import Settings
from gateway.web.answers import internal_error, log_failure
from gateway.web.charging import OLDER_BELOW, OLDER_PATHS
from gateway.web.front import Sparing
from gateway.web.owners import OLDER_ACCOUNT_PATH
from gateway.web.proxy import Proxy
from gateway.web.refusals import Refusals, as_problem
from gateway.web.templates import Templates

_RELOADED = frozenset(("routes", "upstreams"))
_FILES_OF_OURS = 64  # the books, the records, the logs, the webhooks that are being received


class OwnPaths(set[str]):
    """Our own paths at the root; one that ends with `/{id}` is that of everything there."""

    def __contains__(self, path: object) -> bool:
        if super().__contains__(path):
            return True
        return isinstance(path, str) and super().__contains__(path[: path.rfind("/") + 1] + "{id}")


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
        self.slot = slot
        self.report = report
        self.clock = SystemClock()
        self.loaded_ms = self.clock.now_ms()
        """When these settings were taken up."""
        self.version = version_of(settings.routes.routes, settings.upstreams)
        self.randomness = SystemRandomness()
        self.keyring = Keyring(settings.secrets.sealing_keys)
        self.records = records(settings, self.keyring, self.randomness)
        self.witness = witness(settings, self.keyring, self.records, self.clock, report)
        self.note_prices = NotePrices(book=self.records.trail, witness=self.witness, first=slot == 0)
        self.ledger = self._ledger(line)
        self.limiter = Limiter(settings.limits.subjects_max)
        self.limits = self._limits(line)
        self.identity = Identity(
            settings,
            self.keyring,
            self.records,
            clock=self.clock,
            randomness=self.randomness,
            report=report,
            line=line,
            slot=slot,
            limits=self.limits,
            witness=self.witness,
        )
        self.hand_out = hand_out(
            settings,
            self.records,
            keyring=self.keyring,
            peppers=self.identity.peppers,
            roots=self.identity.aliases,
            callers=self.identity.callers,
            recorded=self.identity.token_recorded,
            routes=lambda: {route.name for route in self.serve.routes.routes},
            clock=self.clock,
            randomness=self.randomness,
            witness=self.witness,
            origin="api",
        )
        self.oauth = self._oauth()
        self.paying = Paying(
            settings,
            self.identity,
            self.records,
            self.ledger,
            self.limits,
            clock=self.clock,
            randomness=self.randomness,
            report=report,
            first=slot == 0,
        )
        self.record_meters = self._record_meters()
        self.checkpoints = Checkpoints(self.ledger)
        self.upkeep = Upkeep(
            records=self.records,
            callers=self.identity.callers,
            freezes=self.identity.freezes,
            ended=self.identity.ended,
            caps=self.identity.caps,
            aliases=self.identity.aliases,
            plans=self.identity.plans,
            join_books=self.paying.join_books,
            call_in=self.identity.call_in,
            follow_tokens=self.identity.follow_tokens,
            clock=self.clock,
            events_days=settings.retention.events_days,
            kept_bytes_max=settings.idempotency.answers_bytes_max,
            meters=self.record_meters,
            checkpoints=self.checkpoints,
            first=slot == 0,
            clean=self.oauth.authorize.clean if self.oauth else None,
        )
        self.numbers = RequestNumbers(slot=slot, start=int.from_bytes(self.randomness.bytes(4)))
        self.templates = Templates()
        self.request_log = logged.request_log(settings.log, self.clock, worker=slot)
        self.tally = Tally(served or self.request_log, currency=settings.currency)
        self.once = self._once()
        self.serve = self._serve(self.tally)
        self.refusals = self._refusals()
        self.look_back = LookBack(statement_books(settings), SqliteScratch, self.clock)
        self.proxy = self._proxy()
        self.own_paths = OwnPaths(
            {
                *(settings.stripe.webhook_aliases if settings.stripe else ()),
                *settings.price_list_aliases,
                *(settings.licences.aliases if settings.licences else ()),
                *(path for path in self._older_paths() if not settings.routes.serves(path)),
            }
        )
        self.own_routes: OwnRoutes | None = None
        """How owners change their own routes; whoever runs this gateway sets it, if its configuration can be reread."""
        self.look_at_owners = LookAtOwners(statement_books(settings))
        self.route_use = RecordUse(RecordedUse(self.records.ask), counted=self.tally.measures, clock=self.clock)
        self.spending = CountSpending(
            AlertBook(self.records.ask), take=self.tally.take_spent, roots=self.identity.aliases, clock=self.clock
        )
        self.door: Door | None = None
        """Where callers come in, once it is open."""
        self.left_out: Callable[[], Mapping[str, tuple[int, int]]] = dict
        """Of which upstreams how many servers get no requests, of how many."""
        self.recovered = Recovered(0, 0)
        self._opened = AsyncExitStack()

    # --- parts --------------------------------------------------------------------------------------------------------

    def _ledger(self, line: Line | None) -> Keeper:
        if line is None:
            return keeper(self.settings, self.keyring, self.clock, self.report)
        store = BorrowedLedgerStore(line)
        report = lambda problem: self.report("ledger", problem=problem)  # noqa: E731
        pace = Pace.of_a_worker(self.settings.ledger_seconds)
        lines = credit_lines(self.settings)
        return Keeper(store, self.clock, lender=store, teller=store, cap_lines=lines, pace=pace, report=report)

    def _limits(self, line: Line | None) -> RateLimits:
        near = SharedRateLimits(line, self.clock) if line else MemoryRateLimits(self.clock, self.limiter)
        limits = self.settings.limits
        if limits.storage_url is None:
            return near
        return shared_limits(limits.storage_url, near, seconds_max=limits.storage_seconds_max, clock=self.clock)

    def _oauth(self) -> Authorizing | None:
        if self.settings.oauth is None:
            return None
        return Authorizing(
            self.settings,
            self.settings.oauth,
            self.identity,
            self.records,
            self.hand_out,
            routes=lambda: self.serve.routes,
            limits=self.limits,
            witness=self.witness,
            clock=self.clock,
            randomness=self.randomness,
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
            roots=self.identity.aliases,
        )

    def _serve(self, served: Served) -> Serve:
        return Serve(
            routes=self.settings.routes,
            callers=self.identity.callers,
            limits=Admit(limits=self.limits, ledger=self.ledger, uncounted=self.tally.uncounted),
            ledger=self.ledger,
            till=self.paying.replenish or self.paying.top_up,
            served=served,
            now=time.monotonic,
            places=Places(share=self.settings.workers),
            spent=self.paying.spent(),
            screen=self.paying.screen.refusal,
            once=self.once,
            capped=self.paying.watch_caps.reached if self.paying.watch_caps else None,
            plans=self.identity.plans.of,
            also_told=compat.balance if "stripeflare" in self.settings.compat else None,
            cors=self.settings.cors,
            measured=self.record_meters.ended if self.record_meters is not None else None,
            checkpoints=self.checkpoints,
        )

    def _record_meters(self) -> RecordMeters | None:
        kept = self.settings.retention
        if not kept.readings_days:
            return None
        keep_ms = kept.readings_days * DAY_MS
        return RecordMeters(book=self.records.readings, clock=self.clock, keep_ms=keep_ms, rows_max=kept.readings_max)

    def _older_paths(self) -> tuple[str, ...]:
        """Where callers of other systems are used to find us; a route that serves one of them goes first."""
        asked = self.settings.sign_in
        names = asked.providers if asked.older_paths else ()
        own: tuple[str, ...] = (compat.ME, compat.ROTATE) if "stripeflare" in self.settings.compat else ()
        if self.settings.connect is not None and self.settings.connect.older_paths:
            own = (*own, OLDER_ACCOUNT_PATH)
        if self.settings.charging is not None and self.settings.charging.older_paths:
            own = (*own, *(OLDER_BELOW + path for path in OLDER_PATHS))
        return (*own, *(f"{OLDER_PATH}/{name}/{step}" for name in names for step in ("start", "callback")))

    def _refusals(self) -> Refusals:
        stripe = self.settings.stripe
        return Refusals(
            templates=self.templates,
            cookies=self.identity.cookies,
            public_url=self.settings.public_url,
            presets=stripe.choice.presets if stripe else (),
            recognises=self.paying.log_in is not None and self.paying.log_in.mode != "off",
            header=self.settings.tokens.header,
            compat=self.settings.compat,
            sign_ins=tuple(one for one in self.settings.sign_in.providers.values() if one.kind == "sign_in"),
        )

    def _proxy(self) -> Proxy:
        settings = self.settings
        return Proxy(
            serve=self.serve,
            refusals=self.refusals,
            clock=self.clock,
            numbers=self.numbers,
            cookie=self.identity.cookies.name,
            scheme=settings.public_url.partition("://")[0],
            body_bytes_max=settings.limits.request_body_bytes_max,
            head_bytes_max=settings.limits.request_head_bytes_max,
            report=self.report,
            trusted=settings.trusted_proxies,
            trust_unix=settings.trust_unix,
            fields_max=settings.limits.request_fields_max,
            body_seconds=settings.timeouts.body_seconds,
            issuer=settings.public_url,
            trace=settings.trace,
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
            cookie=self.identity.cookies.name,
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
            trace=settings.trace,
            chance=lambda: int.from_bytes(self.randomness.bytes(4)) / 2**32,
        )

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Open the books and the records and take up what a stop left. Raises StoreDamaged, StoreLocked.

        Whatever was opened is closed again by `close`, in the reverse order, also when a later part could not open.
        """
        self._opened.push_async_callback(asyncio.to_thread, self.request_log.close)
        self._opened.push_async_callback(self.proxy.close)
        self._opened.push_async_callback(self.identity.close)
        if self.oauth is not None:
            self._opened.push_async_callback(self.oauth.close)
        self._opened.push_async_callback(self.look_back.close)
        self._opened.push_async_callback(self.look_at_owners.close)
        self._opened.push_async_callback(self.paying.leave)
        self._opened.push_async_callback(self.limits.close)
        await self.limits.open()
        self._opened.push_async_callback(self.ledger.close)
        self.recovered = await self.ledger.open()  # first: its lock keeps a second gateway away from all files
        self._opened.push_async_callback(self.records.close)
        await self.records.open()
        self._opened.push_async_callback(self.witness.close)
        self._opened.push_async_callback(self.route_use.leave)
        self._opened.push_async_callback(self.spending.leave)
        work = [
            Rounds(self.route_use.write, every_seconds=record_use.EVERY_SECONDS, name="use of routes"),
            Rounds(self.spending.write, every_seconds=count_spending.EVERY_SECONDS, name="what accounts spend"),
        ]
        if self.slot == 0:
            work.append(Rounds(self.route_use.drop_old, every_seconds=DAY_MS / 1000, name="old use of routes"))
        for one in work:
            one.open()
            self._opened.push_async_callback(one.close)
        renewing = Rounds(self.once.renew, every_seconds=RENEW_SECONDS, name="idempotency claims")
        renewing.open()
        self._opened.push_async_callback(renewing.close)
        self._opened.push_async_callback(self.once.close)
        if self.recovered.count:
            self.report("given away after a crash", requests=self.recovered.count, micros=self.recovered.micros)
        self._opened.push_async_callback(self.upkeep.close)
        await self.upkeep.open()
        self._opened.push_async_callback(self.paying.close)
        await self.paying.open()
        try:
            await self.note_prices.begin(self.settings.routes.routes)
        except RecordsUnavailable as unavailable:
            raise StoreFailed("the trail cannot be written") from unavailable
        self._opened.push_async_callback(self.identity.signing_in.leave)
        await self.identity.signing_in.open()

    async def close(self) -> None:
        """After the last request has ended: finish what is under way and let go of the files, whatever else fails."""
        await self._opened.aclose()

    def reload(self, settings: Settings) -> dict[str, Any]:
        """Serve by these routes and upstreams from the next request on; what changed, and what waits for a restart.

        Requests under way keep the route, and so the price, that they were quoted.
        """
        changed = changes(self.serve.routes.routes, settings.routes.routes)
        self.serve.routes = settings.routes
        aliases = (*self.settings.price_list_aliases, *self._older_paths())
        served = {path for path in aliases if settings.routes.serves(path)}
        self.own_paths -= served  # an upstream's from now on, whatever else waits for a restart
        keys = self._take_up(settings)
        self.loaded_ms = self.clock.now_ms()
        self.version = version_of(settings.routes.routes, settings.upstreams)
        return {
            "reloaded": True,
            "keys": keys,
            **changed,
            "needs_restart": [
                field.name
                for field in fields(Settings)
                if field.name not in _RELOADED and getattr(settings, field.name) != getattr(self.settings, field.name)
            ],
        }

    def _take_up(self, settings: Settings) -> list[str]:
        """Use these keys from now on; which of them are others than before."""
        was = self.settings
        taken = self.identity.renew(was, settings)
        others, stripe = self.paying.renew(was, settings)
        secrets = replace(
            was.secrets,
            sealing_keys=settings.secrets.sealing_keys,
            peppers=settings.secrets.peppers,
            jwt_keys=settings.secrets.jwt_keys,
            operator_token=settings.secrets.operator_token,
            auditor_token=settings.secrets.auditor_token,
        )
        services = settings.services if self.paying.services is not None else was.services
        self.settings = replace(was, secrets=secrets, stripe=stripe, services=services, upstreams=settings.upstreams)
        return taken + others

    # --- places -------------------------------------------------------------------------------------------------------

    def add_to(self, app: web.Application) -> None:
        """Add every address of the gateway to an aiohttp application; the proxied ones catch what nothing else does."""
        addresses = Addresses(self, app)
        addresses.add_own()
        addresses.add_proxy()

    def add_own_to(self, app: web.Application) -> None:
        """Add our own addresses."""
        Addresses(self, app).add_own()

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


def mount(app: web.Application, config: Path | str | Settings) -> Gateway:
    """Put the gateway inside an aiohttp application: add this after your own routes, and it serves the rest.

    It opens with the application and closes with it. Run the application with `auto_decompress=False` and
    `handler_cancellation=True` (both are arguments of `web.AppRunner` and `web.run_app`'s runner), so that coded bodies
    pass untouched and abandoned requests are abandoned upstream. Raises SettingsInvalid; the application's start raises
    StoreLocked where another process on this host has the gateway of this `host_name` mounted.
    """
    import os

    from gateway.settings import load  # in this very process: another's may have threads, and is not ours to fork

    settings = config if isinstance(config, Settings) else load(Path(config), os.environ, make_secrets=True)
    gateway = Gateway(settings, report=logs.report_as_guest)

    async def life(app: web.Application) -> AsyncIterator[None]:
        # A server of several processes starts each of them so, and the last would fence all the others, for good.
        # `gateway run` needs no such lock: its workers have one keeper, and who starts it twice meets its own address.
        name = settings.host_name
        with alone(settings.secrets_path.with_name(f"{name}.lock")) as is_alone:
            if not is_alone:
                raise StoreLocked(
                    f"another process on this host has the gateway {name!r} mounted: run one process, give each its own"
                    " `host_name` on one PostgreSQL, or let `gateway run` have `workers`"
                )
            await gateway.open()
            yield
            await gateway.close()

    app.cleanup_ctx.append(life)
    gateway.add_to(app)
    return gateway
