"""One request and its answer, with the pump between the two sockets.

Bytes go straight from one socket's callback to the other socket: the task that runs `flows/serve.py` sleeps while a
body passes. Back-pressure is the transports' own: when one side's buffer is full, reading from the other side pauses.

What ends an exchange early is told to it in one place each: `broken` by the upstream's connection, `body_failed` and
`Task.cancel` by the caller's. Before the answer has begun such an end is a refusal, after that the answer is cut, and
made to look cut.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gateway.core import context, forwarding, targets, traces
from gateway.core.answers import Answer
from gateway.core.callers import Caller
from gateway.core.framing import BadFraming
from gateway.core.headers import Fields, last_cost, to_caller
from gateway.core.ids import RequestId
from gateway.core.mcp import Call
from gateway.core.meters import Meter
from gateway.core.money import Money
from gateway.core.refusals import BodyTooLarge, Refusal, UpstreamFailed, UpstreamTimedOut
from gateway.core.routes import Route, Server
from gateway.core.streams import cost_event, is_open_stream, last_event
from gateway.core.traces import Trace
from gateway.ports import AnswerCut, Started
from gateway.relay import answers
from gateway.relay.bodies import LAST_CHUNK, NO_UPLOAD, RequestBody, chunked
from gateway.relay.heads import AnswerHead, RequestBlock, encoded
from gateway.relay.metering import Metering
from gateway.relay.tunnel import Tunnel
from gateway.relay.upstream import Asks, UpstreamConnection
from gateway.relay.websockets import WebSocketTunnel, is_websocket

if TYPE_CHECKING:
    from gateway.relay.connection import CallerConnection

_AHEAD_BYTES_MAX = 65_536
_CONTINUE_SECONDS = 1.0
_IDEMPOTENT = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE"))
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class RelayExchange:
    """Implements `ports.Exchange`; what an upstream's connection tells comes in through `upstream.Asks`."""

    # What most requests never change stands here, and not in `__init__`: an exchange is made with every request.
    cost: Money | None = None
    refusal_code: str = ""
    upstream_seconds: float | None = None
    status: int = 0
    upload_begun: bool = False
    """Whether the body may go up: not before the money is on hold."""
    sent: bool = False
    lingers: bool = False
    """Whether its caller may still speak when it has ended, and be heard no more."""
    carries_on: bool = False
    """Whether it goes on when its caller leaves."""
    _upstream: UpstreamConnection | None = None
    _route: Route | None = None
    _meter: Meter | None = None
    _head: AnswerHead | None = None
    _head_waiter: asyncio.Future[None] | None = None
    _done: asyncio.Future[None] | None = None
    _fault: Exception | None = None
    _ahead_bytes: int = 0
    _ahead_bytes_max: int = _AHEAD_BYTES_MAX
    _whole_waiter: asyncio.Future[None] | None = None
    _answer_ended: bool = False
    _trailers: Fields = []  # noqa: RUF012 -- replaced, never changed
    _streaming: bool = False
    _paused: bool = False
    """Until what has come is paid for."""
    _chunked: bool = False
    _spoken: bool = False
    """Whether a byte of an answer came before the connection broke."""
    _open: bool = False
    """Whether the end of the answer waits for what it did cost."""
    _last_event: bool = False
    _last_trailer: bool = False
    _tunnel: Tunnel | None = None
    _full_since: float | None = None
    _waited_seconds: float = 0.0
    """For the caller, which takes its answer slower than it comes."""
    _continue_timer: asyncio.TimerHandle | None = None
    _told_to_send: bool = False
    """Whether a caller that asked first was told before there was an upstream to ask."""
    _trace: Trace | None = None
    _answered_bytes: int = 0

    def __init__(
        self,
        caller: "CallerConnection",
        id: RequestId,
        method: str,
        target: str,
        block: RequestBlock,
        traceparent: str | None,
    ) -> None:
        self.begun = time.monotonic()
        self._caller = caller
        self._block = block
        self._traceparent = traceparent
        self.id = id
        self.method = method
        self.target = target
        self.fields: Fields = [("Gateway-Request-Id", str(id))]
        self.call: Call | None = None
        self.upload = RequestBody(block.head.framing, caller.relay.body_bytes_max) if block.has_body else NO_UPLOAD
        self.closes = not block.head.keep_alive
        """Whether the connection ends with this answer."""
        self._ahead: list[bytes] = []

    # --- what serve asks ----------------------------------------------------------------------------------------------

    @property
    def peer(self) -> str:
        return self._caller.origin(self._block).address

    @property
    def host(self) -> str:
        return self._block.head.host

    @property
    def headers(self) -> Mapping[str, str]:
        return self._block.headers

    @property
    def asks_us(self) -> bool:
        return self._block.asks_us

    @property
    def has_key(self) -> bool:
        return self._block.has_key

    @property
    def cookies(self) -> Mapping[str, str]:
        return self._block.cookies

    @property
    def trace(self) -> Trace:
        made = self._trace
        if made is None:
            made = self._trace = traces.trace(self.id, self._traceparent, self._caller.relay.trace)
        return made

    @property
    def front_id(self) -> str:
        if not self._caller.relay.trusts_fronts:
            return ""
        return forwarding.front_id(self._caller.origin(self._block), self._block.headers.get("x-request-id", ""))

    @property
    def bytes_in(self) -> int:
        return self.upload.seen + (self._tunnel.bytes_in if self._tunnel is not None else 0)

    @property
    def bytes_out(self) -> int:
        return self._answered_bytes + (self._tunnel.bytes_out if self._tunnel is not None else 0)

    def check(self) -> None:
        fault = self._block.fault or self._caller.fault
        if fault is not None:
            raise fault
        if self._block.head.framing.length > self._caller.relay.body_bytes_max:
            raise BodyTooLarge(limit_bytes=self._caller.relay.body_bytes_max)

    async def body_ahead(self, bytes_max: int, *, insist: bool = False) -> bytes | None:
        left = self.upload.left
        if left == 0:
            return b""
        waits = self._block.head.expects_continue and not self._told_to_send
        if (left is not None and left > bytes_max) or ((left is None or waits) and not insist):
            return None
        if waits:
            self._told_to_send = True
            self._caller.write(_CONTINUE)
        return await (self._caller.chunks_ahead(bytes_max) if left is None else self._caller.body_ahead(left))

    async def forward(self, route: Route, target: str, meter: Meter, caller: Caller) -> None:
        self._route, self._meter = route, meter
        asked = time.monotonic()
        asks: Asks = self
        if meter.follower is not None:
            upload = self.upload  # whoever refers to us, and we to it, is left to the garbage collector
            meter.follower.asks(lambda: upload.seen)
            asks = Metering(self, meter.follower, self.method)
        secret = route.upstream.credential
        if secret is not None and secret.place == "query":
            target = targets.with_query_parameter(target, secret.name, secret.value.reveal())
        pool = self._caller.relay.pools.of(route.upstream)
        avoid: list[Server] = []
        fresh = False
        while self._head is None:
            lane, connection = pool.take(avoid, fresh=fresh)
            try:
                if connection is None:
                    connection = await pool.dial(lane)
                await self._ask(connection, asks, self._request(route, target, caller, lane.server))
            except (UpstreamFailed, UpstreamTimedOut) as failed:
                stale = isinstance(failed, _Stale)
                if not self._may_repeat(connection):
                    raise (UpstreamFailed() if stale else failed) from None
                if stale:
                    fresh = True
                elif len(avoid) < route.upstream.retries_max and len(avoid) + 1 < len(route.upstream.servers):
                    avoid.append(lane.server)
                else:
                    raise
        self.upstream_seconds = time.monotonic() - asked
        meter.head(self._head.status)

    def _request(self, route: Route, target: str, caller: Caller, server: Server) -> bytes:
        block, theirs, relay = self._block, self._traceparent, self._caller.relay
        lines, ours = self._caller.lines_for(block, route, server), self.trace[2]
        if theirs is not None and block.mark is not None:
            lines, ours = block.retraced(lines, ours or theirs), ""
        elif theirs is not None and relay.trace == "pass":
            ours = ""
        told = context.fields(self.id, caller, route, issuer=relay.issuer, traceparent=ours)
        return b"".join((f"{self.method} {target} HTTP/1.1\r\n".encode("latin-1"), lines, encoded(told), b"\r\n"))

    async def _ask(self, connection: UpstreamConnection, asks: Asks, request: bytes) -> None:
        """Send the request; return when the head of the answer is there."""
        self._upstream, self._fault = connection, None
        waiter = self._head_waiter = self._caller.relay.loop.create_future()
        self.sent = True
        connection.ask(asks, self.method, request, whole=self.upload.done)
        if not self.upload.done:
            self._begin_upload()
            connection.flush()
        await waiter

    def _begin_upload(self) -> None:
        self.upload_begun = True
        if self._block.head.expects_continue:
            loop = self._caller.relay.loop
            self._continue_timer = loop.call_later(_CONTINUE_SECONDS, self._say_continue)
        self._caller.upload_may_flow()

    def _may_repeat(self, connection: UpstreamConnection | None) -> bool:
        """If nothing was sent, or all of it can be sent again and may be, and the upstream has not spoken."""
        if connection is None:
            return True
        return not self._spoken and not self.upload_begun and self.method in _IDEMPOTENT

    def carry_on(self) -> None:
        self.carries_on = True

    async def whole_answer(self, bytes_max: int) -> Answer | None:
        head, route = self._head, self._route
        if head is None or route is None:
            raise RuntimeError("an answer comes after forward")
        if head.status == 101 or head.streams:
            return None
        self._ahead_bytes_max = bytes_max + 1
        while self._fault is None and not self._answer_ended and self._ahead_bytes <= bytes_max:
            if self._upstream is not None:
                self._upstream.resume_reading()
            self._whole_waiter = self._caller.relay.loop.create_future()
            await self._whole_waiter
        if self._fault is not None:
            raise self._fault
        body = b"".join(self._ahead)
        if len(body) > bytes_max:
            return None
        return Answer(head.status, head.passing(route), body)

    def _has_more(self) -> None:
        """Of an answer that is waited for as a whole."""
        if self._whole_waiter is not None and not self._whole_waiter.done():
            self._whole_waiter.set_result(None)

    async def replay(self, answer: Answer) -> None:
        self._give(answer)

    def leave_open(self, *, event: bool, trailer: bool) -> None:
        head = self._head
        if head is None or self.method == "HEAD" or head.framing.kind not in ("chunked", "until_close"):
            return
        self._last_event = event and is_open_stream(head.fields)
        self._last_trailer = trailer and self._block.head.wants_trailers
        self._open = self._last_event or self._last_trailer

    async def conclude(self, cost: Money) -> None:
        if not self._open or self._caller.is_gone:
            return
        last = cost_event(cost, str(self.id)) if self._last_event else b""
        self._answered_bytes += len(last)
        if self._chunked:
            last = chunked([last]) + self._last_chunk(last_cost(cost) if self._last_trailer else [])
        self._caller.write(last)

    async def answer(self, meter: Meter, started: Started) -> None:
        head, route = self._head, self._route
        if head is None or route is None:
            raise RuntimeError("answer comes after forward")
        if self._fault is not None:
            raise self._fault
        if self._caller.is_gone:
            raise AnswerCut
        if head.status == 101:
            await self._switch(head, route, started)
            return
        self.status = head.status
        self._caller.write(self._beginning(head, route))
        started()
        if self._answer_ended:
            return
        self._streaming = True
        self._done = self._caller.relay.loop.create_future()
        if self._caller.is_full:
            self.caller_full()
        else:
            self.caller_drained()
        await self._done

    def _beginning(self, head: AnswerHead, route: Route) -> bytes:
        """The answer's head, and what has come of its body."""
        relay, version = self._caller.relay, self._block.version
        ours = "".join([f"{name}: {value}\r\n" for name, value in self.fields]).encode("latin-1")
        parts = [head.line, head.for_caller(route), ours]
        kind = head.framing.kind
        if kind == "chunked" or kind == "until_close":
            bodiless = self.method == "HEAD"
            if version == 11 and (kind == "chunked" or not bodiless):
                self._chunked = not bodiless
                parts.append(b"Transfer-Encoding: chunked\r\n")
                if self._block.head.wants_trailers:
                    parts.append(encoded([field for field in head.fields if field[0].lower() == "trailer"]))
                if self._last_trailer:
                    parts.append(b"Trailer: Gateway-Cost\r\n")
            elif not bodiless:
                self.closes = True
        if not head.dated:
            parts.append(relay.date_line())
        if not self.upload.done or relay.closing:
            self.closes = True
        if self.closes:
            parts.append(b"Connection: close\r\n")
        elif version == 10:
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        if self._ahead:
            self._answered_bytes += sum(map(len, self._ahead))
            parts.append(chunked(self._ahead) if self._chunked else b"".join(self._ahead))
            self._ahead = []
        if self._answer_ended and self._chunked and not self._open:
            parts.append(self._last_chunk())
        return b"".join(parts)

    async def _switch(self, head: AnswerHead, route: Route, started: Started) -> None:
        """`101`: from here on the connections belong to each other."""
        upgrade = [(name, value) for name, value in head.fields if name.lower() == "upgrade"]
        self.status = 101
        self.closes = True
        self._answered_bytes += sum(map(len, self._ahead))
        self._caller.write(
            b"".join(
                (
                    head.line,
                    head.for_caller(route),
                    encoded([*self.fields, *upgrade, ("Connection", "Upgrade")]),
                    b"\r\n",
                    *self._ahead,
                )
            )
        )
        started()
        if self._answer_ended or self._upstream is None:
            return
        self._streaming = True
        self._done = self._caller.relay.loop.create_future()
        if route.price.slice is not None and is_websocket(upgrade):
            self._tunnel = WebSocketTunnel(self._caller, self._upstream, self._finish, self._ahead)
        else:
            self._tunnel = Tunnel(self._caller, self._upstream, self._finish)
        self._caller.open_tunnel(self._tunnel)
        self._upstream.pause_reading() if self._caller.is_full else self._upstream.resume_reading()
        await self._done
        if self._meter is not None and self._meter.follower is not None:
            self._meter.follower.end()  # time is counted no longer, and nobody pays for more
        if self._upstream is not None:
            self._upstream.finish()
            self._upstream = None

    def pause(self) -> None:
        self._paused = True
        if self._upstream is not None:
            self._upstream.pause_reading()

    def go_on(self) -> None:
        self._paused = False
        if self._upstream is not None and self._streaming and not self._caller.is_full:
            self._upstream.resume_reading()

    def end_early(self, refusal: Refusal) -> None:
        if not self._streaming:
            return
        if isinstance(self._tunnel, WebSocketTunnel) and self._tunnel.close(refusal, str(self.id)):
            self.lingers = True
            self._finish()
            return
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None
        if self._head is None or not is_open_stream(self._head.fields) or self._tunnel is not None:
            self._break_off(refusal)
            return
        event = last_event(refusal, str(self.id))
        self._answered_bytes += len(event)
        self._caller.write(chunked([event]) if self._chunked else event)
        if self._chunked and not self._open:
            self._caller.write(LAST_CHUNK)
        self._finish()

    async def refuse(self, refusal: Refusal, route: Route | None) -> None:
        relay = self._caller.relay
        answer = relay.refusals(refusal, self, route)
        self._give(answer)

    def fail(self, error: Exception) -> None:
        """Something that is no refusal came up: a bug or an outage. The caller learns the request id."""
        relay = self._caller.relay
        relay.log_failure(str(self.id), error)
        if self.status:
            self._caller.cut(reset=True)
        else:
            self._give(relay.internal_error(str(self.id)))

    def _give(self, answer: Answer) -> None:
        """An answer of our own."""
        if self._caller.is_gone:
            return
        relay = self._caller.relay
        if not self.upload.done and not self._caller.can_discard(self):
            self.closes = True
        if relay.closing or self._block.fault is not None or self._caller.fault is not None or answer.status == 400:
            self.closes = True
        self.status = answer.status
        self._answered_bytes = 0 if self.method == "HEAD" else len(answer.body)
        self._caller.write(
            answers.encoded(
                answer,
                date=relay.date_line(),
                closes=self.closes,
                bodiless=self.method == "HEAD",
                version=self._block.version,
            )
        )

    def close(self) -> None:
        """Let go of the upstream. One whose answer was not read to its end is abandoned at once."""
        if self._continue_timer is not None:
            self._continue_timer.cancel()
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None

    # --- what the upstream says ---------------------------------------------------------------------------------------

    def interim(self, head: AnswerHead) -> None:
        if self._block.version != 11 or self._streaming or self.status:
            return
        if head.status == 100:
            self._say_continue()
        elif self._route is not None:
            self._caller.write(head.line + head.for_caller(self._route) + b"\r\n")

    def _say_continue(self) -> None:
        if self._continue_timer is None:
            return  # nobody waits for it
        self._continue_timer.cancel()
        self._continue_timer = None
        if not self.upload.done and self._head is None and not self.status:
            self._caller.write(_CONTINUE)

    def head(self, head: AnswerHead) -> None:
        if head.status == 101 and not (self._block.head.upgrade and self._block.version == 11):
            raise BadFraming("it switches protocols and nobody asked")
        self._head = head
        if self._head_waiter is not None and not self._head_waiter.done():
            self._head_waiter.set_result(None)

    def whole(self, head: AnswerHead, body: bytes) -> None:
        self._head = head
        if body:
            self._ahead.append(body)
        self._answer_ended = True
        self._upstream = None
        if self._head_waiter is not None and not self._head_waiter.done():
            self._head_waiter.set_result(None)

    def body(self, data: bytes) -> None:
        """Of the answer."""
        if self._streaming:
            self._answered_bytes += len(data)
            self._caller.write(chunked([data]) if self._chunked else data)
        else:
            self._keep_ahead(data)

    def _keep_ahead(self, data: bytes) -> None:
        self._ahead.append(data)
        self._ahead_bytes += len(data)
        self._has_more()
        if self._ahead_bytes >= self._ahead_bytes_max and self._upstream is not None:
            self._upstream.pause_reading()

    def end(self, trailers: Fields) -> None:
        self._answer_ended = True
        self._trailers = trailers
        self._upstream = None
        self._has_more()
        if self._streaming:
            if self._chunked and not self._open:
                self._caller.write(self._last_chunk())
            self._finish()

    def _last_chunk(self, ours: Iterable[tuple[str, str]] = ()) -> bytes:
        """The end of a chunked body, with its trailers if the caller can use them (RFC 9110, section 6.5.1)."""
        theirs = to_caller(_passing(self._trailers)) if self._trailers and self._block.head.wants_trailers else []
        return b"0\r\n" + encoded([*theirs, *ours]) + b"\r\n" if theirs or ours else LAST_CHUNK

    def broken(self, *, timed_out: bool, over: bool, begun: bool, stale: bool) -> None:
        self._upstream = None
        self._spoken = begun
        fault = _Stale() if stale else UpstreamTimedOut() if timed_out else UpstreamFailed()
        if self._streaming and self._tunnel is None and not (over and self._is_over_by_caller()):
            assert self._meter is not None
            self._meter.cut()
        self._break_off(fault)

    def upload_failed(self, refusal: Refusal) -> None:
        """The rest of the request's body is not coming, or is not what it should be."""
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None
        self._break_off(refusal)

    def _break_off(self, fault: Refusal) -> None:
        if self._streaming:
            self._caller.cut(reset=not self._is_framed)
            self._finish(AnswerCut())
        elif self._head_waiter is not None and not self._head_waiter.done():
            self._head_waiter.set_exception(fault)
        else:
            self._fault = fault
            self._has_more()

    @property
    def _is_framed(self) -> bool:
        """Whether the caller sees by the bytes alone that some are missing."""
        return self._chunked or (self._head is not None and self._head.framing.kind == "length")

    def _finish(self, error: Exception | None = None) -> None:
        done, self._streaming = self._done, False
        if done is None or done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def upstream_full(self) -> None:
        self._caller.pause_reading()

    def upstream_drained(self) -> None:
        self._caller.resume_reading()

    # --- what the caller's connection says ----------------------------------------------------------------------------

    def upload_data(self, data: bytes) -> bytes:
        """More of the request's body; what is left belongs to the next request. Raises BadRequest, BodyTooLarge."""
        up, rest = self.upload.feed(data)
        if self._upstream is not None:
            self._upstream.send(up, last=self.upload.done)
        return rest

    def caller_full(self) -> None:
        if self._upstream is not None:
            self._upstream.pause_reading()
            if self._streaming:
                self._full_since = self._caller.relay.now()

    def caller_drained(self) -> None:
        self._count_waiting()
        if self._upstream is not None and self._streaming and not self._paused:
            self._upstream.resume_reading()

    def _count_waiting(self) -> None:
        if self._full_since is not None:
            self._waited_seconds += self._caller.relay.now() - self._full_since
            self._full_since = None

    def _is_over_by_caller(self) -> bool:
        self._count_waiting()
        assert self._route is not None
        return self._route.upstream.is_over_by_caller(self._waited_seconds)

    # --- after a 101 --------------------------------------------------------------------------------------------------

    def switched(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.from_server(data)
        else:
            self._keep_ahead(data)

    def server_ended(self) -> None:
        if self._tunnel is not None:
            self._tunnel.server_ended()
        else:
            self._answer_ended = True


class _Stale(UpstreamFailed):
    """An old connection turned out to be closed: nobody's fault, and nothing was read of the request."""


_NOT_IN_TRAILERS = frozenset(
    "content-length content-encoding content-type content-range host cache-control authorization set-cookie".split()
)


def _passing(trailers: Fields) -> Fields:
    """Less the fields that frame, route or authorise: they have no business behind a body (RFC 9110, section 6.5.1)."""
    return [(name, value) for name, value in trailers if name.lower() not in _NOT_IN_TRAILERS]
