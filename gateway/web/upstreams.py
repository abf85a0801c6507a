"""The upstreams of the aiohttp form: a client session for each server, and which of them is asked next.

Only a server that could not be connected to is passed over for another: not a byte of the request has left, so nothing
can happen twice. Whatever fails later is told to the caller.
"""

import asyncio
import errno
import ssl
from collections.abc import Collection
from math import ceil
from typing import Any

from aiohttp import BaseConnector, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, UnixConnector
from aiohttp.abc import ResolveResult

from gateway.core.health import Rotation
from gateway.core.hosts import is_public
from gateway.core.refusals import UpstreamUnavailable
from gateway.core.routes import Server, Upstream

_INVENTED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Upstreams:
    """Every upstream that was asked so far."""

    def __init__(self) -> None:
        self._pools: dict[Upstream, Pool] = {}

    def pool(self, upstream: Upstream) -> "Pool":
        """What is known of this upstream, and its connections."""
        found = self._pools.get(upstream)
        if found is None:
            found = self._pools[upstream] = Pool(upstream)
        return found

    async def close(self) -> None:
        for pool in self._pools.values():
            await pool.close()
        self._pools.clear()


class Pool:
    """The connections to one upstream, over all its servers."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._rotation = Rotation(upstream.servers, upstream.ejection)
        self._sessions: dict[Server, ClientSession] = {}

    def first(self) -> Server:
        """The server to ask. Raises UpstreamUnavailable if none could be reached lately."""
        now = _now()
        server = self._rotation.pick(now)
        if server is None:
            raise UpstreamUnavailable(retry_after_seconds=max(1, ceil(self._rotation.retry_after(now))))
        return server

    def other(self, tried: Collection[Server]) -> Server | None:
        """A server to ask instead of those that could not be reached, if there is one."""
        return self._rotation.pick(_now(), tried)

    def unreachable(self, server: Server) -> None:
        self._rotation.unreachable(server, _now())

    def misbehaved(self, server: Server) -> None:
        self._rotation.misbehaved(server, _now())

    def succeeded(self, server: Server) -> None:
        self._rotation.succeeded(server)

    def session(self, server: Server) -> ClientSession:
        found = self._sessions.get(server)
        if found is None:
            found = self._sessions[server] = ClientSession(
                connector=self._connector(server),
                timeout=ClientTimeout(
                    total=self._upstream.total_seconds,
                    connect=self._upstream.connect_seconds,
                    sock_read=self._upstream.first_byte_seconds,
                ),
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=_INVENTED_BY_AIOHTTP,
                max_line_size=16384,
                max_field_size=16384,
            )
        return found

    def _connector(self, server: Server) -> BaseConnector:
        limit, patience = self._upstream.connections_max, self._upstream.keep_alive_seconds
        if server.socket:
            return UnixConnector(server.socket, limit=limit, keepalive_timeout=patience)
        trusted = ssl.create_default_context(cafile=self._upstream.ca_file) if self._upstream.ca_file else True
        if self._upstream.guarded:
            return _Guarded(limit=limit, keepalive_timeout=patience, use_dns_cache=False, ssl=trusted)
        return TCPConnector(limit=limit, keepalive_timeout=patience, ttl_dns_cache=30, ssl=trusted)

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()


class _Guarded(TCPConnector):
    """Connects to addresses of the internet only, whatever a name means at that moment."""

    async def _resolve_host(self, host: str, port: int, traces: Any = None) -> list[ResolveResult]:
        found = await super()._resolve_host(host, port, traces)
        if not all(is_public(one["host"]) for one in found):
            raise OSError(errno.EACCES, "its name means a private address")
        return found


def _now() -> float:
    return asyncio.get_running_loop().time()
