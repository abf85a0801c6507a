"""Alerts, put together where the books are kept: who looks, who tells, and the operator's calls about them."""

import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from gateway.adapters.alerts import AlertBook
from gateway.adapters.certificates import days_left
from gateway.adapters.metrics import Counts
from gateway.adapters.outgoing import HttpSender
from gateway.app.audited import Audits
from gateway.app.ways_to_pay import mails
from gateway.core.alerts import Sign, Thresholds
from gateway.core.readiness import Check
from gateway.flows.rounds import Rounds
from gateway.flows.tell_operators import ROUND_SECONDS, TellOperators
from gateway.flows.watch import PAID, Watch
from gateway.flows.watch_spending import WatchSpending
from gateway.flows.watch_surges import Series, WatchSurges
from gateway.ports import Clock, Witnesses
from gateway.settings import Settings
from gateway.web.alerts import AlertPlace
from gateway.web.alerts_by_hand import AlertsByHand

if TYPE_CHECKING:
    from gateway.app.stores import Records

_GUESSES = "unknown_token"
_LEASE_ROUNDS = 4
_LEASE_SECONDS_MIN = 20.0


def teller(settings: Settings, records: "Records", *, clock: Clock, report: Callable[..., None]) -> TellOperators:
    """Who tells operators, if anybody is told. Raises StoreFailed without the extra that `mail` needs."""
    given = settings.alerts
    return TellOperators(
        outbox=records.outbox,
        sends=HttpSender(given.url, private=given.private_addresses) if given.url else None,
        secrets=given.secrets,
        mails=mails(settings.mail) if settings.mail and given.mail_to else None,
        addresses=given.mail_to,
        live=settings.mode == "live",
        clock=clock,
        report=report,
    )


class Alerting:
    """One host's. `workers` tells what its processes have counted, `checks` how its parts stand."""

    def __init__(
        self,
        settings: Settings,
        records: "Records",
        *,
        workers: Callable[[], tuple[Counts, int]],
        checks: Callable[[], Mapping[str, Check]],
        witness: Witnesses,
        clock: Clock,
        report: Callable[..., None],
    ) -> None:
        self._settings = settings
        self._workers = workers
        self._checks = checks
        self._clock = clock
        self._opened = AsyncExitStack()
        given, limits = settings.alerts, settings.alerts.thresholds
        book = AlertBook(records.ask)
        self.teller = teller(settings, records, clock=clock, report=report)
        by_hand = AlertsByHand(alerts=book, test=self.teller.test, clock=clock, new_id=lambda: f"test_{clock.now_ms()}")
        self.place = AlertPlace(by_hand, witness)
        surges = WatchSurges(series(limits), counts=book, sources=book, factor=limits.surge_factor)
        self.audits = _audits(settings, records, clock=clock, report=report)
        spending = WatchSpending(book, least=limits.spend_least, factor=limits.spend_factor)
        self.watch = Watch(
            alerts=book,
            counts=book,
            sources=book,
            inbox=records,
            thresholds=limits,
            counted=lambda: measures(self._workers()[0]),
            here=self.here,
            also=[surges.look, spending.look, *([self.audits.look] if self.audits else [])],
            tells=(given.tells, settings.notices is not None),
            who=settings.host_name,
            lease_ms=int(max(_LEASE_ROUNDS * given.every_seconds, _LEASE_SECONDS_MIN) * 1000),
            remind_ms=given.remind_ms,
            ends_ms=given.ends_ms,
            keep_ms=settings.retention.events_days * 86_400_000,
            clock=clock,
        )

    async def open(self) -> None:
        """Begin. The records are open."""
        if self._settings.alerts.tells:
            self._opened.push_async_callback(self.teller.close)
            self._again(self.teller.deliver, ROUND_SECONDS, "alerts that are told")
        if self.audits is not None:
            self._opened.push_async_callback(self.audits.close)
        self._again(self.watch.look, self._settings.alerts.every_seconds, "alerts")

    async def close(self) -> None:
        """Stop. The records are still open."""
        await self._opened.aclose()

    def _again(self, work: Callable[[], Awaitable[None]], seconds: float, name: str) -> None:
        rounds = Rounds(work, every_seconds=seconds, name=name)
        rounds.open()
        self._opened.push_async_callback(rounds.close)

    # --- this host ----------------------------------------------------------------------------------------------------

    async def here(self) -> Sequence[Sign]:
        """What is wrong with this host, as far as it knows."""
        limits, host = self._settings.alerts.thresholds, self._settings.host_name
        signs, checks = [], self._checks()
        if not checks["ledger"].ok:
            signs.append(Sign("ledger_stuck", host))
        free = self._disk_free()
        if free < limits.disk_bytes:
            signs.append(Sign("disk_low", host, {"free_bytes": free}))
        signs += self._stale(checks)
        until = _reconciled_until(self._workers()[0])
        behind = None if until is None else self._clock.now_ms() // 1000 - until
        if behind is not None and behind * 1000 > limits.reconciled_ms:
            signs.append(Sign("reconciler_behind", host, {"behind_seconds": int(behind)}))
        return signs

    def _disk_free(self) -> int:
        """Of the store's folder, or of the log's if that has less."""
        folders = [self._settings.secrets_path.parent]
        if self._settings.log.file is not None:
            folders.append(self._settings.log.file.parent)
        return min((shutil.disk_usage(folder).free for folder in folders if folder.exists()), default=2**62)

    def _stale(self, checks: Mapping[str, Check]) -> list[Sign]:
        limits, host = self._settings.alerts.thresholds, self._settings.host_name
        issuers = checks.get("issuers")
        signs = [Sign("keys_stale", f"{host} issuers")] if issuers is not None and not issuers.ok else []
        if self._settings.tls is not None:
            left = days_left(self._settings.tls.certificate, self._clock.now_ms())
            if left is not None and left < limits.certificate_days:
                signs.append(Sign("keys_stale", f"{host} certificate", {"days_left": int(left)}))
        return signs


def _audits(settings: Settings, records: "Records", *, clock: Clock, report: Callable[..., None]) -> Audits | None:
    if "books_imbalance" in settings.alerts.thresholds.unwatched:
        return None
    return Audits(settings, records, every_seconds=settings.alerts.audit_seconds, clock=clock, report=report)


def series(limits: Thresholds) -> tuple[Series, ...]:
    """What may surge."""
    return (
        Series("unpaid_surge", limits.surge_least, measure="unpaid"),
        Series("errors_surge", limits.surge_least, measure="failed"),
        Series("payment_velocity", limits.payments_least, types=PAID),
    )


def measures(counts: Counts) -> dict[str, int]:
    """What is summed up over all hosts, out of what one has counted."""
    found = {"webhooks.refused": 0, "unpaid": 0, "failed": 0, "guessed": 0}
    for (name, *labels), number in counts.counters.items():
        if name == "gateway_webhooks_received" and labels == ["refused"]:
            found["webhooks.refused"] += int(number)
        elif name == "gateway_requests" and labels[1] == "402":
            found["unpaid"] += int(number)
        elif name == "gateway_requests" and labels[1][:1] == "5":
            found["failed"] += int(number)
        elif name == "gateway_refusals" and labels[1] == _GUESSES:
            found["guessed"] += int(number)
    return found


def _reconciled_until(counts: Counts) -> float | None:
    """Up to when the provider's events were compared, by the worker that does."""
    found = [number for key, number in counts.gauges.items() if key[0] == "gateway_reconciled_timestamp_seconds"]
    return max(found, default=None)
