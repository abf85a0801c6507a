"""The relay as a whole: what every connection shares, and the sockets on which it listens."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Protocol

from gateway.core import targets
from gateway.core.answers import Answer
from gateway.core.ids import RequestNumbers
from gateway.core.refusals import Refusal
from gateway.core.routes import RESERVED_PREFIXES, Route
from gateway.core.traces import TraceMode
from gateway.ports import Clock, Exchange
from gateway.relay import answers
from gateway.relay.checks import Chance
from gateway.relay.connection import CallerConnection
from gateway.relay.heads import Heads, RequestBlock
from gateway.relay.lending import Borrower
from gateway.relay.sweep import Sweep
from gateway.relay.upstream import Pools

Refuses = Callable[[Refusal, Exchange, Route | None], Answer]


class Timeouts(Protocol):
    """How long a caller may take."""

    @property
    def head_seconds(self) -> float: ...
    @property
    def keep_alive_seconds(self) -> float: ...
    @property
    def body_seconds(self) -> float: ...
    @property
    def send_seconds(self) -> float: ...
    @property
    def shutdown_seconds(self) -> float: ...


class Relay:
    """Serves connections. Everything but its life is read by `CallerConnection`."""

    def __init__(
        self,
        *,
        serve: Callable[[Exchange], Awaitable[None]],
        refusals: Refuses,
        internal_error: Callable[[str], Answer],
        log_failure: Callable[[str, Exception], None],
        complain: Callable[..., None],
        lend: Callable[[], Borrower],
        own_paths: AbstractSet[str],
        clock: Clock,
        numbers: RequestNumbers,
        cookie: str,
        scheme: str,
        timeouts: Timeouts,
        body_bytes_max: int,
        head_bytes_max: int,
        fields_max: int,
        connections_max: int,
        trusted: tuple[IPv4Network | IPv6Network, ...],
        trust_unix: bool,
        too_many: Answer,
        issuer: str = "",
        trace: TraceMode = "pass",
        chance: Chance,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.now = self.loop.time
        self.serve = serve
        self.refusals = refusals
        self.internal_error = internal_error
        self.log_failure = log_failure
        self.lend = lend
        self.clock = clock
        self.numbers = numbers
        self.cookie = cookie
        self.scheme = scheme
        self.timeouts = timeouts
        self.body_bytes_max = body_bytes_max
        self.head_bytes_max = head_bytes_max
        self.trusted = trusted
        self.trust_unix = trust_unix
        self.issuer = issuer
        self.trace: TraceMode = trace
        self.trusts_fronts = bool(trusted) or trust_unix
        self.closing = False
        self.heads = Heads(fields_max=fields_max, head_bytes_max=head_bytes_max)
        self.sweep = Sweep()
        self.pools = Pools(heads=self.heads, sweep=self.sweep, report=complain, chance=chance)
        self._own_paths = own_paths
        self._connections_max = connections_max
        self._connections: set[CallerConnection] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._too_many = too_many
        self._servers: list[asyncio.Server] = []
        self._date_second = 0
        self._date_line = b""

    # --- life ---------------------------------------------------------------------------------------------------------

    async def listen(self, **where: Any) -> asyncio.Server:
        """Begin to accept, on a `host` and `port`, a `path`, or a `sock` that is bound already. Raises OSError."""
        if not self._servers:
            self.sweep.start()
        if where.get("ssl") is not None:
            where.setdefault("ssl_handshake_timeout", self.timeouts.head_seconds)
        make = self.loop.create_unix_server if "path" in where else self.loop.create_server
        server = await make(lambda: CallerConnection(self), backlog=1024, **where)
        self._servers.append(server)
        return server

    async def stop(self, *, grace_seconds: float = 0) -> None:
        """Accept nothing more, let what is under way finish within the bound, and end what then remains.

        Who comes within the grace on a connection that was idle is served once more: it cannot know yet.
        """
        self.closing = True
        for server in self._servers:
            for listening in server.sockets:
                self.loop.remove_reader(listening.fileno())
        # asyncio takes a turn from accepting a connection to making it, and loses it if the server closes in between.
        await asyncio.sleep(_ACCEPTED_SECONDS)
        for server in self._servers:
            server.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self._empty.wait()
        for connection in list(self._connections):
            connection.stop()
        try:
            async with asyncio.timeout(self.timeouts.shutdown_seconds):
                await self._empty.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()
            await self._empty.wait()
        self.pools.close()
        self.sweep.stop()

    def opened(self, connection: CallerConnection) -> bool:
        """Count a connection; whether it may stay."""
        self._connections.add(connection)
        self._empty.clear()
        self.sweep.add(connection)
        return len(self._connections) <= self._connections_max

    def closed(self, connection: CallerConnection) -> None:
        self._connections.discard(connection)
        self.sweep.discard(connection)
        if not self._connections:
            self._empty.set()

    def stands(self) -> tuple[int, int]:
        """How many callers are connected, and how many of them are being served."""
        return len(self._connections), sum(connection.current is not None for connection in self._connections)

    # --- what connections ask -----------------------------------------------------------------------------------------

    def own_target(self, target: str, method: str, block: RequestBlock) -> str | None:
        """The target as aiohttp gets it, if it is an address of ours; None if it is an upstream's.

        Raises BadTarget, TargetTooLong.
        """
        if target[:1] == "/" and not self._is_own(target):
            return None
        origin_form = targets.read(target, method=method, host=block.head.host).raw
        return origin_form if self._is_own(origin_form) else None

    def _is_own(self, target: str) -> bool:
        if target.startswith(RESERVED_PREFIXES):
            return True
        return bool(self._own_paths) and target.partition("?")[0] in self._own_paths

    def date_line(self) -> bytes:
        """`Date`, for answers that have none (RFC 9110, section 6.6.1)."""
        second = self.clock.now_ms() // 1000
        if second != self._date_second:
            self._date_second = second
            text = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(second))
            self._date_line = f"Date: {text}\r\n".encode()
        return self._date_line

    def too_many(self) -> bytes:
        """The answer to a connection that is one too many."""
        return answers.encoded(self._too_many, date=self.date_line(), closes=True, bodiless=False, version=11)


_ACCEPTED_SECONDS = 0.02
