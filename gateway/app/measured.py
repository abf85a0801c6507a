"""What is told to Prometheus besides requests: plain numbers of the parts of a process, looked at when it tells.

A worker tells once a second, the process of the books when it is asked. What the records hold is asked of them, within
a bound, so that a database that hangs costs a scrape some rows and not its end.
"""

import asyncio
import os
import platform
import resource
import time
from collections import deque
from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING

from gateway.adapters.alerts import AlertBook
from gateway.adapters.jobs import JobBook
from gateway.adapters.metrics import Counts, exposition
from gateway.adapters.payouts import RecordedPayouts
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.alerts import NAMES
from gateway.core.refusals import RecordsUnavailable
from gateway.ports import Clock

if TYPE_CHECKING:
    from gateway.adapters.postgres.records import PostgresRecords
    from gateway.app.gateway import Gateway
    from gateway.flows.keep import Keeper
    from gateway.relay.listener import Relay

RECORDS_SECONDS_MAX = 2.0
_BEAT_SECONDS = 0.25
_BEATS = 5  # a little more than a second
_PAGE_BYTES = resource.getpagesize()
KEEPER = "keeper"


class Pulse:
    """Says how late the event loop was at worst lately."""

    def __init__(self) -> None:
        self._late: deque[float] = deque(maxlen=_BEATS)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        due = time.monotonic() + _BEAT_SECONDS

        def beat() -> None:
            nonlocal due
            now = time.monotonic()
            self._late.append(max(0.0, now - due))
            due = now + _BEAT_SECONDS
            self._timer = loop.call_later(_BEAT_SECONDS, beat)

        self._timer = loop.call_later(_BEAT_SECONDS, beat)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def lag_seconds(self) -> float:
        return max(self._late, default=0.0)


def of_process(counts: Counts, worker: str, pulse: Pulse) -> None:
    """What the system knows of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    gauges = {
        "gateway_loop_lag_seconds": pulse.lag_seconds,
        "gateway_process_cpu_seconds": used.ru_utime + used.ru_stime,
        "gateway_process_max_fds": float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }
    try:  # only Linux tells
        with open("/proc/self/statm", "rb") as statm:
            gauges["gateway_process_resident_bytes"] = int(statm.read().split()[1]) * _PAGE_BYTES
        gauges["gateway_process_open_fds"] = len(os.listdir("/proc/self/fd")) - 1
    except OSError:
        pass
    for name, number in gauges.items():
        counts.gauges[name, worker] = number


def of_worker(gateway: "Gateway", relay: "Relay | None", pulse: Pulse) -> Counts:
    """Everything that a process counts that serves callers, requests among it."""
    worker = str(gateway.slot)
    counts = gateway.tally.counts()
    counters, gauges = counts.counters, counts.gauges
    gauges["gateway_holds_open", worker] = gateway.ledger.holds_open
    gauges["gateway_config_loaded_timestamp_seconds", worker] = gateway.loaded_ms / 1000
    gauges["gateway_config_version", worker, gateway.version] = 1
    gauges["gateway_cache_entries", worker, "callers"] = gateway.identity.callers.remembered
    gauges["gateway_limits_store_down", worker] = gateway.limits.down
    counters["gateway_limits_store_failures",] = gateway.limits.failures
    counters["gateway_log_lines_dropped",] = gateway.request_log.dropped
    if relay is not None:
        connected, busy = relay.stands()
        gauges["gateway_connections", worker], gauges["gateway_requests_in_flight", worker] = connected, busy
        gauges["gateway_cache_entries", worker, "heads"] = relay.heads.kept()
        for name, (idle, asked, left_out) in relay.pools.stands().items():
            gauges["gateway_upstream_connections", worker, name, "idle"] = idle
            gauges["gateway_upstream_connections", worker, name, "busy"] = asked
            gauges["gateway_upstream_servers_left_out", worker, name] = left_out
    for name, keys in gateway.identity.keys.items():
        for outcome, number in keys.fetches.items():
            counters["gateway_issuer_fetches", name, outcome] = number
        if (age := keys.age_seconds) is not None:
            gauges["gateway_issuer_keys_timestamp_seconds", worker, name] = gateway.clock.now_ms() / 1000 - age
    _of_payments(gateway, counts, worker)
    of_process(counts, worker, pulse)
    return counts


def _of_payments(gateway: "Gateway", counts: Counts, worker: str) -> None:
    paying = gateway.paying
    if paying.payments is not None:
        counts.gauges["gateway_provider_resting", worker] = paying.payments.resting
        for outcome, number in paying.payments.calls.items():
            counts.counters["gateway_provider_calls", outcome] = number
    if paying.webhooks is not None:
        for what, number in paying.webhooks.received.items():
            counts.counters["gateway_webhooks_received", what] = number
        for status, number in paying.webhooks.acted.items():
            counts.counters["gateway_webhooks_acted", status] = number
        counts.durations["gateway_webhook_lag_seconds",] = paying.webhooks.lag
    if paying.reconcile is not None and paying.reconcile.read_until is not None:
        counts.gauges["gateway_reconciled_timestamp_seconds", worker] = paying.reconcile.read_until


class Scrapes:
    """What the admin listener tells: the workers, the books, the records, and how the gateway itself is."""

    def __init__(
        self,
        *,
        workers: Callable[[], tuple[Counts, int]],
        wanted: int,
        ledger: "Keeper",
        slices: Callable[[], int],
        forgotten: Callable[[], int],
        records: "SqliteRecords | PostgresRecords",
        hears: bool,
        clock: Clock,
        voided: Callable[[], int],
    ) -> None:
        self._voided = voided
        self._workers = workers
        self._wanted = wanted
        self._ledger = ledger
        self._slices = slices
        self._forgotten = forgotten
        self._records = records
        self._hears = hears
        self._clock = clock
        self._alerts = AlertBook(records.ask)
        self._payouts = RecordedPayouts(records.ask)
        self._jobs = JobBook(records.ask, shared=not isinstance(records, SqliteRecords))
        self.reloads = {"taken": 0, "refused": 0}

    def reloaded(self, *, taken: bool) -> None:
        """The configuration was read again."""
        self.reloads["taken" if taken else "refused"] += 1

    def of_workers(self) -> Counts:
        """What the workers have counted, all of them together."""
        return self._workers()[0]

    async def scrape(self) -> bytes:
        """In Prometheus' text format. Raises nothing that is the records' fault."""
        return exposition(await self.gather())

    async def gather(self) -> Counts:
        """All of it, by metric. Raises nothing that is the records' fault."""
        counts, there = self._workers()
        counters, gauges = counts.counters, counts.gauges
        for outcome, number in self.reloads.items():
            counters["gateway_reloads", outcome] = number
        counters["gateway_limits_forgotten",] = self._forgotten()
        counters["gateway_voided_requests",] = self._voided()
        counters["gateway_ledger_records",] = self._ledger.records
        counts.durations["gateway_ledger_commit_seconds",] = self._ledger.commits
        gauges["gateway_ledger_stuck",] = self._ledger.stuck
        gauges["gateway_ledger_waiting_records",] = self._ledger.waiting_records
        gauges["gateway_ledger_accounts",] = self._ledger.accounts_in_memory
        gauges["gateway_ledger_slices",] = self._slices()
        gauges["gateway_workers",] = there
        gauges["gateway_workers_wanted",] = self._wanted
        gauges["gateway_build_info", metadata.version("farebox"), platform.python_version()] = 1
        gauges["gateway_records_up",] = await self._of_records(counts)
        return counts

    async def _of_records(self, counts: Counts) -> bool:
        """Whether they told."""
        try:
            async with asyncio.timeout(RECORDS_SECONDS_MAX):
                standing = await self._records.inbox_standing()
                short = await self._payouts.waiting()
                jobs, outgoing = await self._jobs.count_jobs(), await self._records.outbox.count()
                alerts = await self._alerts.open_by_name()
        except (RecordsUnavailable, TimeoutError):
            return False
        gauges, oldest = counts.gauges, standing.oldest_waiting_ms
        for state, number in jobs.items():
            gauges["gateway_jobs", state] = number
        for (channel, sent), number in outgoing.items():
            gauges["gateway_outgoing", channel, sent] = number
        for alert in NAMES:
            gauges["gateway_alerts_open", alert] = alerts.get(alert, 0)
        if self._hears:
            gauges["gateway_payouts_waiting",] = short
            gauges["gateway_webhooks_waiting",] = standing.waiting
            gauges["gateway_webhooks_parked",] = standing.parked
            late_ms = 0 if oldest is None else max(0, self._clock.now_ms() - oldest)
            gauges["gateway_webhooks_oldest_waiting_seconds",] = late_ms / 1000
            if standing.newest_ms is not None:
                gauges["gateway_webhooks_newest_timestamp_seconds",] = standing.newest_ms / 1000
        return True
