"""What an operator sees of a gateway that runs, as JSON can carry it: the pages and the calls show the same.

It looks at numbers that are counted anyway, at the books in one snapshot for some seconds at most, and at the records.
Nobody outside is asked. Ids, amounts, moments and reasons; of a person nothing.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.core.jobs import Job, JobState
from gateway.core.lately import QUANTILES, Lately, Window
from gateway.core.money import Money
from gateway.core.outgoing import Outgoing
from gateway.core.readiness import Check
from gateway.core.trail import NEWEST, Step
from gateway.flows.add_up import LookAtOwners
from gateway.ports import Assigned, Clock, Inbox, InboxEntry, InboxStatus, Jobs, Parked, TrailBook
from gateway.web.people import told_job

Numbers = Mapping[tuple[str, ...], float]
"""By the name of a metric and the values of its labels."""
STATUSES: tuple[InboxStatus, ...] = ("waiting", "parked", "done", "ignored")
WINDOWS_SECONDS = (60, 300)
LATELY_SECONDS = 330.0
SHOWN_MAX = 200
AUDITED = "books.audit"
"""What it is called on the trail that the books were proved."""


class Watched:
    """Looks. `servers` are the upstreams and how many servers each has."""

    def __init__(
        self,
        *,
        lately: Lately,
        numbers: Callable[[], Awaitable[Numbers]],
        checks: Callable[[], Awaitable[Mapping[str, Check]]],
        books: LookAtOwners,
        inbox: Inbox,
        jobs: Jobs,
        trail: TrailBook,
        servers: Callable[[], Mapping[str, int]],
        clock: Clock,
    ) -> None:
        self._lately = lately
        self._numbers = numbers
        self._checks = checks
        self._books = books
        self._inbox = inbox
        self._jobs = jobs
        self._trail = trail
        self._servers = servers
        self._clock = clock

    async def now(self) -> dict[str, Any]:
        """The last minutes, what is under way, and how each part stands."""
        numbers = await self._numbers()
        return {
            "windows": [_told_window(self._lately.window(seconds)) for seconds in WINDOWS_SECONDS],
            "in_flight": int(_sum(numbers, "gateway_requests_in_flight")),
            "connections": int(_sum(numbers, "gateway_connections")),
            "holds_open": int(_sum(numbers, "gateway_holds_open")),
            "ledger": {
                "stuck": bool(_sum(numbers, "gateway_ledger_stuck")),
                "waiting_records": int(_sum(numbers, "gateway_ledger_waiting_records")),
            },
            "checks": {name: check.told() for name, check in (await self._checks()).items()},
        }

    async def money(self) -> dict[str, Any]:
        """By unit what came in, was used, went back and is owed; the last proof of the books.

        Raises BooksSlow, BooksRefused, RecordsUnavailable.
        """
        sums = await self._books.of_money()
        units = sorted({one.unit for one in sums.kinds} | sums.sold.keys())
        return {"units": [self._of_unit(unit, sums) for unit in units], "last_audit": await self._last_audit()}

    def _of_unit(self, unit: str, sums: Any) -> dict[str, Any]:
        requests, sold = sums.sold.get(unit, (0, 0))

        def of(side: str, *kinds: str) -> dict[str, Any]:
            found = [one for one in sums.kinds if one.unit == unit and one.side == side]
            return _counted(unit, [one for one in found if not kinds or one.kind in kinds])

        others = sorted({one.kind for one in sums.kinds if one.unit == unit and one.side == "reversal"})
        return {
            "unit": unit,
            "credits": {
                one.kind: _counted(unit, [one]) for one in sums.kinds if one.unit == unit and one.side == "credit"
            },
            "debits": {"count": requests, "amount": str(Money(sold, unit))},
            "refunds": of("reversal", "refund"),
            "disputes": of("reversal", "dispute"),
            "taken_back": {kind: of("reversal", kind) for kind in others if kind not in ("refund", "dispute")},
            "debt": of("debt"),
        }

    async def _last_audit(self) -> dict[str, Any] | None:
        for step in await self._trail.steps_before(NEWEST, count=1, action=AUDITED):
            return {"at": moment(step.at_ms), "by": step.act.actor, **step.act.facts}
        return None

    async def webhooks(self) -> dict[str, Any]:
        """How the inbox stands, and what was received. Raises RecordsUnavailable."""
        standing, numbers = await self._inbox.inbox_standing(), await self._numbers()
        now_ms, oldest = self._clock.now_ms(), standing.oldest_waiting_ms
        return {
            "newest": moment(standing.newest_ms) if standing.newest_ms is not None else None,
            "waiting": standing.waiting,
            "parked": standing.parked,
            "oldest_waiting_seconds": None if oldest is None else max(0, now_ms - oldest) / 1000,
            "received": _by_label(numbers, "gateway_webhooks_received"),
            "acted": _by_label(numbers, "gateway_webhooks_acted"),
            "provider_calls": _by_label(numbers, "gateway_provider_calls"),
        }

    async def upstreams(self) -> dict[str, Any]:
        """Each of them: its servers, and the connections of all workers to it."""
        numbers, servers = await self._numbers(), self._servers()
        return {
            "upstreams": [
                {
                    "name": name,
                    "servers": servers[name],
                    "left_out": int(_most(numbers, "gateway_upstream_servers_left_out", 1, name)),
                    "busy": int(_sum(numbers, "gateway_upstream_connections", (1, name), (2, "busy"))),
                    "idle": int(_sum(numbers, "gateway_upstream_connections", (1, name), (2, "idle"))),
                }
                for name in sorted(servers)
            ]
        }

    async def workers(self) -> dict[str, Any]:
        """Each process: since when it serves by which version of the configuration, and what it takes."""
        numbers = await self._numbers()
        names = {key[1] for key in numbers if key[0] == "gateway_process_cpu_seconds"}
        versions = {key[1]: key[2] for key in numbers if key[0] == "gateway_config_version"}
        return {
            "wanted": int(_sum(numbers, "gateway_workers_wanted")),
            "there": int(_sum(numbers, "gateway_workers")),
            "same_version": len(set(versions.values())) <= 1,
            "processes": [_told_process(name, versions.get(name), numbers) for name in sorted(names, key=_by_number)],
        }

    async def jobs(self, state: JobState | None) -> dict[str, Any]:
        """Work in the background, the newest first. Raises RecordsUnavailable."""
        found = await self._jobs.list_jobs(state=state, user=None, count=SHOWN_MAX)
        return {"jobs": [told_work(one) for one in found]}

    async def trail(
        self, *, before: int = NEWEST, count: int = 50, object: str | None = None, action: str | None = None
    ) -> dict[str, Any]:
        """Who did what, the newest first; `next` is what to go on before. Raises RecordsUnavailable."""
        steps = await self._trail.steps_before(before, count=count, object=object, action=action)
        more = len(steps) == count and steps[-1].number > 1
        return {"entries": [told_step(step) for step in steps], "next": steps[-1].number if more else None}


def told_step(step: Step) -> dict[str, Any]:
    """An entry of the trail."""
    act = step.act
    return {
        "number": step.number,
        "at": moment(step.at_ms),
        "actor": act.actor,
        "role": act.role,
        "action": act.action,
        "object": act.object,
        "origin": act.origin,
        "reason": act.reason,
        "facts": dict(act.facts),
    }


def told_event(entry: InboxEntry) -> dict[str, Any]:
    """An event of the provider; of its content nothing."""
    return {
        "id": entry.event.id,
        "type": entry.event.type,
        "created": moment(entry.event.created * 1000),
        "received": moment(entry.received_ms),
        "status": entry.status,
        "error": entry.error,
    }


def told_work(job: Job) -> dict[str, Any]:
    """A job, and for whom it is."""
    return {**told_job(job), "user": job.user}


def told_notice(one: Outgoing) -> dict[str, Any]:
    """A message that goes out."""
    return {
        "id": one.id,
        "type": one.type,
        "account": one.account,
        "channel": one.channel,
        "created": moment(one.created_ms),
        "state": one.state,
        "tries": one.tries,
        "due": moment(one.due_ms),
        "error": one.error,
        "data": dict(one.content),
    }


def told_by_hand(one: Parked | Assigned) -> dict[str, Any]:
    """A parked payment, or what became of one."""
    return {name: getattr(one, name) for name in one.__slots__}


def moment(at_ms: int) -> str:
    """A time for people and programs, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def _told_window(window: Window) -> dict[str, Any]:
    quantiles = {percent: window.quantile_seconds(percent) for percent in QUANTILES}
    return {
        "seconds": round(window.seconds, 1),
        "requests": window.requests,
        "per_second": round(window.per_second, 2),
        "errors": window.of_class(5),
        "payment_required": window.codes.get("payment_required", 0),
        "rate_limited": window.codes.get("rate_limited", 0),
        **{f"p{percent}_ms": None if at is None else round(at * 1000, 2) for percent, at in quantiles.items()},
        "statuses": dict(window.statuses),
        "refusals": dict(window.codes),
    }


def _told_process(name: str, version: str | None, numbers: Numbers) -> dict[str, Any]:
    def of(metric: str) -> float | None:
        return numbers.get((metric, name))

    loaded = of("gateway_config_loaded_timestamp_seconds")
    whole = {
        "in_flight": of("gateway_requests_in_flight"),
        "connections": of("gateway_connections"),
        "resident_bytes": of("gateway_process_resident_bytes"),
        "open_fds": of("gateway_process_open_fds"),
    }
    return {
        "process": name,
        "version": version,
        "loaded": None if loaded is None else moment(int(loaded * 1000)),
        **{key: None if number is None else int(number) for key, number in whole.items()},
        "cpu_seconds": round(of("gateway_process_cpu_seconds") or 0.0, 2),
        "loop_lag_ms": round((of("gateway_loop_lag_seconds") or 0.0) * 1000, 1),
    }


def _counted(unit: str, found: Sequence[Any]) -> dict[str, Any]:
    return {
        "count": sum(one.count for one in found),
        "amount": str(Money(sum(one.micros for one in found), unit)),
    }


def _by_label(numbers: Numbers, metric: str) -> dict[str, int]:
    return {key[1]: int(number) for key, number in sorted(numbers.items()) if key[0] == metric}


def _sum(numbers: Numbers, metric: str, *labels: tuple[int, str]) -> float:
    """Of all rows of a metric whose labels, by their place (0 is the first), are these."""
    return sum(
        number for key, number in numbers.items() if key[0] == metric and all(key[1 + at] == one for at, one in labels)
    )


def _most(numbers: Numbers, metric: str, at: int, label: str) -> float:
    return max((number for key, number in numbers.items() if key[0] == metric and key[1 + at] == label), default=0.0)


def _by_number(name: str) -> tuple[bool, int, str]:
    return (not name.isdigit(), int(name) if name.isdigit() else 0, name)
