"""Sends messages to one address, and fetches documents, over http; and from no address that it should not reach.

An address comes from the configuration, or from a provider that is named there, but whoever answers for its name may
change: so what the name means is looked at for every connection, and a private, loopback or link-local address (the
metadata service of a cloud, say) is not connected to unless the settings allow it. Redirects are not followed, and no
proxy of the environment is used. Of the answer to a message nothing but its status matters; of a document no more is
read than it may have, and nothing is unpacked.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.core.hosts import is_public
from gateway.ports import Document, NoReply, NotFetched, NotSent, Reply

_SECONDS_MAX = 10
DOCUMENT_SECONDS_MAX = 5.0
DOCUMENT_BYTES_MAX = 65_536
_MAX_AGE = re.compile(r"(?:^|,)\s*max-age\s*=\s*\"?([0-9]{1,9})\"?\s*(?:,|$)", re.IGNORECASE)
_NOT_KEPT = re.compile(r"(?:^|,)\s*no-(?:store|cache)\s*(?:,|$)", re.IGNORECASE)


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


class _Way:
    """A way out to addresses outside, and to those inside if it may be `private`. Opened when it is first used."""

    def __init__(self, *, private: bool, resolver: AbstractResolver | None, seconds: float) -> None:
        self._private = private
        self._resolver = resolver
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    @asynccontextmanager
    async def ask(self, method: str, url: str, failed: type[Exception], **rest: Any) -> AsyncIterator[Any]:
        """The answer, until it has been read. Raises `failed`, which says why without the address."""
        try:
            self._check(url)
            async with self._opened().request(method, url, allow_redirects=False, **rest) as answer:
                yield answer
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            inside = isinstance(error, _Inside) or isinstance(error.__cause__, _Inside)
            raise failed("its name means a private address" if inside else type(error).__name__) from error

    def _check(self, url: str) -> None:
        """An address that is no name is never resolved."""
        host = urlsplit(url).hostname or ""
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
                timeout=aiohttp.ClientTimeout(total=self._seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class HttpSender:
    """Implements `ports.Sends`. Connects when there is something to send."""

    def __init__(self, url: str, *, private: bool, resolver: AbstractResolver | None = None) -> None:
        self._url = url
        self._way = _Way(private=private, resolver=resolver, seconds=_SECONDS_MAX)

    async def send(self, head: Mapping[str, str], body: bytes) -> None:
        fields = {**head, "Content-Type": "application/json", "User-Agent": "farebox"}
        async with self._way.ask("POST", self._url, NotSent, data=body, headers=fields) as answer:
            status = answer.status
        if not 200 <= status < 300:
            raise NotSent(f"it answered {status}")

    async def close(self) -> None:
        await self._way.close()


class HttpDocuments:
    """Implements `ports.Documents`: over https, or from the inside over http if it may be `private`."""

    def __init__(
        self,
        *,
        private: bool,
        resolver: AbstractResolver | None = None,
        seconds: float = DOCUMENT_SECONDS_MAX,
        bytes_max: int = DOCUMENT_BYTES_MAX,
    ) -> None:
        self._private = private
        self._bytes_max = bytes_max
        self._way = _Way(private=private, resolver=resolver, seconds=seconds)

    async def fetch(self, url: str) -> Document:
        if not url.startswith("https://") and not self._private:
            raise NotFetched("its address is not https://")
        fields = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "farebox"}
        async with self._way.ask("GET", url, NotFetched, headers=fields) as answer:
            if answer.status != 200:
                raise NotFetched(f"it answered {answer.status}")
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise NotFetched("it is packed, although that was not asked for")
            content = await _content(answer, self._bytes_max, NotFetched)
            return Document(content, _kept_seconds(answer.headers))

    async def close(self) -> None:
        await self._way.close()


class HttpCalls:
    """Implements `ports.Calls`: over https, or to the inside over http if it may be `private`."""

    def __init__(
        self, *, private: bool, resolver: AbstractResolver | None = None, seconds: float = _SECONDS_MAX
    ) -> None:
        self._private = private
        self._way = _Way(private=private, resolver=resolver, seconds=seconds)

    async def call(
        self, url: str, *, fields: Mapping[str, str], form: Mapping[str, str] | None = None, bytes_max: int = 65_536
    ) -> Reply:
        if not url.startswith("https://") and not self._private:
            raise NoReply("its address is not https://")
        head = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "farebox", **fields}
        body = None if form is None else urlencode(form).encode()
        if body is not None:
            head["Content-Type"] = "application/x-www-form-urlencoded"
        method = "GET" if body is None else "POST"
        async with self._way.ask(method, url, NoReply, headers=head, data=body) as answer:
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise NoReply("it is packed, although that was not asked for")
            content = await _content(answer, bytes_max, NoReply)
            return Reply(answer.status, {name.lower(): value for name, value in answer.headers.items()}, content)

    async def close(self) -> None:
        await self._way.close()


async def _content(answer: aiohttp.ClientResponse, bytes_max: int, failed: type[Exception]) -> bytes:
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > bytes_max:
            raise failed(f"it has more than {bytes_max} bytes")
    return bytes(content)


def _kept_seconds(headers: Mapping[str, str]) -> float | None:
    """For how long a document may be kept (RFC 9111): by what `Cache-Control` says, less the age that it has."""
    control, age = headers.get("Cache-Control", ""), headers.get("Age", "")
    if _NOT_KEPT.search(control):
        return 0.0
    found = _MAX_AGE.search(control)
    if found is None:
        return None
    old = float(age) if age.isascii() and age.isdecimal() and len(age) < 10 else 0.0
    return max(0.0, float(found[1]) - old)
