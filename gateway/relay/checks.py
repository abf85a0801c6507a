"""Active health checks: each server is asked now and then, so that no caller's request has to find out.

Every server has a task of its own, so that one that hangs does not keep the others from being asked. A check is an
ordinary request on a connection that is made for it and dropped after it, whatever the server says of keeping it; what
comes of it reaches the rotation in the same ways as what comes of a caller's request, so nothing is counted twice. An
answer that is not 2xx or 3xx is a failure here, though it is none when a caller gets it. No caller decides what is
asked, so a server that fails its checks may be left out though no other is left.

Servers are not asked in step: neither those of one upstream, nor by several gateways that were started together.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.core import targets
from gateway.core.framing import BadFraming
from gateway.core.headers import Fields
from gateway.core.refusals import Refusal
from gateway.core.routes import HealthCheck, Upstream
from gateway.relay.heads import AnswerHead, encoded

if TYPE_CHECKING:
    from gateway.relay.upstream import Lane, Pool

Chance = Callable[[], float]
"""From 0 up to 1."""

_JITTER = 0.2


class Checks:
    """The checks of one upstream's servers."""

    def __init__(self, pool: "Pool", lanes: "list[Lane]", check: HealthCheck, chance: Chance) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(_go_on(pool, lane, check, chance), name="health check") for lane in lanes]

    def stop(self) -> None:
        """A check that is under way is dropped, and means nothing."""
        for task in self._tasks:
            task.cancel()


async def _go_on(pool: "Pool", lane: "Lane", check: HealthCheck, chance: Chance) -> None:
    await asyncio.sleep(check.seconds * chance())
    while True:
        try:
            await _ask(pool, lane, check)
        except Refusal:
            pass  # the pool has counted it; or it was our own lack of sockets, which is nobody's fault
        except Exception as error:
            pool.complain(lane.server, f"cannot check it: {type(error).__name__}")
        await asyncio.sleep(check.seconds * (1 - _JITTER / 2 + _JITTER * chance()))


async def _ask(pool: "Pool", lane: "Lane", check: HealthCheck) -> None:
    """One check. What comes of it is counted by the connection and its pool."""
    connection = await pool.dial(lane)
    question = _Question()
    try:
        connection.ask(question, "GET", _request(pool.upstream, lane, check), whole=True, check=True)
        await question.over
    finally:
        connection.abandon()


def _request(upstream: Upstream, lane: "Lane", check: HealthCheck) -> bytes:
    target, secret = check.path, upstream.credential
    fields = [("Host", lane.server.authority), ("User-Agent", "farebox-health-check"), ("Connection", "close")]
    if secret is not None and secret.place == "query":
        target = targets.with_query_parameter(target, secret.name, secret.value.reveal())
    elif secret is not None:
        fields.append((secret.name, secret.value.reveal()))
    return f"GET {target} HTTP/1.1\r\n".encode("latin-1") + encoded(fields) + b"\r\n"


class _Question:
    """Implements `upstream.Asks`: waits for a head, or for the end of all hope."""

    def __init__(self) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def head(self, head: AnswerHead) -> None:
        if not 200 <= head.status < 400:
            raise BadFraming(f"its health check was answered with {head.status}")
        self._end()

    def broken(self, *, timed_out: bool, over: bool, begun: bool, stale: bool) -> None:
        self._end()

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def whole(self, head: AnswerHead, body: bytes) -> None:
        self.head(head)

    def interim(self, head: AnswerHead) -> None: ...
    def body(self, data: bytes) -> None: ...
    def end(self, trailers: Fields) -> None: ...
    def switched(self, data: bytes) -> None: ...
    def server_ended(self) -> None: ...
    def upstream_full(self) -> None: ...
    def upstream_drained(self) -> None: ...
