"""The aiohttp form of the exchange: mounts the gateway inside any aiohttp application.

Bodies stream both ways, a chunk at a time: a slow reader on one side stops the reading on the other (`write` waits for
the transport, aiohttp's reader pauses its own). Nothing is decompressed, redirected, retried on our account or
re-encoded; the target goes out exactly as it was checked.

What this form cannot do exactly, aiohttp being what it is: field values that are not UTF-8 (a request is refused, an
answer counts as failed, rather than altered in silence), `1xx` answers, trailers and upgrades (none are passed on).

**The caller's fault and the upstream's are kept apart.** Errors while reading the caller's body are caught where the
body is read and remembered, because aiohttp reports them as the client's own.

**A cut answer looks cut**: when the upstream breaks off, the caller's transport is closed without the last chunk.
"""

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    HttpVersion10,
    HttpVersion11,
    ServerTimeoutError,
    TCPConnector,
    web,
)
from multidict import CIMultiDict
from yarl import URL

from gateway.core import headers
from gateway.core.headers import Fields, Origin
from gateway.core.ids import RequestId, RequestNumbers
from gateway.core.meters import Meter
from gateway.core.money import Money
from gateway.core.refusals import (
    BadRequest,
    BodyTooLarge,
    BodyTooSlow,
    HeadTooLarge,
    MethodNotAllowed,
    Refusal,
    UpstreamFailed,
    UpstreamTimedOut,
)
from gateway.core.routes import Route, Upstream
from gateway.flows.serve import Serve
from gateway.ports import AnswerCut, Clock, Started
from gateway.web.answers import RelayedAnswer, internal_error, log_failure
from gateway.web.refusals import Refusals

_INVENTED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_NEVER_SERVED = frozenset(("CONNECT", "TRACE"))
_VERSIONS = (HttpVersion10, HttpVersion11)
_RESET = struct.pack("ii", 1, 0)  # do not linger: the close is a reset
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Upstreams:
    """Pooled connections to upstreams, a pool for each."""

    def __init__(self) -> None:
        self._sessions: dict[Upstream, ClientSession] = {}

    def session(self, upstream: Upstream) -> ClientSession:
        found = self._sessions.get(upstream)
        if found is None:
            found = self._sessions[upstream] = ClientSession(
                connector=TCPConnector(limit=upstream.connections_max, keepalive_timeout=30, ttl_dns_cache=30),
                timeout=ClientTimeout(
                    total=None, connect=upstream.connect_seconds, sock_read=upstream.first_byte_seconds
                ),
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=_INVENTED_BY_AIOHTTP,
                max_line_size=16384,
                max_field_size=16384,
            )
        return found

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()


class Proxy:
    """The handler of every request that is not for an address of our own."""

    def __init__(
        self,
        *,
        serve: Serve,
        refusals: Refusals,
        clock: Clock,
        numbers: RequestNumbers,
        cookie: str,
        scheme: str,
        body_bytes_max: int,
        head_bytes_max: int,
        report: Callable[..., None],
    ) -> None:
        self.serve = serve
        self.refusals = refusals
        self.clock = clock
        self.numbers = numbers
        self.cookie = cookie
        self.scheme = scheme
        self.body_bytes_max = body_bytes_max
        self.head_bytes_max = head_bytes_max
        self.report = report
        self.upstreams = Upstreams()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one request of aiohttp's."""
        exchange = AiohttpExchange(self, request)
        try:
            await self.serve.serve(exchange)
        except Exception as error:
            return exchange.fail(error)
        finally:
            exchange.close()
        return exchange.finished()

    async def close(self) -> None:
        await self.upstreams.close()


class AiohttpExchange:
    """Implements `ports.Exchange` over an aiohttp request."""

    def __init__(self, proxy: Proxy, request: web.Request) -> None:
        self._proxy = proxy
        self._request = request
        self._upstream: ClientResponse | None = None
        self._upstream_fields: Fields = []
        self._answer: web.StreamResponse | None = None
        self._body_fault: Exception | None = None
        self.id = RequestId(proxy.clock.now_ms(), proxy.numbers.next())
        self.method = request.method
        self.target = request.raw_path
        self.peer = request.remote or ""
        self.headers: Mapping[str, str] = request.headers
        self.fields: Fields = [("Gateway-Request-Id", str(self.id))]
        self.cost: Money | None = None

    @property
    def cookies(self) -> Mapping[str, str]:
        return self._request.cookies

    @property
    def status(self) -> int:
        return self._answer.status if self._answer is not None else 0

    def finished(self) -> web.StreamResponse:
        """What aiohttp's handler returns. A connection that was cut gets its answer no further."""
        if self._answer is None:
            raise ConnectionResetError("the exchange ended without an answer")
        return self._answer

    def fail(self, error: Exception) -> web.StreamResponse:
        """Something that is no refusal came up: a bug or an outage. The caller learns the request id."""
        log_failure(self._proxy.report, str(self.id), error)
        if self._answer is not None and self._answer.prepared:
            self._hang_up()
            return self._answer
        return internal_error(str(self.id))

    def check(self) -> None:
        if self.method in _NEVER_SERVED:
            raise MethodNotAllowed()
        if self._request.version not in _VERSIONS:
            raise BadRequest("it is not HTTP/1.0 or HTTP/1.1")
        self._check_framing()
        size = sum(len(name) + len(value) + 4 for name, value in self._request.raw_headers) + len(self.target)
        if size > self._proxy.head_bytes_max:
            raise HeadTooLarge(limit_bytes=self._proxy.head_bytes_max)
        length = self._request.content_length
        if length is not None and length > self._proxy.body_bytes_max:
            raise BodyTooLarge(limit_bytes=self._proxy.body_bytes_max)
        for name, value in self.headers.items():
            if not _is_text(value):
                raise BadRequest(f"the field {name} is not UTF-8")

    def _check_framing(self) -> None:
        """Of transfer codings only `chunked` passes, and only in HTTP/1.1: another would be dropped on the way."""
        codings = self._request.headers.getall("Transfer-Encoding", [])
        if codings and (len(codings) > 1 or codings[0].strip().lower() != "chunked"):
            raise BadRequest("its transfer coding is not chunked")
        if codings and self._request.version != HttpVersion11:
            raise BadRequest("HTTP/1.0 has no transfer codings")

    # --- forward ------------------------------------------------------------------------------------------------------

    async def forward(self, route: Route, target: str, meter: Meter) -> None:
        session = self._proxy.upstreams.session(route.upstream)
        try:
            self._upstream = await session.request(
                self.method,
                _url(str(route.upstream.servers[0]), target),
                headers=self._fields_for_upstream(),
                data=self._body(route.upstream.idle_seconds) if self._request.body_exists else None,
                allow_redirects=False,
            )
        except (ServerTimeoutError, TimeoutError) as error:
            raise self._body_fault or UpstreamTimedOut() from error
        except ClientConnectorError as error:
            raise UpstreamFailed() from error
        except (ClientError, OSError, ValueError) as error:
            raise self._body_fault or UpstreamFailed() from error
        self._upstream_fields = _answer_fields(self._upstream)
        if self._upstream.connection is not None and self._upstream.connection.protocol is not None:
            self._upstream.connection.protocol.read_timeout = route.upstream.idle_seconds
        meter.head(self._upstream.status)

    def _fields_for_upstream(self) -> CIMultiDict[str]:
        origin = Origin(self.peer, self._proxy.scheme, self.headers.get("Host", ""))
        return CIMultiDict(headers.to_upstream(_texts(self._request.raw_headers), origin, cookie=self._proxy.cookie))

    async def _body(self, idle_seconds: float) -> AsyncIterator[bytes]:
        """The caller's body as it arrives, no more than the bound and no slower than the upstream may be."""
        await self._say_continue()
        sent = 0
        try:
            while chunk := await self._body_chunk(idle_seconds):
                sent += len(chunk)
                if sent > self._proxy.body_bytes_max:
                    raise BodyTooLarge(limit_bytes=self._proxy.body_bytes_max)
                yield chunk
        except Exception as fault:
            self._body_fault = fault
            raise

    async def _body_chunk(self, idle_seconds: float) -> bytes:
        try:
            async with asyncio.timeout(idle_seconds):
                return await self._request.content.readany()
        except TimeoutError:
            raise BodyTooSlow() from None
        except web.RequestPayloadError:
            raise BadRequest("the body is malformed") from None

    async def _say_continue(self) -> None:
        """Only now, with the money on hold, is a caller that asked first told to send its body (RFC 9110, 10.1.1)."""
        transport = self._request.transport
        expected = self.headers.get("Expect", "").lower() == "100-continue"
        if transport is not None and expected and self._request.version == HttpVersion11:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- answer -------------------------------------------------------------------------------------------------------

    async def answer(self, meter: Meter, started: Started) -> None:
        upstream = self._upstream
        if upstream is None:
            raise RuntimeError("answer comes after forward")
        reason = upstream.reason if upstream.reason and upstream.reason.isascii() else ""
        self._answer = answer = RelayedAnswer(upstream.status, reason, [*self._upstream_fields, *self.fields])
        try:
            await answer.prepare(self._request)
            started()
            while chunk := await self._chunk(upstream, meter):
                await answer.write(chunk)
            await answer.write_eof()
        except ConnectionError:
            self._hang_up()
            raise AnswerCut from None

    async def _chunk(self, upstream: ClientResponse, meter: Meter) -> bytes:
        """The next bytes of the upstream's answer, none at its end. Faults here are the upstream's."""
        try:
            return await upstream.content.readany()
        except (ClientError, TimeoutError, OSError) as error:
            meter.cut()
            self._hang_up()
            raise AnswerCut from error

    def close(self) -> None:
        """Let go of the upstream. One whose answer was not read to its end is abandoned at once."""
        if self._upstream is not None and not self._upstream.content.is_eof():
            self._upstream.close()

    def _hang_up(self) -> None:
        """Close so that the answer looks cut: where its end is the connection's end, only a reset does."""
        transport = self._request.transport
        if transport is None:
            return
        framed = self._answer is not None and {"Content-Length", "Transfer-Encoding"} & set(self._answer.headers)
        if framed:
            transport.close()
        elif isinstance(transport, asyncio.WriteTransport):
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()

    # --- refuse -------------------------------------------------------------------------------------------------------

    async def refuse(self, refusal: Refusal, route: Route | None) -> None:
        answer = self._proxy.refusals.answer(refusal, self, route)
        if self._request.body_exists and not self._request.content.is_eof():
            answer.force_close()  # what is left of the body would be read as the next request
        self._answer = answer


def _url(base: str, target: str) -> URL:
    """An address whose request target is exactly `target`. yarl would drop the `?` of an empty query."""
    url = URL(base + target, encoded=True)
    if target.endswith("?"):
        url._cache["raw_path_qs"] = target
    return url


def _answer_fields(upstream: ClientResponse) -> Fields:
    """The fields of an answer, for the caller. Raises UpstreamFailed if one of them cannot be passed exactly."""
    fields = headers.to_caller(_texts(upstream.raw_headers))
    if upstream.status < 200 or not all(_is_text(value) and not _CONTROL.search(value) for _, value in fields):
        upstream.close()
        raise UpstreamFailed()
    return fields


def _texts(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Raw fields as texts, names in the spelling that they came in."""
    return [
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")) for name, value in fields
    ]


def _is_text(value: str) -> bool:
    """Whether a field's bytes were UTF-8; others arrive as lone surrogates, which aiohttp would drop in silence."""
    return value.isascii() or not any("\udc80" <= character <= "\udcff" for character in value)


async def continue_when_paid(request: web.Request) -> None:
    """aiohttp's `expect_handler`: says nothing, so that the exchange can ask for the body when it wants it."""
