"""What operators see and do on the admin listener, put together for whichever process has it."""

from collections.abc import Awaitable, Callable, Mapping
from importlib import metadata
from typing import TYPE_CHECKING

from aiohttp import web

from gateway.adapters.jobs import JobBook
from gateway.adapters.metrics import Counts
from gateway.adapters.operators import OperatorRecords
from gateway.adapters.ratelimits import MemoryRateLimits
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.adapters.system import SystemRandomness
from gateway.app.by_hand import PaymentsThere
from gateway.core.counting import Durations
from gateway.core.lately import Lately, Look
from gateway.core.operators import Operators
from gateway.core.readiness import Check
from gateway.flows.add_up import LookAtOwners
from gateway.flows.let_in import LetIn
from gateway.flows.rounds import Rounds
from gateway.ports import Clock, Entries, Witnesses
from gateway.settings import Settings
from gateway.web.admin_api import admin_document
from gateway.web.alerts import Calling
from gateway.web.alerts_by_hand import AlertsByHand
from gateway.web.operator_calls import ByHand, OperatorCalls
from gateway.web.operator_pages import OperatorPages
from gateway.web.status import OPERATOR_FIELD
from gateway.web.templates import Templates
from gateway.web.watched import LATELY_SECONDS, Watched

if TYPE_CHECKING:
    from gateway.app.measured import Scrapes
    from gateway.app.stores import Records

_LOOK_SECONDS = 5.0
_CLEAN_SECONDS = 3600.0


class Operating:
    """The pages and calls, and the rounds that they need. `settings` are those that hold now, keys among them."""

    def __init__(
        self,
        *,
        settings: Callable[[], Settings],
        records: "Records",
        entries: Entries,
        scrapes: "Scrapes",
        operators: Operators,
        witness: Witnesses,
        books: LookAtOwners,
        clock: Clock,
        report: Callable[..., None],
    ) -> None:
        now = settings()
        self._records = records
        self._scrapes = scrapes
        self._witness = witness
        self._books = books
        self._clock = clock
        self._settings = settings
        self._lately = Lately(LATELY_SECONDS)
        self._let_in = LetIn(
            book=OperatorRecords(records.ask),
            operators=operators,
            limits=MemoryRateLimits(clock),
            witness=witness,
            clock=clock,
            randomness=SystemRandomness(),
        )
        self._jobs = JobBook(records.ask, shared=not isinstance(records, SqliteRecords))
        self._by_hand = ByHand(
            payments=PaymentsThere(settings, entries, report=report) if now.stripe is not None else None,
            jobs=self._jobs,
            outbox=records.outbox,
            clock=clock,
        )
        self._rounds = (
            Rounds(self._look, every_seconds=_LOOK_SECONDS, name="the last minutes"),
            Rounds(self._let_in.clean, every_seconds=_CLEAN_SECONDS, name="old sessions of operators"),
        )

    def open(self) -> None:
        for one in self._rounds:
            one.open()

    async def close(self) -> None:
        for one in self._rounds:
            await one.close()

    def add_to(
        self,
        app: web.Application,
        checks: Callable[[], Awaitable[Mapping[str, Check]]],
        alerts: AlertsByHand,
    ) -> None:
        """The addresses; after all others, because the document tells of those that there are."""
        watched = Watched(
            lately=self._lately,
            numbers=self._numbers,
            checks=checks,
            books=self._books,
            inbox=self._records,
            jobs=self._jobs,
            trail=self._records.trail,
            servers=lambda: {name: len(one.servers) for name, one in self._settings().upstreams.items()},
            clock=self._clock,
        )
        OperatorPages(
            let_in=self._let_in,
            watched=watched,
            by_hand=self._by_hand,
            witness=self._witness,
            templates=Templates(),
            randomness=SystemRandomness(),
            alerts=alerts,
        ).add_to(app)
        OperatorCalls(
            watched=watched,
            by_hand=self._by_hand,
            trail_of=lambda request: Calling(self._witness, request.headers.get(OPERATOR_FIELD, "")),
            document=lambda: admin_document(_addresses(app), version=metadata.version("farebox")),
        ).add_to(app)

    async def _look(self) -> None:
        self._lately.look(look_at(self._scrapes.of_workers(), self._clock.now_ms()))

    async def _numbers(self) -> dict[tuple[str, ...], float]:
        counts = await self._scrapes.gather()
        self._lately.look(look_at(counts, self._clock.now_ms()))
        return {**counts.counters, **counts.gauges}


def look_at(counts: Counts, now_ms: int) -> Look:
    """What the last minutes are told from: requests of all routes together."""
    statuses: dict[str, int] = {}
    codes: dict[str, int] = {}
    for key, number in counts.counters.items():
        if key[0] == "gateway_requests":
            statuses[key[2]] = statuses.get(key[2], 0) + int(number)
        elif key[0] == "gateway_refusals":
            codes[key[2]] = codes.get(key[2], 0) + int(number)
    took = Durations()
    for key, durations in counts.durations.items():
        if key[0] == "gateway_request_seconds":
            took.add(durations)
    return Look(now_ms, statuses, codes, tuple(took.buckets))


def _addresses(app: web.Application) -> list[tuple[str, str]]:
    return [
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method in ("GET", "POST")
    ]
