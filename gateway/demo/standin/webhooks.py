"""Events on their way to the endpoints: signed, sent, sent again, and misdirected on request.

Every event goes to every endpoint that wants its type. A delivery is a task of its own: one that has to be
repeated holds up no other, which is also why order is not promised, as it is not by Stripe. Each attempt is
signed afresh; any answer but 2xx, a redirect included, leads to another attempt until the delays are used up.

A test rarely wants the normal case, so deliveries can be held back and released late or in another order,
dropped, repeated, or tampered with. `settled` waits until nothing is under way; what is held back is not under
way.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import hmac
import json
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

import aiohttp

from gateway.demo.standin.store import Json

log = logging.getLogger(__name__)

RETRY_DELAYS_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ATTEMPT_SECONDS_MAX = 10
AT_ONCE_MAX = 16
ATTEMPTS_KEPT = 10_000
HELD_MAX = 10_000
TOLERANCE_SECONDS = 300

Tampering = Literal["body", "secret", "stale", "future", "unsigned", "garbled"]
TAMPERINGS: tuple[Tampering, ...] = ("body", "secret", "stale", "future", "unsigned", "garbled")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where events go. `events` are the types it wants; `*` is all of them.

    It hears of one thing: of this account's own events, of those of `connected` accounts, or of `thin` ones.
    """

    url: str
    secret: str
    events: tuple[str, ...] = ("*",)
    hears: Literal["own", "connected", "thin"] = "own"

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise ValueError("the url of a webhook endpoint must be absolute")
        if not self.secret.startswith("whsec_"):
            raise ValueError("the secret of a webhook endpoint starts with whsec_")

    def wants(self, event: Json) -> bool:
        kind = "thin" if event["object"] == "v2.core.event" else "connected" if event.get("account") else "own"
        return kind == self.hears and ("*" in self.events or event["type"] in self.events)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to an endpoint and its answer; the status is None when there was none."""

    event: str
    type: str
    url: str
    number: int
    status: int | None


@dataclass(slots=True)
class _Delivery:
    event: Json
    endpoint: Endpoint
    tried: asyncio.Event = field(default_factory=asyncio.Event)


def _give_up(delivery: _Delivery, task: asyncio.Task[None]) -> None:
    delivery.tried.set()


def payload(event: Json) -> bytes:
    if event["object"] == "v2.core.event":
        event = {name: value for name, value in event.items() if name != "pending_webhooks"}
    return json.dumps(event, indent=2, ensure_ascii=False).encode()


def signature(body: bytes, secret: str, at: int) -> str:
    """The `Stripe-Signature` header of a body. In test mode Stripe adds a `v0` that proves nothing."""
    signed = f"{at}.".encode() + body
    genuine = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    decoy = hmac.new(b"v0", signed, hashlib.sha256).hexdigest()
    return f"t={at},v1={genuine},v0={decoy}"


def _forged(event: Json) -> Json:
    """The event as somebody would like it to be: a hundred times the amount."""
    forged = copy.deepcopy(event)
    about = forged["data"]["object"] if "data" in forged else forged["related_object"]
    for name in ("amount", "amount_subtotal", "amount_total", "amount_received", "unit_amount"):
        if about.get(name):
            about[name] *= 100
    about["metadata"] = {**(about.get("metadata") or {}), "forged": "yes"}
    return forged


class Webhooks:
    """The endpoints and everything on its way to them."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        now: Callable[[], float],
        delays_seconds: Sequence[float],
        sleep: Callable[[float], Awaitable[object]],
        shuffler: random.Random,
    ) -> None:
        self.endpoints = list(endpoints)
        self.attempts: deque[Attempt] = deque(maxlen=ATTEMPTS_KEPT)
        self._now = now
        self._delays = tuple(delays_seconds)
        self._sleep = sleep
        self._shuffler = shuffler
        self._client: aiohttp.ClientSession | None = None
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._slots = asyncio.Semaphore(AT_ONCE_MAX)
        self._idle = asyncio.Event()
        self._idle.set()
        self._held: deque[Json] = deque(maxlen=HELD_MAX)
        self._holding: Callable[[str], bool] | None = None
        self._drops: list[tuple[int, Collection[str] | None]] = []

    async def start(self) -> None:
        timeout = aiohttp.ClientTimeout(total=ATTEMPT_SECONDS_MAX)
        self._client = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
            self._client = None

    def ring(self, event: Json) -> None:
        """An event has happened."""
        endpoints = [endpoint for endpoint in self.endpoints if endpoint.wants(event)]
        event["pending_webhooks"] = len(endpoints)
        if not endpoints or self._dropped(event["type"]):
            return
        if self._holding is not None and self._holding(event["type"]):
            self._held.append(event)
            return
        self._send(event)

    def deliver(self, event: Json, times: int) -> None:
        """Send an event again, `times` times at once, whether or not it has been delivered."""
        for _ in range(times):
            self._send(event)

    def hold(self, types: Collection[str] | None) -> None:
        """From now on keep events back: those of the given types, or all."""
        self._holding = (lambda type: True) if types is None else (lambda type: type in types)

    @property
    def held(self) -> list[str]:
        return [event["id"] for event in self._held]

    def release(self, order: str | Sequence[str]) -> list[str]:
        """Send what was kept back and keep nothing back any more. Returns the ids in the order of sending.

        `order` is "created", "reversed", "shuffled", or the ids that go first. Each is sent when the one before
        it has been answered.
        """
        events = list(self._held)
        if order == "reversed":
            events.reverse()
        elif order == "shuffled":
            self._shuffler.shuffle(events)
        elif order != "created":
            ranks = {id: rank for rank, id in enumerate(order)}
            events.sort(key=lambda event: ranks.get(event["id"], len(ranks)))
        self._held.clear()
        self._holding = None
        self._spawn(self._in_turn(events), "")
        return [event["id"] for event in events]

    def drop(self, event_id: str) -> bool:
        """Never deliver this event: not if it is held back, and not again if it is being repeated."""
        found = [event for event in self._held if event["id"] == event_id]
        for event in found:
            self._held.remove(event)
        tasks = [task for task, id in self._tasks.items() if id == event_id]
        for task in tasks:
            task.cancel()
        return bool(found or tasks)

    def drop_next(self, count: int, types: Collection[str] | None) -> None:
        """Never deliver the next `count` events (of these types)."""
        self._drops.append((count, types))

    async def tamper(self, event: Json, how: Tampering) -> list[int | None]:
        """Send one forged or stale copy to every endpoint. Returns what each answered."""
        body, at = payload(event), int(self._now())
        statuses = []
        for endpoint in [endpoint for endpoint in self.endpoints if endpoint.wants(event)]:
            header: str | None = signature(body, endpoint.secret, at)
            sent = body
            if how == "body":
                sent = payload(_forged(event))
            elif how == "secret":
                header = signature(body, "whsec_of_somebody_else", at)
            elif how == "stale":
                header = signature(body, endpoint.secret, at - TOLERANCE_SECONDS - 60)
            elif how == "future":
                header = signature(body, endpoint.secret, at + TOLERANCE_SECONDS + 60)
            elif how == "garbled":
                header = "t=,v1"
            else:
                header = None
            statuses.append(await self._post(event, endpoint, 1, sent, header))
        return statuses

    async def settled(self) -> None:
        """Return when nothing is under way and nothing will be tried again."""
        await self._idle.wait()

    @property
    def pending(self) -> int:
        return len(self._tasks)

    def _dropped(self, type: str) -> bool:
        for at, (count, types) in enumerate(self._drops):
            if types is None or type in types:
                self._drops[at] = (count - 1, types)
                self._drops = [(left, kinds) for left, kinds in self._drops if left > 0]
                return True
        return False

    def _send(self, event: Json) -> list[_Delivery]:
        deliveries = [_Delivery(event, endpoint) for endpoint in self.endpoints if endpoint.wants(event)]
        for delivery in deliveries:
            task = self._spawn(self._repeat(delivery), event["id"])
            # A delivery that is dropped before it begins has been tried for the last time too.
            task.add_done_callback(partial(_give_up, delivery))
        return deliveries

    async def _in_turn(self, events: Sequence[Json]) -> None:
        for event in events:
            for delivery in self._send(event):
                await delivery.tried.wait()

    def _spawn(self, work: Coroutine[None, None, None], event_id: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = event_id
        self._idle.clear()
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not self._tasks:
            self._idle.set()
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("a delivery failed", exc_info=failure)

    async def _repeat(self, delivery: _Delivery) -> None:
        event, endpoint = delivery.event, delivery.endpoint
        body = payload(event)
        for number, delay in enumerate((*self._delays, None), start=1):
            header = signature(body, endpoint.secret, int(self._now()))
            status = await self._post(event, endpoint, number, body, header)
            delivery.tried.set()
            if status is not None and 200 <= status < 300:
                event["pending_webhooks"] = max(0, event["pending_webhooks"] - 1)
                return
            if delay is not None:
                await self._sleep(delay)

    async def _post(
        self, event: Json, endpoint: Endpoint, number: int, body: bytes, signature: str | None
    ) -> int | None:
        if self._client is None:
            return None
        headers = {
            "Accept": "*/*; q=0.5, application/xml",
            "Cache-Control": "no-cache",
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        if signature is not None:
            headers["Stripe-Signature"] = signature
        status: int | None = None
        async with self._slots:
            # No answer is the same as a bad one: it is tried again.
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with self._client.post(
                    endpoint.url, data=body, headers=headers, allow_redirects=False
                ) as response:
                    status = response.status
        self.attempts.append(Attempt(event["id"], event["type"], endpoint.url, number, status))
        return status
