"""What the operators' pages show and do, as calls of the admin listener: JSON in and out, with a token and no cookie.

Every answer is an object. A mistake in a call is a 400 with `detail`; what is not there, a 404; what cannot be done
just now, a 503. Nothing that fails says more than that.
"""

import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

from gateway.core.jobs import STATES as JOB_STATES
from gateway.core.outgoing import STATES as NOTICE_STATES
from gateway.core.outgoing import State
from gateway.core.refusals import (
    LedgerUnavailable,
    PaymentServiceUnavailable,
    RecordsUnavailable,
)
from gateway.core.trail import NEWEST, Act
from gateway.ports import BooksRefused, BooksSlow, Clock, Jobs, Outbox, PaymentsByHand, Witnesses
from gateway.web.answers import OwnAnswer
from gateway.web.by_hand import check_account
from gateway.web.refusals import as_problem
from gateway.web.watched import SHOWN_MAX, STATUSES, Watched, told_by_hand, told_event, told_notice, told_work

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BODY_BYTES_MAX = 16 * 1024
TRAIL_MAX = 500
_ID = re.compile(r"[A-Za-z0-9_.:\-]{1,128}")
_WORD = re.compile(r"[ -~]{1,200}")


class NotThere(Exception):
    """There is no such thing. The code says of what kind."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class ByHand:
    """What an operator does on a page or by a call: each act is on the trail of whoever asks before it is done.

    Every act raises ValueError with words, NotThere, RecordsUnavailable, LedgerUnavailable, PaymentServiceUnavailable.
    """

    def __init__(self, *, payments: PaymentsByHand | None, jobs: Jobs, outbox: Outbox, clock: Clock) -> None:
        self._payments = payments
        self._jobs = jobs
        self._outbox = outbox
        self._clock = clock

    async def parked(self, trail: Witnesses) -> list[dict[str, Any]]:
        """Nothing, where no payments are taken."""
        if self._payments is None:
            return []
        return [told_by_hand(one) for one in await self._payments.parked(trail)]

    async def events(self, status: str | None, trail: Witnesses) -> list[dict[str, Any]]:
        """Events that wait or are parked, or those of one status; the newest of them first. Who looked is told."""
        if self._payments is None:
            return []
        wanted = [one for one in STATUSES if status == one or (status is None and one in ("waiting", "parked"))]
        if not wanted:
            raise ValueError(f"status: one of {', '.join(STATUSES)}")
        await trail.write(Act("operator", "operator", "webhook.list", "everyone", "admin"))
        found = await self._payments.events(wanted)
        newest = sorted(found, key=lambda entry: -entry.received_ms)
        return [told_event(entry) for entry in newest[:200]]

    async def notices(self, state: State | None, trail: Witnesses) -> list[dict[str, Any]]:
        """Messages that go out, the newest first: they name accounts, so who looked is told."""
        await trail.write(Act("operator", "operator", "notice.list", "everyone", "admin"))
        return [told_notice(one) for one in await self._outbox.entries(state, count=SHOWN_MAX)]

    async def assign(self, id: str, account: str, trail: Witnesses, *, dry_run: bool) -> dict[str, Any]:
        """What became, or would become, of giving a parked payment to an account."""
        check_account(account)
        payments = self._taken()
        return told_by_hand(await payments.assign(_id(id), account, trail=trail, dry_run=dry_run))

    async def replay(self, event: str, trail: Witnesses) -> dict[str, Any]:
        """An event is acted on again; how it stands then."""
        return told_event(await self._taken().replay(_id(event), trail=trail))

    async def retry_job(self, id: str, trail: Witnesses) -> dict[str, Any]:
        """A job that was given up is tried again; others are left as they are."""
        if await self._jobs.find_job(_id(id)) is None:
            raise NotThere("unknown_job", f"{id}: there is no such job")
        await trail.write(Act("operator", "operator", "job.retry", id, "admin"))
        await self._jobs.again_job(id, now_ms=self._clock.now_ms())
        found = await self._jobs.find_job(id)
        if found is None:
            raise NotThere("unknown_job", f"{id}: there is no such job any more")
        return told_work(found)

    async def replay_notice(self, id: str, trail: Witnesses) -> dict[str, Any]:
        """A message that was delivered or given up is sent again."""
        if await self._outbox.find(_id(id)) is None:
            raise NotThere("unknown_notice", f"{id}: there is no such message; it may be so old that it was dropped")
        await trail.write(Act("operator", "operator", "notice.replay", id, "admin"))
        await self._outbox.again(id, now_ms=self._clock.now_ms())
        found = await self._outbox.find(id)
        if found is None:
            raise NotThere("unknown_notice", f"{id}: there is no such message any more")
        return told_notice(found)

    def _taken(self) -> PaymentsByHand:
        if self._payments is None:
            raise ValueError("stripe is not configured: there are no payments here")
        return self._payments


class OperatorCalls:
    """The handlers. `trail_of` says in whose name a call is written down."""

    def __init__(
        self,
        *,
        watched: Watched,
        by_hand: ByHand,
        trail_of: Callable[[web.Request], Witnesses],
        document: Callable[[], dict[str, Any]],
    ) -> None:
        self._watched = watched
        self._by_hand = by_hand
        self._trail_of = trail_of
        self._document = document

    def add_to(self, app: web.Application) -> None:
        """Their addresses."""
        reads: Sequence[tuple[str, Handler]] = (
            ("/now", self.now),
            ("/money", self.money),
            ("/webhooks", self.webhooks),
            ("/upstreams", self.upstreams),
            ("/workers", self.workers),
            ("/payments/parked", self.parked),
            ("/jobs", self.jobs),
            ("/notices", self.notices),
            ("/trail", self.trail),
            ("/openapi.json", self.document),
        )
        acts: Sequence[tuple[str, Handler]] = (
            ("/webhooks/{event}/replay", self.replay),
            ("/payments/{payment}/assign", self.assign),
            ("/jobs/{job}/retry", self.retry),
            ("/notices/{notice}/replay", self.replay_notice),
        )
        for path, handler in reads:
            app.router.add_get(path, answered(handler))
        for path, handler in acts:
            app.router.add_post(path, answered(handler))

    async def now(self, request: web.Request) -> web.StreamResponse:
        return told(await self._watched.now())

    async def money(self, request: web.Request) -> web.StreamResponse:
        return told(await self._watched.money())

    async def webhooks(self, request: web.Request) -> web.StreamResponse:
        """`?status=`: those events, else what waits and what is parked."""
        events = await self._by_hand.events(request.query.get("status"), self._trail_of(request))
        return told({**await self._watched.webhooks(), "events": events})

    async def upstreams(self, request: web.Request) -> web.StreamResponse:
        return told(await self._watched.upstreams())

    async def workers(self, request: web.Request) -> web.StreamResponse:
        return told(await self._watched.workers())

    async def parked(self, request: web.Request) -> web.StreamResponse:
        """Who looked is on the trail."""
        return told({"payments": await self._by_hand.parked(self._trail_of(request))})

    async def jobs(self, request: web.Request) -> web.StreamResponse:
        return told(await self._watched.jobs(one_of("state", request.query.get("state"), JOB_STATES)))

    async def notices(self, request: web.Request) -> web.StreamResponse:
        state = one_of("state", request.query.get("state"), NOTICE_STATES)
        return told({"notices": await self._by_hand.notices(state, self._trail_of(request))})

    async def trail(self, request: web.Request) -> web.StreamResponse:
        return told(await self._watched.trail(**trail_query(request)))

    async def document(self, request: web.Request) -> web.StreamResponse:
        return told(self._document())

    async def replay(self, request: web.Request) -> web.StreamResponse:
        return told(await self._by_hand.replay(request.match_info["event"], self._trail_of(request)))

    async def assign(self, request: web.Request) -> web.StreamResponse:
        """`{"account"}`, and `"dry_run": true` for what would come of it."""
        content = await read_members(request, "account", may=("dry_run",))
        account, dry_run = content.get("account"), content.get("dry_run", False)
        if not isinstance(account, str) or not isinstance(dry_run, bool):
            raise ValueError("account is a text, and dry_run true or false")
        payment, trail = request.match_info["payment"], self._trail_of(request)
        return told(await self._by_hand.assign(payment, account, trail, dry_run=dry_run))

    async def retry(self, request: web.Request) -> web.StreamResponse:
        return told(await self._by_hand.retry_job(request.match_info["job"], self._trail_of(request)))

    async def replay_notice(self, request: web.Request) -> web.StreamResponse:
        return told(await self._by_hand.replay_notice(request.match_info["notice"], self._trail_of(request)))


def answered(handler: Handler) -> Handler:
    """The handler, whose ways to fail are answers."""

    async def bounded(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except NotThere as missing:
            return told({"code": missing.code, "detail": str(missing), "charged": False}, status=404)
        except (ValueError, KeyError, TypeError) as error:
            return told({"code": "bad_request", "detail": str(error), "charged": False}, status=400)
        except (LedgerUnavailable, RecordsUnavailable, PaymentServiceUnavailable) as refusal:
            return as_problem(refusal)
        except (BooksSlow, BooksRefused, TimeoutError):
            return as_problem(RecordsUnavailable())

    return bounded


def trail_query(request: web.Request) -> dict[str, Any]:
    """Which entries are wanted. Raises ValueError."""
    found: dict[str, Any] = {}
    for name, most in (("before", NEWEST), ("count", TRAIL_MAX)):
        if (text := request.query.get(name)) is not None:
            if not re.fullmatch(r"[0-9]{1,19}", text) or not 1 <= int(text) <= most:
                raise ValueError(f"{name}: a whole number of 1 to {most}")
            found[name] = int(text)
    for name in ("object", "action"):
        if text := request.query.get(name):
            if not _WORD.fullmatch(text):
                raise ValueError(f"{name}: 1 to 200 printable characters")
            found[name] = text
    return found


def one_of(name: str, wanted: str | None, states: Sequence[Any]) -> Any:
    """A state, or None for all. Raises ValueError."""
    if wanted is not None and wanted not in states:
        raise ValueError(f"{name}: one of {', '.join(states)}")
    return wanted


async def read_members(request: web.Request, *needed: str, may: Sequence[str] = ()) -> dict[str, Any]:
    """The members of the JSON object that was sent: all that are needed, and none but these. Raises ValueError.

    A member that nobody knows is a slip of whoever wrote it; what it was to say would be lost without a word.
    """
    content, known = await _read_object(request), (*needed, *may)
    for name in content:
        if name not in known:
            raise ValueError(f"{name[:80]}: there is no such member; the members are {', '.join(known)}")
    if missing := [name for name in needed if name not in content]:
        raise ValueError(f"{', '.join(missing)}: missing; the members are {', '.join(known)}")
    return content


async def _read_object(request: web.Request) -> dict[str, Any]:
    try:
        content = json.loads(await request.read())
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    except ValueError:
        raise ValueError("the body is not JSON") from None
    if not isinstance(content, dict):
        raise ValueError("a JSON object was expected")
    return content


def told(content: dict[str, Any], status: int = 200) -> OwnAnswer:
    """As JSON."""
    return OwnAnswer(status=status, text=json.dumps(content) + "\n", content_type="application/json")


def _id(id: str) -> str:
    if not _ID.fullmatch(id):
        raise ValueError("an id is 1 to 128 of letters, digits and _ . : -")
    return id
