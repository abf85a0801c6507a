"""Sends messages to one address, over http, and to no address that it should not reach.

The address comes from the configuration, but whoever answers for its name may change: so what the name means is looked
at for every connection, and a private, loopback or link-local address (the metadata service of a cloud, say) is not
connected to unless the settings allow it. Redirects are not followed, no proxy of the environment is used, and of an
answer nothing but its status matters.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.ports import NotSent

_SECONDS_MAX = 10


def is_public(address: str) -> bool:
    """Whether an address is one of the internet's."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(ip, "ipv4_mapped", None) or getattr(ip, "sixtofour", None)
    return ip.is_global and not ip.is_multicast and (inner is None or is_public(str(inner)))


class GuardedResolver(AbstractResolver):
    """Resolves names, and refuses those that mean an address of the inside."""

    def __init__(self, within: AbstractResolver) -> None:
        self._within = within

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._within.resolve(host, port, family)
        if not all(is_public(one["host"]) for one in found):
            raise _Inside
        return found

    async def close(self) -> None:
        await self._within.close()


class _Inside(OSError):
    """The name means an address of the inside."""


class HttpSender:
    """Implements `ports.Sends`. Connects when there is something to send."""

    def __init__(self, url: str, *, private: bool, resolver: AbstractResolver | None = None) -> None:
        self._url = url
        self._private = private
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def send(self, head: Mapping[str, str], body: bytes) -> None:
        try:
            self._check()
            fields = {**head, "Content-Type": "application/json", "User-Agent": "farebox"}
            async with self._opened().post(self._url, data=body, headers=fields, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            inside = isinstance(error, _Inside) or isinstance(error.__cause__, _Inside)
            raise NotSent("its name means a private address" if inside else type(error).__name__) from error
        if not 200 <= status < 300:
            raise NotSent(f"it answered {status}")

    def _check(self) -> None:
        """An address that is no name is never resolved."""
        host = urlsplit(self._url).hostname or ""
        try:
            public = is_public(host)
        except ValueError:
            return
        if not public and not self._private:
            raise _Inside

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            within = self._resolver or aiohttp.ThreadedResolver(asyncio.get_running_loop())
            resolver = within if self._private else GuardedResolver(within)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True),
                timeout=aiohttp.ClientTimeout(total=_SECONDS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
