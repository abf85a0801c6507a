"""Connections to upstreams: dialled, used by one exchange at a time, and used again when nothing speaks against it.

**A connection never carries one caller's leftovers to another.** It goes back to its pool only if its answer was read
to its exact end, its request was sent to its exact end, both sides want to go on, and not a byte came after. Whatever
else happens to it, it is aborted. A server that speaks without being asked loses its connection.

**Times** are not timers: each connection has a `deadline`, and one sweep for all looks at it (see `listener`). Silence
is the upstream's only while we are reading: an answer that waits for a slow caller is not late, and a stream of events
may be silent for as long as it likes (TCP's own keep-alive finds out whether its server is there).

**A fault is laid where it belongs**: what `Rotation` hears of a server is only what the server did, never that a caller
went away. A server that cannot be connected to, or fails its health check, is `unreachable`; one that breaks off what a
caller asked of it `misbehaved`, perhaps at that address only. A connection that was used before and closes before a
byte of the answer came is stale, which is nobody's fault.

**A body that ends with its connection** and came over TLS is whole only if the server said goodbye (RFC 9112, section
9.8): without it anybody on the way could have ended it.
"""

import asyncio
import errno
import math
import socket
import ssl
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Protocol, cast

from gateway.core import hosts
from gateway.core.framing import BadFraming
from gateway.core.health import Rotation
from gateway.core.refusals import UpstreamBusy, UpstreamFailed, UpstreamTimedOut, UpstreamUnavailable
from gateway.core.routes import Server, Upstream
from gateway.relay.checks import Chance, Checks
from gateway.relay.heads import AnswerHead, Heads
from gateway.relay.reading import AnswerReader, Reads
from gateway.relay.sweep import Sweep

ANSWER_HEAD_BYTES_MAX = 65_536
_NEVER = math.inf
_OUR_OWN_LACK = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))


class Asks(Reads, Protocol):
    """Whoever waits for an answer on a connection."""

    def whole(self, head: AnswerHead, body: bytes) -> None:
        """Instead of `head`, `body` and `end`: all of an answer that came in one piece."""

    def broken(self, *, timed_out: bool, over: bool, begun: bool, stale: bool) -> None:
        """There will be no (whole) answer. `begun`: a byte of it came. `stale`: none did, on an old connection.

        `over`: what was too long is the whole of it, whoever had to be waited for.
        """

    def server_ended(self) -> None:
        """After a `101`: the server will send nothing more."""

    def upstream_full(self) -> None:
        """Send no more of the body for now."""

    def upstream_drained(self) -> None:
        """Go on sending."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to a server."""

    __slots__ = (
        "_asks", "_full", "_full_bytes", "_given_up", "_head", "_is_check", "_pool", "_reader", "_reading",
        "_request_sent", "_server_ended", "_transport", "_unsent", "deadline", "lane", "server",
        "total_deadline", "used",
    )  # fmt: skip

    def __init__(self, pool: "Pool", lane: "Lane") -> None:
        self._pool = pool
        self.lane = lane
        self.server = lane.server
        self.used = False
        self.deadline = _NEVER
        self.total_deadline = _NEVER
        self._asks: Asks | None = None
        self._reader = AnswerReader(pool.heads, self, ANSWER_HEAD_BYTES_MAX)
        self._head: AnswerHead | None = None
        self._is_check = False
        self._request_sent = True
        self._unsent = b""
        self._server_ended = False
        self._given_up = False
        self._reading = True
        self._full = False
        self._full_bytes = 0
        self._transport: asyncio.Transport

    def give_up(self) -> None:
        """Nobody waits for it to be connected any more."""
        self._given_up = True
        if self._pool.has_open(self):
            self._pool.closed(self)  # uvloop may never tell that it is lost
            self._transport.abort()

    def is_usable(self) -> bool:
        """Whether it may be asked again; taken from its pool it waits for nothing until it is."""
        self.deadline = _NEVER
        return not self._transport.is_closing()

    # --- what the exchange does ---------------------------------------------------------------------------------------

    def ask(self, asks: Asks, method: str, data: bytes, *, whole: bool, check: bool = False) -> None:
        """Send a request's head; `whole` if it has no body that follows. `check`: it is the health check.

        Else it is sent with what is there of the body, by `send` or `flush`: one call of the system for both.
        """
        pool = self._pool
        self._is_check = check
        self._asks = asks
        self._head = None
        self._reader.begin(method)
        self._request_sent = whole
        self.deadline = pool.now() + pool.upstream.first_byte_seconds if whole else _NEVER
        if pool.upstream.total_seconds is not None:
            self.total_deadline = pool.now() + pool.upstream.total_seconds
        if whole:
            self._transport.write(data)
        else:
            self._unsent = data

    def flush(self) -> None:
        """Nothing of the body is there yet: send the head alone."""
        if self._unsent:
            self._transport.write(self._unsent)
            self._unsent = b""

    def send(self, data: bytes, *, last: bool) -> None:
        """Send more of the request's body."""
        if self._unsent:
            data, self._unsent = self._unsent + data, b""
        if data:
            self._transport.write(data)
        if last:
            self._request_sent = True
            if self._head is None:
                self.deadline = self._pool.now() + self._pool.upstream.first_byte_seconds
            elif self._reading:
                self._set_idle_deadline()

    def end_sending(self) -> None:
        """After a `101`: nothing more will come from the caller."""
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self.deadline = _NEVER
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self._transport.is_closing():
            self._reading = True
            self._set_idle_deadline()
            self._transport.resume_reading()

    def finish(self) -> None:
        """After a `101`: what was sent still arrives, as long as the server takes it."""
        self._asks = None
        self._close()

    def _close(self) -> None:
        self._full_bytes = self._transport.get_write_buffer_size()
        self.deadline = self._pool.now() + self._pool.upstream.idle_seconds
        self.total_deadline = _NEVER
        self._transport.close()

    def abandon(self) -> None:
        """Nobody waits for this answer any more."""
        self._asks = None
        self.abort()

    def abort(self) -> None:
        self._unsent = b""
        self._transport.abort()

    # --- what the server does -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own is no subclass of it
        opened = transport.get_extra_info("socket")
        if opened is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._given_up:
            self._transport.abort()
        else:
            self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader.ended:
            self.abort()  # it was not asked
            return
        try:
            if self._asks is not None and (whole := reader.whole(data)) is not None:
                self._answered_whole(self._asks, *whole)
                return
            left_over = reader.feed(data)
        except BadFraming as bad:
            self._pool.complain(self.server, bad.args[0] if bad.args else "")
            self._break()
            return
        if self._reader.ended:
            self._answered(left_over)
        elif self._reading:
            self._set_idle_deadline()

    def eof_received(self) -> bool:
        """True keeps our side open: after a `101`, bytes may still go the other way."""
        if self._reader.switched and self._asks is not None:
            self._server_ended = True
            self._asks.server_ended()
            return True
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self._pool.closed(self)
        try:
            self._end(exc)
        finally:
            self._reader.let_go()

    def _end(self, exc: BaseException | None) -> None:
        reader, asks = self._reader, self._asks
        if asks is None or reader.ended:
            return
        if exc is None and not self._lacks_goodbye() and reader.closed():
            self._asks = None
        elif reader.switched and (exc is None or self._server_ended):
            self._asks = None
            asks.end([])  # it had said its last: what came after that is not a break
        else:
            self._break()

    def _lacks_goodbye(self) -> bool:
        """Whether the connection was a TLS one, and ended without its `close_notify`."""
        secured = self._transport.get_extra_info("ssl_object")
        if secured is None:
            return False
        try:
            secured.read(1)
        except ssl.SSLZeroReturnError:
            return False
        except ssl.SSLError:
            pass  # it would wait for more
        return True

    def pause_writing(self) -> None:
        self._full = True
        self._full_bytes = self._transport.get_write_buffer_size()
        self.deadline = self._pool.now() + self._pool.upstream.idle_seconds
        if self._asks is not None:
            self._asks.upstream_full()

    def resume_writing(self) -> None:
        self._full = False
        if self._asks is None:
            return  # it is closing, and has its time for that
        self.deadline = _NEVER
        if self._head is not None:
            if self._reading:
                self._set_idle_deadline()
        elif self._request_sent:
            self.deadline = self._pool.now() + self._pool.upstream.first_byte_seconds
        self._asks.upstream_drained()

    def late(self, now: float) -> bool:
        return self.deadline < now or self.total_deadline < now

    def expire(self) -> None:
        """The deadline has passed."""
        over = self.total_deadline < self._pool.now()
        shrinks = self._transport.get_write_buffer_size() < self._full_bytes  # it does take what we send, if slowly
        if self._asks is None:
            self._close() if shrinks or not self._transport.is_closing() else self.abort()
        elif not over and self._full and shrinks:
            self.pause_writing()
        else:
            # A server that has begun to answer, or still waits for its request, is not to blame for the time it takes.
            blameless = over and (self._head is not None or not self._request_sent)
            self._break(timed_out=True, over=over, blamed=not blameless)

    # --- the parts of the answer --------------------------------------------------------------------------------------

    def interim(self, head: AnswerHead) -> None:
        if self._asks is not None:
            self._asks.interim(head)

    def head(self, head: AnswerHead) -> None:
        self._head = head
        if self._asks is not None:
            self._asks.head(head)  # may find that nobody asked for such an answer
        self._pool.succeeded(self.server)

    def body(self, data: bytes) -> None:
        if self._asks is not None:
            self._asks.body(data)

    def end(self, trailers: list[tuple[str, str]]) -> None:
        if self._asks is not None:
            self._asks.end(trailers)

    def switched(self, data: bytes) -> None:
        if self._asks is not None:
            self._asks.switched(data)

    # ------------------------------------------------------------------------------------------------------------------

    def _answered_whole(self, asks: Asks, head: AnswerHead, body: bytes) -> None:
        self._head = head
        asks.whole(head, body)
        self._pool.succeeded(self.server)
        self._answered(b"")

    def _answered(self, left_over: bytes) -> None:
        head = self._head
        self._asks = None
        self.used = True
        if (
            left_over
            or head is None
            or not head.keep_alive
            or not self._request_sent
            or self._full
            or not self._reading
            or self._is_check
        ):
            self.abort()
        else:
            self._pool.put(self, head.keep_alive_seconds)

    def _break(self, *, timed_out: bool = False, over: bool = False, blamed: bool = True) -> None:
        asks, self._asks = self._asks, None
        begun = self._reader.begun
        stale = self.used and not timed_out and not begun
        self.abort()
        if asks is None:
            return
        if self._is_check:
            self._pool.unreachable(self.server)
        elif blamed and not stale:
            self._pool.misbehaved(self.server)
        asks.broken(timed_out=timed_out, over=over, begun=begun, stale=stale)

    def _set_idle_deadline(self) -> None:
        head = self._head
        if head is None or self._asks is None:
            return  # still that of the first byte; or that of closing
        # Before the request is whole, a silent upstream is one that listens; one that takes nothing is late anyway.
        may_be_silent = (head.streams or head.status == 101 or not self._request_sent) and not self._full
        self.deadline = _NEVER if may_be_silent else self._pool.now() + self._pool.upstream.idle_seconds


class Lane:
    """The idle connections to one server, the one that was used last at the end."""

    __slots__ = ("idle", "server")

    def __init__(self, server: Server) -> None:
        self.server = server
        self.idle: list[UpstreamConnection] = []


class Pool:
    """The connections to one upstream."""

    def __init__(
        self,
        upstream: Upstream,
        *,
        heads: Heads,
        sweep: Sweep,
        report: Callable[..., None],
        chance: Chance,
    ) -> None:
        self.upstream = upstream
        self.heads = heads
        self._sweep = sweep
        self._report = report
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._rotation = Rotation(upstream.servers, upstream.ejection, trials=upstream.check is None)
        self._lanes = {server: Lane(server) for server in upstream.servers}
        self._open: set[UpstreamConnection] = set()
        self._only = self._lanes[upstream.servers[0]] if len(upstream.servers) == 1 else None
        self._troubled: set[Server] = set()
        self._contexts: dict[Server, ssl.SSLContext] = {}
        self._dialling = 0
        lanes = list(self._lanes.values())
        self._checks = Checks(self, lanes, upstream.check, chance) if upstream.check else None

    def left_out(self) -> int:
        """How many of its servers are."""
        return self._rotation.left_out()

    def stands(self) -> tuple[int, int, int]:
        """Connections that are idle, those that are busy, and servers that are left out."""
        idle = sum(len(lane.idle) for lane in self._lanes.values())
        return idle, len(self._open) - idle, self.left_out()

    def take(self, avoid: Collection[Server] = (), *, fresh: bool = False) -> "tuple[Lane, UpstreamConnection | None]":
        """The server whose turn it is, and an idle connection to it if there is one and no `fresh` one is wanted.

        Raises UpstreamUnavailable when none could be reached lately, UpstreamFailed if the rest is to be avoided.
        """
        lane = self._only
        if lane is None or self._troubled or avoid:
            lane = self._lanes[self._pick(avoid)]
        idle = lane.idle
        while idle and not fresh:
            connection = idle.pop()
            if connection.is_usable():
                return lane, connection
        return lane, None

    def _pick(self, avoid: Collection[Server]) -> Server:
        now = self.now()
        server = self._rotation.pick(now, avoid)
        if server is not None:
            return server
        if avoid:
            raise UpstreamFailed()
        check = self.upstream.check
        seconds = check.seconds if check else self._rotation.retry_after(now)
        raise UpstreamUnavailable(retry_after_seconds=max(1, math.ceil(seconds)))

    async def dial(self, lane: "Lane") -> UpstreamConnection:
        """A new connection. Raises UpstreamFailed, UpstreamTimedOut, UpstreamBusy."""
        server = lane.server
        self._make_room()
        self._dialling += 1
        try:
            async with asyncio.timeout(self.upstream.connect_seconds):
                return await self._connect(lane)
        except TimeoutError:
            self.unreachable(server)
            raise UpstreamTimedOut() from None
        except OSError as error:
            if error.errno in _OUR_OWN_LACK:
                raise UpstreamBusy() from None
            self.complain(server, f"cannot connect: {error.strerror or type(error).__name__}")
            self.unreachable(server)
            raise UpstreamFailed() from None
        finally:
            self._dialling -= 1

    async def _connect(self, lane: "Lane") -> UpstreamConnection:
        server, made = lane.server, UpstreamConnection(self, lane)
        try:
            if server.socket:
                await self._loop.create_unix_connection(lambda: made, server.socket)
                return made
            host = await self._public(server) if self.upstream.guarded else server.host
            if server.scheme == "https":
                name = self.upstream.server_name or server.host
                await self._loop.create_connection(
                    lambda: made, host, server.port, ssl=self._context(server), server_hostname=name
                )
            else:
                await self._loop.create_connection(lambda: made, host, server.port)
        except BaseException:
            made.give_up()  # it may be connected already, or will be in a moment: uvloop does not close it
            raise
        return made

    async def _public(self, server: Server) -> str:
        """The address that its name means now, and that is then dialled: a later look could find another one.

        Raises OSError if it means one of the inside.
        """
        found = await self._loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
        addresses = [str(one[4][0]) for one in found]
        if not all(hosts.is_public(address) for address in addresses):
            raise OSError(errno.EACCES, "its name means a private address")
        return addresses[0]

    def _context(self, server: Server) -> ssl.SSLContext:
        found = self._contexts.get(server)
        if found is None:
            found = self._contexts[server] = ssl.create_default_context(cafile=self.upstream.ca_file)
            found.minimum_version = ssl.TLSVersion.TLSv1_2
            found.set_alpn_protocols(["http/1.1"])
        return found

    def _make_room(self) -> None:
        """The oldest idle connection goes if there are as many as may be."""
        if len(self._open) + self._dialling < self.upstream.connections_max:
            return
        for lane in self._lanes.values():
            if lane.idle:
                lane.idle.pop(0).abort()
                return

    def put(self, connection: UpstreamConnection, seconds: float | None) -> None:
        """Keep a connection for the next request; a second less than its server says that it will."""
        kept = self.upstream.keep_alive_seconds
        if seconds is not None:
            kept = min(kept, seconds - 1)
        if kept <= 0 or self._closing:
            connection.abort()
            return
        connection.deadline = self.now() + kept
        connection.total_deadline = _NEVER
        connection.lane.idle.append(connection)

    def opened(self, connection: UpstreamConnection) -> None:
        self._open.add(connection)
        self._sweep.add(connection)

    def has_open(self, connection: UpstreamConnection) -> bool:
        return connection in self._open

    def closed(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        self._sweep.discard(connection)
        if connection in connection.lane.idle:
            connection.lane.idle.remove(connection)

    def succeeded(self, server: Server) -> None:
        if self._troubled and server in self._troubled:
            self._troubled.discard(server)
            self._rotation.succeeded(server)

    def unreachable(self, server: Server) -> None:
        self._troubled.add(server)
        self._rotation.unreachable(server, self.now())

    def misbehaved(self, server: Server) -> None:
        self._troubled.add(server)
        self._rotation.misbehaved(server, self.now())

    def complain(self, server: Server, why: str) -> None:
        self._report("upstream answered wrongly", upstream=self.upstream.name, server=str(server), why=why)

    def close(self) -> None:
        """Idle connections go now, busy ones with their exchanges."""
        self._closing = True
        if self._checks is not None:
            self._checks.stop()
        for lane in self._lanes.values():
            for connection in list(lane.idle):
                connection.abort()

    _closing = False


class Pools:
    """A pool for each upstream of the table of routes."""

    def __init__(self, *, heads: Heads, sweep: Sweep, report: Callable[..., None], chance: Chance) -> None:
        self._chance = chance
        self._heads = heads
        self._sweep = sweep
        self._report = report
        self._pools: dict[str, Pool] = {}
        self._watched: dict[str, Upstream] | None = None

    def of(self, upstream: Upstream) -> Pool:
        """The pool of an upstream; a new one if a reload has changed it."""
        found = self._pools.get(upstream.name)
        if found is None or found.upstream is not upstream:
            found = self._replace(found, upstream)
        return found

    def _replace(self, found: Pool | None, upstream: Upstream) -> Pool:
        if self._watched is not None and self._watched.get(upstream.name) != upstream:
            return self._passing(upstream)
        if found is not None:
            if found.upstream == upstream:
                found.upstream = upstream
                return found
            found.close()
        made = self._pools[upstream.name] = Pool(
            upstream, heads=self._heads, sweep=self._sweep, report=self._report, chance=self._chance
        )
        return made

    def _passing(self, upstream: Upstream) -> Pool:
        """For a request that was under way when a reload took its upstream away: nothing of it stays."""
        made = Pool(
            replace(upstream, check=None),
            heads=self._heads,
            sweep=self._sweep,
            report=self._report,
            chance=self._chance,
        )
        made.close()
        return made

    def watch(self, upstreams: Iterable[Upstream]) -> None:
        """These are the upstreams from now on: those with a health check are checked, and of others nothing stays."""
        named = self._watched = {upstream.name: upstream for upstream in upstreams}
        for name in [name for name in self._pools if name not in named]:
            self._pools.pop(name).close()
        for upstream in named.values():
            if upstream.check is not None or upstream.name in self._pools:
                self.of(upstream)

    def stands(self) -> dict[str, tuple[int, int, int]]:
        """By upstream: connections that are idle, those that are busy, and servers that are left out."""
        return {name: pool.stands() for name, pool in self._pools.items()}

    def left_out(self) -> dict[str, tuple[int, int]]:
        """By upstream, how many servers are left out, of how many; nothing of one that has all of its own."""
        pools = self._pools.items()
        return {name: (count, len(pool.upstream.servers)) for name, pool in pools if (count := pool.left_out())}

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
