"""What each process of several does: one keeps the books, the others serve callers.

The keeper's process has the ledger, the request limits and the admin listener, and nothing that a caller can reach. A
worker is a whole gateway but for these. Both obey their parent, and end with it.
"""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from socket import socket
from typing import Any

from aiohttp import web

from gateway.adapters.interprocess.keeper import Counter
from gateway.adapters.interprocess.limits import Counting
from gateway.adapters.interprocess.worker import Line, Reporter
from gateway.adapters.metrics import Counts, Totals
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.app import seen
from gateway.app.addresses import admin_application
from gateway.app.alerting import Alerting
from gateway.app.channel import ToParent, Word
from gateway.app.gateway import Gateway
from gateway.app.logged import request_log
from gateway.app.marketplace import platform
from gateway.app.measured import KEEPER, Pulse, Scrapes, of_process
from gateway.app.operating import Operating
from gateway.app.running import Running, front, refused
from gateway.app.stores import keeper, records, statement_books, witness
from gateway.core.ids import RequestId, RequestNumbers
from gateway.core.keyring import Keyring
from gateway.core.limits import Limiter
from gateway.core.operators import Operators
from gateway.core.readiness import Check, over_all
from gateway.flows.add_up import LookAtOwners
from gateway.flows.follow import Aliases
from gateway.flows.freeze import Freezes
from gateway.flows.keep import Keeper
from gateway.flows.keep.slices import Slices
from gateway.settings import Settings, SettingsInvalid
from gateway.web.lined import lining

LEAVE_GRACE_SECONDS = 2.0
_ASKED_SECONDS_MAX = 120.0
_ORPHAN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Post:
    """Where a process stands: what its parent made for it."""

    settings: Settings
    load: Callable[..., Settings]
    report: Callable[..., None]
    channel: socket
    line_path: str
    slot: int
    name: str
    """Of this process, and of no other that ever was."""
    crew: str
    """Of all processes of this gateway, from its start to its end."""


class Member:
    """One process: it does its work until it is told to stop, or nobody is there to tell it."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.parent = ToParent(self.told, self.orphaned)
        self.stopping = asyncio.Event()
        self.grace_seconds = 0.0
        self.is_orphan = False
        self._reloads: set[asyncio.Task[None]] = set()
        self._questions: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._asked = 0

    async def run(self) -> None:
        """The work. Raises what keeps it from beginning."""
        raise NotImplementedError

    def told(self, word: Word, contents: Any) -> None:
        """A message of the parent."""
        if word is Word.LEAVE:
            self.grace_seconds = LEAVE_GRACE_SECONDS
            self.stopping.set()
        elif word is Word.STOP:
            self.stopping.set()
        elif word is Word.RELOAD:
            task = asyncio.get_running_loop().create_task(self._reload(contents))
            self._reloads.add(task)
            task.add_done_callback(self._reloads.discard)
        elif word is Word.OUTCOME:
            number, outcome = contents
            answer = self._questions.get(number)
            if answer is not None and not answer.done():
                answer.set_result(outcome)

    async def take_up(self, settings: Settings) -> dict[str, Any]:
        """Go on by these settings; what has changed."""
        raise NotImplementedError

    async def _reload(self, number: int) -> None:
        try:
            settings = await asyncio.to_thread(self.post.load)
        except SettingsInvalid as invalid:
            outcome = refused(invalid, self.post.report)
        else:
            outcome = await self.take_up(settings)
        self.parent.say(Word.RELOADED, [number, outcome])

    async def ask(self, what: str) -> dict[str, Any]:
        """Let the parent do it; what came of it."""
        self._asked += 1
        number = self._asked
        answer = self._questions[number] = asyncio.get_running_loop().create_future()
        self.parent.say(Word.ASKED, [number, what])
        try:
            async with asyncio.timeout(_ASKED_SECONDS_MAX):
                outcome: dict[str, Any] = await answer
        finally:
            del self._questions[number]
        return outcome

    def orphaned(self) -> None:
        """The parent is gone: nobody restarts what fails, so nothing goes on."""
        self.is_orphan = True
        self.stopping.set()


class Worker(Member):
    """Serves callers."""

    def __init__(self, post: Post, listening: socket) -> None:
        super().__init__(post)
        self._listening = listening

    async def run(self) -> None:
        post, loop = self.post, asyncio.get_running_loop()
        line = Line(post.line_path, worker=post.name, begone=self.stopping.set)
        gateway = Gateway(post.settings, report=post.report, line=line, slot=post.slot)
        self._running = Running(gateway, load=post.load, listening=self._listening, ask=lambda: self.ask("reload"))
        loop.add_signal_handler(signal.SIGTERM, self.told, Word.LEAVE, None)
        await self.parent.open(post.channel)
        await self._running.start()
        reporter = Reporter(line, lambda: {**self._running.counts().told(), "seen": self._seen()})
        reporter.tell()
        self.parent.say(Word.READY)
        await self.stopping.wait()
        reporter.stop()
        stop = self._running.stop(grace_seconds=self.grace_seconds)
        if self.is_orphan:
            await asyncio.wait([asyncio.ensure_future(stop)], timeout=_ORPHAN_SECONDS)
        else:
            await stop
        self.parent.close()

    def _seen(self) -> dict[str, Any]:
        return {name: check.told() for name, check in self._running.outside().items()}

    async def take_up(self, settings: Settings) -> dict[str, Any]:
        return await self._running.apply(settings)


class KeeperMember(Member):
    """Keeps the books for the workers, and serves the operator."""

    def __init__(self, post: Post, line: socket, admin: socket, *, survivors: tuple[str, ...]) -> None:
        super().__init__(post)
        self._line = line
        self._admin = admin
        self._survivors = survivors
        self._totals = Totals()
        self._numbers = RequestNumbers(slot=post.slot, start=0)
        self._pulse = Pulse()
        self._voided = 0
        self._scrapes: Scrapes | None = None
        self._operating: Operating | None = None
        self._settings = post.settings
        self._alerting: Alerting | None = None
        self._seen: dict[str, dict[str, Check]] = {}
        self._clock = SystemClock()
        self._keyring = Keyring(post.settings.secrets.sealing_keys)
        ours = post.settings.secrets
        self._operators = Operators(ours.operator_token, ours.auditor_token)
        self._records = records(post.settings, self._keyring, SystemRandomness())
        self._routes = post.settings.routes
        self._look = LookAtOwners(statement_books(post.settings))
        self._aliases = Aliases(book=self._records.aliases, clock=self._clock, report=post.report)
        root = self._aliases.root
        self._freezes = Freezes(book=self._records.freezes, clock=self._clock, report=post.report, root=root)
        self._witness = witness(post.settings, self._keyring, self._records, self._clock, post.report)

    async def take_up(self, settings: Settings) -> dict[str, Any]:
        """Only keys, for they sign the books and say who may give orders, and whose routes there are."""
        self._operators.renew(settings.secrets.operator_token, settings.secrets.auditor_token)
        self._keyring.renew(settings.secrets.sealing_keys)
        self._routes = settings.routes
        was = self._settings  # of which all else waits for a restart
        self._settings = replace(was, secrets=settings.secrets, routes=settings.routes, upstreams=settings.upstreams)
        return {"reloaded": True}

    async def run(self) -> None:
        post, settings = self.post, self.post.settings
        heir = bool(self._survivors)
        ledger = keeper(settings, self._keyring, self._clock, post.report, crew=post.crew, heir=heir)
        slices = Slices(ledger, workers=settings.workers, expected=self._survivors, voided=self._given_away)
        limiter = Limiter(settings.limits.subjects_max)
        count = lambda: Counting(limiter, self._clock)  # noqa: E731
        counter = Counter(slices, count=count, counted=self._counted, report=post.report)
        lines = request_log(settings.log, self._clock, worker=None)
        await self.parent.open(post.channel)
        await counter.listen(self._line)
        try:
            recovered = await ledger.open(slices)
            if recovered.count:
                self._given_away(recovered.count, recovered.micros)
            self._scrapes = self._scraping(ledger, slices, limiter)
            self._pulse.start()
            await slices.begin()
            counter.gathered.set()
            await self._records.open()
            operating = Operating(
                settings=lambda: self._settings,
                records=self._records,
                entries=ledger,
                scrapes=self._scrapes,
                operators=self._operators,
                witness=self._witness,
                books=self._look,
                clock=self._clock,
                report=post.report,
            )
            operating.open()
            self._operating = operating
            alerting = self._alerting = Alerting(
                settings,
                self._records,
                workers=self._counts,
                checks=lambda: self._parts(ledger),
                witness=self._witness,
                clock=self._clock,
                report=post.report,
            )
            await alerting.open()
            admin = await self._administer(
                admin_application(
                    settings,
                    ledger,
                    self._aliases,
                    self._freezes,
                    self._clock,
                    witness=self._witness,
                    operators=self._operators,
                    reload=lambda: self.ask("reload"),
                    restart=lambda: self.ask("restart"),
                    metrics=self._scrapes.scrape,
                    inbox=self._records,
                    platform=platform(settings, self._records, self._look, lambda: self._routes, self._clock),
                    parts=lambda: self._parts(ledger),
                    alerts=alerting.place,
                    operating=operating,
                    line=lining(lines, self._new_id),
                )
            )
            self.parent.say(Word.READY)
            await self.stopping.wait()
            if self.is_orphan:
                await counter.emptied(2 * _ORPHAN_SECONDS)
            await admin.cleanup()
        finally:
            self._pulse.stop()
            if self._operating is not None:
                await self._operating.close()
            await counter.close()
            await self._look.close()
            if self._alerting is not None:
                await self._alerting.close()
            await self._witness.close()
            await self._records.close()
            await ledger.close()
            await asyncio.to_thread(lines.close)
        self.parent.close()

    def _parts(self, ledger: Keeper) -> dict[str, Check]:
        return {**seen.ledger(ledger, draining=self.stopping.is_set()), **self._of_workers()}

    def _given_away(self, requests: int, micros: int) -> None:
        """Of a process that has crashed: this one's predecessor, or a worker."""
        self._voided += requests
        self.post.report("given away after a crash", requests=requests, micros=micros)

    def _scraping(self, ledger: Keeper, slices: Slices, limiter: Limiter) -> Scrapes:
        settings = self.post.settings
        return Scrapes(
            workers=self._counts,
            wanted=settings.workers,
            ledger=ledger,
            slices=lambda: slices.count,
            forgotten=lambda: limiter.forgotten,
            records=self._records,
            hears=settings.stripe is not None,
            clock=self._clock,
            voided=lambda: self._voided,
        )

    def _counts(self) -> tuple[Counts, int]:
        """All workers together, how this process is, and how many workers there are."""
        counts = self._totals.sum()
        of_process(counts, KEEPER, self._pulse)
        return counts, self._totals.workers

    async def _administer(self, app: web.Application) -> web.AppRunner:
        runner = front(app, self.post.settings, report=self.post.report, new_id=self._new_id)
        await runner.setup()
        await web.SockSite(runner, self._admin, backlog=128).start()
        return runner

    def _new_id(self) -> str:
        return str(RequestId(self._clock.now_ms(), self._numbers.next()))

    def _counted(self, worker: str, told: Any) -> None:
        """What a worker has counted; None when it has ended."""
        if told is None:
            self._totals.ended(worker)
            self._seen.pop(worker, None)
        else:
            self._totals.hear(worker, Counts.heard(told))
            self._seen[worker] = {name: Check.heard(one) for name, one in told["seen"].items()}

    def _of_workers(self) -> dict[str, Check]:
        """What all workers see, and whether all are there."""
        there, wanted = len(self._seen), self.post.settings.workers
        return {"workers": Check(there >= wanted, f"{there} of {wanted} are there"), **over_all(self._seen.values())}

    def told(self, word: Word, contents: Any) -> None:
        super().told(word, contents)
        if word is Word.OUTCOME:
            _, outcome = contents
            if "reloaded" in outcome and self._scrapes is not None:
                self._scrapes.reloaded(taken=outcome["reloaded"])
