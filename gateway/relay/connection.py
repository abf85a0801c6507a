"""One caller's connection: heads in, answers out, one request at a time.

A request begins when its head is complete, and the next one is not looked at before its answer is out; what a caller
sends ahead waits, within a bound. Requests for addresses of our own are lent to aiohttp, one at a time, and the
connection comes back, so a proxied request never takes another road because of what came before it.

A caller that closes its side has gone: its request is abandoned and what was not answered costs nothing. (Whether it
closed one side or both, nobody can tell, and nginx decides the same.)

When a request is refused while its body is still coming, closing at once would make the caller's system throw our
answer away unread. Small rests are read and forgotten; else we stop writing, read on for a while without keeping
anything, and close then.
"""

import asyncio
import fcntl
import math
import re
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING, Protocol, cast

from gateway.core import forwarding
from gateway.core.forwarding import Origin
from gateway.core.framing import BadFraming, ChunkedReader
from gateway.core.ids import RequestId
from gateway.core.refusals import (
    BadRequest,
    BodyTooSlow,
    HeadTooLarge,
    HeadTooSlow,
    MethodNotAllowed,
    Refusal,
    TargetTooLong,
)
from gateway.core.routes import Route, Server
from gateway.core.targets import TARGET_BYTES_MAX
from gateway.relay.bodies import RequestBody
from gateway.relay.exchange import RelayExchange
from gateway.relay.heads import RequestBlock, encoded
from gateway.relay.lending import Lent
from gateway.relay.tunnel import Tunnel

if TYPE_CHECKING:
    from gateway.relay.listener import Relay

_NEVER = math.inf
_AHEAD_BYTES_MAX = 131_072
_DISCARD_BYTES_MAX = 65_536
_LINGER_SECONDS = 2.0
_IDLE_TASK_SECONDS = 1.0
_REQUEST_LINE_SPARE = 64
_RESET = struct.pack("ii", 1, 0)  # do not linger: the close is a reset
_METHOD = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_BARE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_FIRST_LINE = re.compile(rb"[^ \r\n]+ [^\r\n]+ HTTP/1\.[01]\r\n")
_EMPTY_LINE = (b"", b"\r", b"\r\n")  # no more of a head than what may come before it
_NO_HEAD = re.compile(rb"[^!#$%&'*+.^_`|~0-9A-Za-z-]")  # what no request can begin with
_USUAL = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_NEVER_SERVED = frozenset(("CONNECT", "TRACE"))


class Current(Protocol):
    """What a connection is busy with: a proxied exchange, or a request that was lent."""

    upload: RequestBody
    upload_begun: bool
    closes: bool
    status: int
    carries_on: bool
    """Whether what it asked of an upstream outlives the connection."""
    lingers: bool
    """Whether its caller may still speak when it has ended, and be heard no more."""

    def upload_data(self, data: bytes) -> bytes: ...
    def upload_failed(self, refusal: Refusal) -> None: ...
    def caller_full(self) -> None: ...
    def caller_drained(self) -> None: ...
    def close(self) -> None: ...


class CallerConnection(asyncio.Protocol):
    """The protocol of an accepted connection."""

    __slots__ = (
        "_awaited", "_awaited_bytes", "_discarding", "_forwarding", "_full_bytes", "_holds", "_idle_deadline",
        "_lingering", "_origin", "_origin_host", "_peer", "_read_deadline", "_sent_before", "_task", "_transport",
        "_tunnel", "_unread", "_wait_for_room", "_waiter", "_write_deadline", "current",
        "fault", "is_full", "is_gone", "relay",
    )  # fmt: skip

    def __init__(self, relay: "Relay") -> None:
        self.relay = relay
        self.current: Current | None = None
        self.fault: Refusal | None = None
        """Why what came cannot be read as a request."""
        self.is_full = False
        self.is_gone = False
        self._task: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[RelayExchange | None] | None = None
        self._idle_deadline = _NEVER
        self._tunnel: Tunnel | None = None
        self._discarding: RequestBody | None = None
        self._lingering = False
        self._wait_for_room = False
        self._unread = b""
        self._holds = 0
        self._awaited: asyncio.Future[None] | None = None
        self._awaited_bytes = 0
        """How much of the current body somebody wants to see before it goes up."""
        self._full_bytes = 0
        self._read_deadline = self._write_deadline = _NEVER
        self._origin: Origin | None = None
        self._origin_host = ""
        self._peer = ""
        self._forwarding = b""
        self._sent_before: tuple[RequestBlock, Route, Server, bytes] | None = None
        self._transport: asyncio.Transport

    # --- what comes in ------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass of it
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        opened = transport.get_extra_info("socket")
        if opened is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if not self.relay.opened(self):
            self._transport.write(self.relay.too_many())
            self.is_gone = True
            self._transport.close()
            return
        self._read_deadline = self.relay.now() + self.relay.timeouts.head_seconds

    def data_received(self, data: bytes) -> None:
        current = self.current
        if current is None:
            if self._lingering or self.is_gone:
                return
            if self._discarding is not None:
                self._discard(data)
            elif self._wait_for_room:
                self._keep_unread(data)
            else:
                self._take_head(data)
        elif self._tunnel is not None:
            self._tunnel.from_caller(data)
        elif current.upload.done or not current.upload_begun:
            self._keep_unread(data)
        else:
            self._upload(current, data)

    def _keep_unread(self, data: bytes) -> None:
        self._unread += data
        if self._awaited is None:
            if len(self._unread) > _AHEAD_BYTES_MAX:
                self._hold(_UNREAD)
        elif len(self._unread) < self._awaited_bytes:
            self._read_deadline = self.relay.now() + self.relay.timeouts.body_seconds
        elif not self._awaited.done():
            self._awaited.set_result(None)

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.caller_ended()
            self.half_is_open()
            return True
        self._leave()
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self.relay.closed(self)
        self._leave()

    def _leave(self) -> None:
        """The caller is gone. What was written before may still reach it, but not for ever."""
        self.is_gone = True
        self._waiter = None  # it goes with its task, and no request comes after this
        self._read_deadline = _NEVER
        if not self.is_full:
            self._bound_writing()
        task, self._task = self._task, None  # whose exception has our frames: it must not be ours then
        if task is not None:
            task.cancel()
        if self.current is not None and not self.current.carries_on:
            self.current.close()  # the task may be an idle one, and this a request that was lent

    # --- heads --------------------------------------------------------------------------------------------------------

    def _take_head(self, data: bytes) -> None:
        looked_at = 0
        first = self._unread in _EMPTY_LINE
        if self._unread:
            looked_at = max(0, len(self._unread) - 3)
            data, self._unread = self._unread + data, b""
        whole = data
        if data.startswith(b"\r\n"):
            data, looked_at = data[2:], 0  # one empty line may come before a request (RFC 9112, section 2.2)
        end = data.find(b"\r\n\r\n", looked_at)
        if end < 0 or end + 4 > self.relay.head_bytes_max:
            self._wait_for_head(data, end, whole, first=first)
            return
        line_end = data.find(b"\r\n")
        method_end, version_at = data.find(b" ", 0, line_end), data.rfind(b" ", 0, line_end)
        if method_end <= 0 or version_at <= method_end:
            self.misread(BadRequest("its first line is malformed"))
            return
        method = data[:method_end].decode("latin-1")
        target = data[method_end + 1 : version_at].decode("latin-1")
        block, traceparent = self.relay.heads.traced(data[version_at + 1 : end + 2])
        if method not in _USUAL:
            if method in _NEVER_SERVED:
                self.fault = MethodNotAllowed()
            elif not _METHOD.fullmatch(method):
                self.fault = BadRequest("its method is malformed")
        self._begin(method, target, block, data[end + 4 :], traceparent)

    def _wait_for_head(self, data: bytes, end: int, whole: bytes, *, first: bool) -> None:
        """The head is not complete, or too large. `whole`: with the empty line before it."""
        relay = self.relay
        if whole not in _EMPTY_LINE and _NO_HEAD.match(data):
            self.misread(BadRequest("it is not HTTP"))
        elif len(data) > TARGET_BYTES_MAX + _REQUEST_LINE_SPARE and b"\r\n" not in data[: TARGET_BYTES_MAX + 64]:
            self.misread(TargetTooLong(limit_bytes=TARGET_BYTES_MAX))
        elif end >= 0 or len(data) > relay.head_bytes_max:
            self.misread(HeadTooLarge(limit_bytes=relay.head_bytes_max))
        elif _BARE_END.search(data):
            self.misread(BadRequest("a line does not end with a carriage return and a line feed"))
        elif b"\r\n" in data and not _FIRST_LINE.match(data):
            self.misread(BadRequest("its first line is malformed"))
        else:
            self._unread = whole
            if first and whole not in _EMPTY_LINE:
                self._read_deadline = relay.now() + relay.timeouts.head_seconds

    def misread(self, fault: Refusal) -> None:
        """What came is no request. It is refused like one, with nothing of it in answer or log."""
        self.fault = fault
        self._begin("-", "-", self.relay.heads.request(b"HTTP/1.1\r\nHost: -\r\n"), b"")

    def _begin(
        self, method: str, target: str, block: RequestBlock, rest: bytes, traceparent: str | None = None
    ) -> None:
        relay = self.relay
        if block.fault is None and self.fault is None:
            try:
                own = relay.own_target(target, method, block)
            except Refusal as refusal:
                self.fault, own = refusal, None
            if own is not None:
                self._lend(method, own, block, rest, traceparent)
                return
        elif self.fault is None:
            self.fault = block.fault  # whatever follows such a head may be its body
        id = RequestId(relay.clock.now_ms(), relay.numbers.next())
        exchange = RelayExchange(self, id, method, target, block, traceparent)
        self.current = exchange
        self._unread = rest
        self._read_deadline = _NEVER
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            self._task = relay.loop.create_task(self._serve(exchange))
        else:
            waiter.set_result(exchange)

    def _lend(self, method: str, target: str, block: RequestBlock, rest: bytes, traceparent: str | None) -> None:
        self.current = lent = Lent(self, method, target, block, traceparent)
        self._unread = rest
        self._read_deadline = _NEVER
        lent.start()

    async def _serve(self, exchange: RelayExchange | None) -> None:
        """One request after the other, in one task for as long as they come: to make one for each costs 2 µs."""
        while exchange is not None:
            try:
                await self.relay.serve(exchange)
            except Exception as error:
                exchange.fail(error)
            except asyncio.CancelledError:
                self._task = None  # the caller is gone, or the time to finish is over
                raise
            finally:
                exchange.close()
                waiter = self._waiter = self.relay.loop.create_future()
                self.ended(exchange)
            if self.is_gone or self._transport.is_closing():
                self._task = self._waiter = None
                return
            self._idle_deadline = self.relay.now() + _IDLE_TASK_SECONDS
            exchange = await waiter

    def _end_idle_task(self, now: float) -> None:
        """Ten thousand connections that wait need no ten thousand tasks."""
        if self._idle_deadline < now:
            self._idle_deadline = _NEVER
            waiter, self._waiter = self._waiter, None
            if waiter is not None:
                self._task = None
                waiter.set_result(None)

    def ended(self, current: Current) -> None:
        """The answer is out, or there will be none: the connection is free for its next request."""
        self.current = self._tunnel = None
        if self.is_gone:
            return
        if current.status == 0:
            self.cut(reset=True)
        elif current.closes or self.fault is not None:
            if current.upload.done and self.fault is None and not self._unread and not current.lingers:
                self._close()
            else:
                self._linger()
        elif not current.upload.done:
            self._discarding = current.upload
            self._read_deadline = self.relay.now() + _LINGER_SECONDS
            self._release(_UNREAD | _UPSTREAM)
            data, self._unread = self._unread, b""
            self._discard(data)
        else:
            self._next()

    def _next(self) -> None:
        if self.is_full:
            self._wait_for_room = True  # answers that nobody reads are not added to
            return
        self._wait_for_room = False
        if self.relay.closing and not self._unread:
            self._close()
            return
        self._read_deadline = self.relay.now() + self.relay.timeouts.keep_alive_seconds
        self._release(_UNREAD | _UPSTREAM)
        if self._unread:
            data, self._unread = self._unread, b""
            self._take_head(data)

    # --- bodies -------------------------------------------------------------------------------------------------------

    async def body_ahead(self, size: int) -> bytes:
        """So much of the current request's body, which stays where it is. Raises BodyTooSlow."""
        if len(self._unread) < size:
            await self._unread_reach(size)
        return self._unread[:size]

    async def chunks_ahead(self, bytes_max: int) -> bytes | None:
        """What the chunks of the current request's body carry, which stay where they are; None if that is more.

        Raises BodyTooSlow and BadRequest.
        """
        reader, pieces, at, size = ChunkedReader(), list[bytes](), 0, 0
        while not reader.done:
            if at == len(self._unread):
                await self._unread_reach(at + 1)
            try:
                found, consumed = reader.feed(self._unread[at:])
            except BadFraming:
                raise BadRequest("the body is malformed") from None
            pieces += found
            at += consumed
            size += sum(map(len, found))
            if size > bytes_max or at > 2 * bytes_max + _AHEAD_BYTES_MAX:
                return None
        return b"".join(pieces)

    async def _unread_reach(self, size: int) -> None:
        """Wait until so much has come that nobody has read. Raises BodyTooSlow."""
        self._awaited, self._awaited_bytes = self.relay.loop.create_future(), size
        self._read_deadline = self.relay.now() + self.relay.timeouts.body_seconds
        self._release(_UNREAD)
        try:
            await self._awaited
        finally:
            self._awaited = None
            self._read_deadline = _NEVER

    def upload_may_flow(self) -> None:
        """The current request's body may go up: what has come of it does now."""
        assert self.current is not None
        self._read_deadline = self.relay.now() + self.relay.timeouts.body_seconds
        data, self._unread = self._unread, b""
        self._release(_UNREAD)
        if data:
            self._upload(self.current, data)

    def _upload(self, current: Current, data: bytes) -> None:
        try:
            self._unread = current.upload_data(data)
        except Refusal as refusal:
            current.closes = True
            current.upload_failed(refusal)
            self._read_deadline = _NEVER
            return
        waits = not current.upload.done and not self._holds & _UPSTREAM
        self._read_deadline = self.relay.now() + self.relay.timeouts.body_seconds if waits else _NEVER

    def can_discard(self, current: Current) -> bool:
        """Whether what is left of the body may be read and forgotten, so that the connection goes on."""
        left = current.upload.left
        return left is not None and left <= _DISCARD_BYTES_MAX

    def _discard(self, data: bytes) -> None:
        body = self._discarding
        assert body is not None
        try:
            _, self._unread = body.feed(data)
        except Refusal:  # where the next request begins cannot be known
            self._discarding = None
            self._linger()
            return
        if body.done:
            self._discarding = None
            self._next()

    # --- what goes out ------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def pause_writing(self) -> None:
        self.is_full = True
        self._full_bytes = self._untaken()
        self._write_deadline = self.relay.now() + self.relay.timeouts.send_seconds
        if self.current is not None:
            self.current.caller_full()

    def resume_writing(self) -> None:
        self.is_full = False
        self._write_deadline = _NEVER
        if self._transport.is_closing():
            self._close()
        if self.current is not None:
            self.current.caller_drained()
        elif self._wait_for_room:
            self._next()

    def pause_reading(self) -> None:
        """The upstream takes no more for now."""
        self._hold(_UPSTREAM)
        self._read_deadline = _NEVER

    def resume_reading(self) -> None:
        self._release(_UPSTREAM)
        if self.current is not None and not self.current.upload.done:
            self._read_deadline = self.relay.now() + self.relay.timeouts.body_seconds

    def _hold(self, reason: int) -> None:
        if not self._holds and not self._transport.is_closing():
            self._transport.pause_reading()
        self._holds |= reason

    def _release(self, reason: int) -> None:
        if not self._holds:
            return
        self._holds &= ~reason
        if not self._holds and not self._transport.is_closing():
            self._transport.resume_reading()

    def open_tunnel(self, tunnel: Tunnel) -> None:
        """After a `101`; what came early goes first."""
        self._tunnel = tunnel
        data, self._unread = self._unread, b""
        self._release(_UNREAD)
        if data:
            tunnel.from_caller(data)

    def end_sending(self) -> bool:
        """Say that nothing more will come; whether the caller can still send."""
        if self._transport.is_closing() or not self._transport.can_write_eof():
            return False
        self._transport.write_eof()
        self.half_is_open()
        return True

    def half_is_open(self) -> None:
        """One half of a tunnel has ended: the other may go on, but not in silence for ever."""
        self._read_deadline = self.relay.now() + self.relay.timeouts.body_seconds

    def cut(self, *, reset: bool) -> None:
        """End so that the answer looks cut: where its end is the connection's end, only a reset does."""
        self.is_gone = True
        if not reset:
            self._close()
            return
        opened = self._transport.get_extra_info("socket")
        if opened is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def _close(self) -> None:
        """When all that was written is out; a caller may not take for ever for that either."""
        self._read_deadline = _NEVER
        self._transport.close()
        self._bound_writing()

    def _bound_writing(self) -> None:
        self._full_bytes = self._untaken()
        self._write_deadline = self.relay.now() + self.relay.timeouts.send_seconds if self._full_bytes else _NEVER

    def _untaken(self) -> int:
        """What waits for the caller, here and in the system, whose buffer gets room for more only in large steps."""
        opened, size = self._transport.get_extra_info("socket"), self._transport.get_write_buffer_size()
        try:
            return size + int.from_bytes(fcntl.ioctl(opened.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except (OSError, ValueError, AttributeError):
            return size  # it is closed already, or no such socket

    def _linger(self) -> None:
        self._lingering = True
        self._release(_UNREAD | _UPSTREAM)
        self._read_deadline = self.relay.now() + _LINGER_SECONDS
        if self._transport.can_write_eof():  # with TLS it cannot: the answer itself says where it ends
            self._transport.write_eof()
        self._bound_writing()

    # --- what takes too long ------------------------------------------------------------------------------------------

    def late(self, now: float) -> bool:
        return self._read_deadline < now or self._write_deadline < now or self._idle_deadline < now

    def expire(self) -> None:
        now, current = self.relay.now(), self.current
        self._end_idle_task(now)
        if self._read_deadline >= now and self._write_deadline >= now:
            return
        if self._write_deadline < now:
            self._expire_writing()
        elif self._lingering and self._transport.get_write_buffer_size():
            self._read_deadline = now + _LINGER_SECONDS  # it has yet to read the answer
        elif self._lingering or self._discarding is not None or self._tunnel is not None:
            self._transport.abort()
        elif current is not None and self._awaited is not None:
            self._read_deadline = _NEVER
            current.closes = True
            if not self._awaited.done():
                self._awaited.set_exception(BodyTooSlow())
        elif current is not None:
            self._read_deadline = _NEVER
            current.closes = True
            current.upload_failed(BodyTooSlow())
        elif self._unread not in _EMPTY_LINE:
            self.misread(HeadTooSlow())
        else:
            self._close()

    def _expire_writing(self) -> None:
        """The caller takes nothing of its answer, or takes it slowly."""
        size = self._untaken()
        if size < self._full_bytes:
            self._full_bytes = size
            self._write_deadline = self.relay.now() + self.relay.timeouts.send_seconds
        else:
            self._transport.abort()

    def stop(self) -> None:
        """The gateway is stopping: an idle connection closes now, a busy one with its answer."""
        if self.current is None and not self._lingering and self._discarding is None:
            self._close()

    def abort(self) -> None:
        """The time to finish is over."""
        self._transport.abort()

    def extra_info(self, name: str, default: object) -> object:
        """What is known of the connection."""
        return self._transport.get_extra_info(name, default)

    # --- who it is ----------------------------------------------------------------------------------------------------

    def origin(self, block: RequestBlock) -> Origin:
        """Where the request comes from, as far as its front is to be believed."""
        self._know_origin(block)
        assert self._origin is not None
        return self._origin

    def lines_for(self, block: RequestBlock, route: Route, server: Server) -> bytes:
        """The lines of a request that it shares with others of this connection: mostly those of the one before it."""
        last = self._sent_before
        if last is not None and last[0] is block and last[1] is route and last[2] is server:
            return last[3]
        self._know_origin(block)
        made = block.for_upstream(route, server, self.relay.cookie, self.relay.trace) + self._forwarding
        self._sent_before = (block, route, server, made)
        return made

    def _know_origin(self, block: RequestBlock) -> None:
        """Once for a connection, unless it is a front's that brings many callers' requests."""
        relay, host = self.relay, block.head.host
        if self._origin is not None and self._origin_host == host and not relay.trusts_fronts:
            return
        self._origin_host = host
        self._origin = forwarding.origin(
            self._peer, relay.scheme, host, block.fields, relay.trusted, trust_unix=relay.trust_unix
        )
        self._forwarding = encoded(forwarding.fields(self._origin))


_UNREAD, _UPSTREAM = 1, 2
