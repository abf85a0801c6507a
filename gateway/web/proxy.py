"""The aiohttp form of the exchange: mounts the gateway inside any aiohttp application.

Bodies stream both ways, a chunk at a time: a slow reader on one side stops the reading on the other (`write` waits for
the transport, aiohttp's reader pauses its own). Nothing is decompressed, redirected, retried on our account or
re-encoded; the target goes out exactly as it was checked.

What this form cannot do exactly, aiohttp being what it is: field values that are not UTF-8 (a request is refused, an
answer counts as failed, rather than altered in silence), `1xx` answers, trailers and upgrades (none are passed on).

**The caller's fault and the upstream's are kept apart.** Errors while reading the caller's body are caught where the
body is read and remembered, because aiohttp reports them as the client's own.

**Which server is asked**, and how long one is left out, is `web/upstreams.py`'s to know.

**A cut answer looks cut**: when the upstream breaks off, the caller's transport is closed without the last chunk.
"""

import asyncio
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ConnectionTimeoutError,
    HttpVersion,
    HttpVersion11,
    web,
)
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from multidict import CIMultiDict
from yarl import URL

from gateway.core import context, forwarding, framing, headers, heads, targets, traces
from gateway.core.answers import Answer
from gateway.core.callers import Caller
from gateway.core.framing import BadFraming
from gateway.core.headers import Fields, asks_us
from gateway.core.heads import RequestHead
from gateway.core.idempotency import FIELD
from gateway.core.ids import RequestId, RequestNumbers
from gateway.core.mcp import Call
from gateway.core.meters import Follows, Meter
from gateway.core.money import Money
from gateway.core.refusals import (
    BadRequest,
    BodyTooLarge,
    BodyTooSlow,
    HeadTooLarge,
    Refusal,
    UpstreamFailed,
    UpstreamTimedOut,
)
from gateway.core.routes import Route, Server
from gateway.core.streams import cost_event, is_event_stream, is_open_stream, last_event
from gateway.core.traces import TraceMode
from gateway.flows.serve import Serve
from gateway.ports import AnswerCut, Clock, Started
from gateway.web.answers import RelayedAnswer, internal_error, log_failure
from gateway.web.refusals import Refusals
from gateway.web.upstreams import Pool, Upstreams

_RESET = struct.pack("ii", 1, 0)  # do not linger: the close is a reset
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


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
        trusted: forwarding.Networks = (),
        trust_unix: bool = False,
        fields_max: int = 100,
        body_seconds: float = 30.0,
        issuer: str = "",
        trace: TraceMode = "pass",
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
        self.trusted = trusted
        self.trust_unix = trust_unix
        self.fields_max = fields_max
        self.body_seconds = body_seconds
        self.issuer = issuer
        self.trace: TraceMode = trace
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
        self.begun = time.monotonic()
        self._proxy = proxy
        self._request = request
        self._sent = _texts(request.raw_headers)
        self._head: RequestHead | None = None
        self._route: Route | None = None
        self._upstream: ClientResponse | None = None
        self._upstream_fields: Fields = []
        self._answer: web.StreamResponse | None = None
        self._body_fault: Exception | None = None
        self._early_end: Refusal | None = None
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._ahead = b""
        self._told_to_send = False
        self._answer_ahead = bytearray()
        self._follower: Follows | None = None
        self._writer: AbstractStreamWriter | None = None
        self._last_event = self._last_trailer = False
        """What stands at the end of the answer, once it is known what it did cost."""
        self.sent = False
        self._sent_bytes = 0
        self._waited_seconds = 0.0
        """For the caller, which takes its answer slower than it comes."""
        self.id = RequestId(proxy.clock.now_ms(), proxy.numbers.next())
        self.method = request.method
        self.target = request.raw_path
        self._origin = forwarding.origin(
            request.remote or "",
            proxy.scheme,
            request.headers.get("Host", ""),
            self._sent,
            proxy.trusted,
            trust_unix=proxy.trust_unix,
        )
        self.peer = self._origin.address
        self.headers: Mapping[str, str] = request.headers
        self.fields: Fields = [("Gateway-Request-Id", str(self.id))]
        self.call: Call | None = None
        self.cost: Money | None = None
        self.refusal_code = ""
        self.upstream_seconds: float | None = None
        self.bytes_out = 0
        self._traceparent = traces.valid(self._sent)
        self.trace = traces.trace(self.id, self._traceparent, proxy.trace)
        self.front_id = forwarding.front_id(self._origin, request.headers.get("X-Request-Id", ""))

    @property
    def host(self) -> str:
        return self._request.headers.get("Host", "")

    @property
    def asks_us(self) -> bool:
        return asks_us(self.headers)

    @property
    def has_key(self) -> bool:
        return FIELD in self.headers

    @property
    def cookies(self) -> Mapping[str, str]:
        return self._request.cookies

    @property
    def status(self) -> int:
        return self._answer.status if self._answer is not None else 0

    @property
    def bytes_in(self) -> int:
        return self._sent_bytes

    @property
    def _accepted(self) -> RequestHead:
        """The head, once `check` has passed it."""
        if self._head is None:
            raise RuntimeError("check comes first")
        return self._head

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
        self._head = heads.read_request(self.method, _version(self._request.version), self._sent)
        if len(self._sent) > self._proxy.fields_max:
            raise HeadTooLarge(limit_bytes=self._proxy.head_bytes_max, limit_fields=self._proxy.fields_max)
        size = sum(len(name) + len(value) + 4 for name, value in self._request.raw_headers) + len(self.target)
        if size > self._proxy.head_bytes_max:
            raise HeadTooLarge(limit_bytes=self._proxy.head_bytes_max)
        if self._head.framing.length > self._proxy.body_bytes_max:
            raise BodyTooLarge(limit_bytes=self._proxy.body_bytes_max)
        for name, value in self._sent:
            if not _is_text(value):
                raise BadRequest(f"the field {name} is not UTF-8")

    async def body_ahead(self, bytes_max: int, *, insist: bool = False) -> bytes | None:
        length = self._accepted.framing.length if self._accepted.framing.kind == "length" else None
        if not self._request.body_exists or length == 0:
            return b""
        waits = self._accepted.expects_continue and not self._told_to_send
        if (length is not None and length > bytes_max) or ((length is None or waits) and not insist):
            return None
        await self._say_continue()
        while len(self._ahead) <= bytes_max and (chunk := await self._body_chunk()):
            self._ahead += chunk
        if length is not None and len(self._ahead) < length:
            raise BadRequest("the body is malformed")
        return self._ahead if len(self._ahead) <= bytes_max else None

    # --- forward ------------------------------------------------------------------------------------------------------

    async def forward(self, route: Route, target: str, meter: Meter, caller: Caller) -> None:
        self._route = route
        self._follower = meter.follower
        asked = time.monotonic()
        if meter.follower is not None:
            meter.follower.asks(lambda: self._sent_bytes)
        pool = self._proxy.upstreams.pool(route.upstream)
        credential = route.upstream.credential
        if credential is not None and credential.place == "query":
            target = targets.with_query_parameter(target, credential.name, credential.value.reveal())
        passes = self._proxy.trace == "pass" and self._traceparent is not None
        traceparent = "" if passes else self.trace[2]
        told = context.fields(self.id, caller, route, issuer=self._proxy.issuer, traceparent=traceparent)
        fields = [*forwarding.fields(self._origin), *told]
        server, tried = pool.first(), []
        while self._upstream is None:
            try:
                self._upstream = await self._ask(pool, server, route, target, fields)
            except _NotReached as fault:
                tried.append(server)
                other = pool.other(tried) if len(tried) <= route.upstream.retries_max else None
                if other is None:
                    raise fault.refusal from fault
                server = other
        self.upstream_seconds = time.monotonic() - asked
        self._upstream_fields = _answer_fields(self.method, self._upstream, route)
        if self._upstream.connection is not None and self._upstream.connection.protocol is not None:
            self._upstream.connection.protocol.read_timeout = route.upstream.idle_seconds
        meter.head(self._upstream.status)
        if meter.follower is not None:
            meter.follower.answers(self.method, self._upstream.status, _texts(self._upstream.raw_headers))

    async def _ask(self, pool: Pool, server: Server, route: Route, target: str, fields: Fields) -> ClientResponse:
        """This server's answer, its head at least. Raises _NotReached, or why there is none."""
        try:
            answer = await pool.session(server).request(
                self.method,
                _url(f"{server.scheme}://{server.authority}", target),
                headers=self._fields_for_upstream(server, route, fields),
                data=self._body() if self._request.body_exists else None,
                allow_redirects=False,
                server_hostname=route.upstream.server_name,
            )
        except (ClientError, OSError, ValueError, TimeoutError) as error:
            if self._body_fault is not None:
                raise self._body_fault from error
            refusal = UpstreamTimedOut() if isinstance(error, TimeoutError) else UpstreamFailed()
            if isinstance(error, (ClientConnectorError, ConnectionTimeoutError)):
                pool.unreachable(server)
                raise _NotReached(refusal) from error
            self.sent = True
            pool.misbehaved(server)
            raise refusal from error
        self.sent = True
        pool.succeeded(server)
        return answer

    def _fields_for_upstream(self, server: Server, route: Route, fields: Fields) -> CIMultiDict[str]:
        """`Host` as the route wants it, then what passes of the caller's fields, then ours."""
        named = {"upstream": server.authority, "caller": self._accepted.host or server.authority}
        passed = headers.to_upstream(
            self._sent,
            cookie=self._proxy.cookie,
            rules=route.request_fields,
            credential=route.upstream.credential,
            replaced=traces.replaced(self._traceparent, self._proxy.trace),
        )
        return CIMultiDict(_alike([("Host", named.get(route.host, route.host)), *passed, *fields]))

    async def _body(self) -> AsyncIterator[bytes]:
        """The caller's body as it arrives, no more than the bound and no slower than it may be."""
        await self._say_continue()
        try:
            while chunk := self._ahead or await self._body_chunk():
                self._ahead = b""
                self._sent_bytes += len(chunk)
                if self._sent_bytes > self._proxy.body_bytes_max:
                    raise BodyTooLarge(limit_bytes=self._proxy.body_bytes_max)
                yield chunk
        except Exception as fault:
            self._body_fault = fault
            raise

    async def _body_chunk(self) -> bytes:
        try:
            async with asyncio.timeout(self._proxy.body_seconds):
                return await self._request.content.readany()
        except TimeoutError:
            raise BodyTooSlow() from None
        except web.RequestPayloadError:
            raise BadRequest("the body is malformed") from None

    async def _say_continue(self) -> None:
        """Only now, with the money on hold, is a caller that asked first told to send its body (RFC 9110, 10.1.1)."""
        transport = self._request.transport
        if transport is not None and self._accepted.expects_continue and not self._told_to_send:
            self._told_to_send = True
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # --- answer -------------------------------------------------------------------------------------------------------

    def carry_on(self) -> None:
        """Nothing to be done: whoever waits for this request's end keeps all of it."""

    async def whole_answer(self, bytes_max: int) -> Answer | None:
        upstream, route = self._upstream, self._route
        if upstream is None or route is None:
            raise RuntimeError("an answer comes after forward")
        if is_event_stream(self._upstream_fields):
            return None
        while len(self._answer_ahead) <= bytes_max:
            try:
                chunk = await upstream.content.readany()
            except (ClientError, TimeoutError, OSError) as error:
                raise UpstreamTimedOut() if isinstance(error, TimeoutError) else UpstreamFailed() from error
            if self._follower is not None:
                self._follower.body(chunk) if chunk else self._follower.end()
            if not chunk:
                return Answer(upstream.status, self._upstream_fields, bytes(self._answer_ahead))
            self._answer_ahead += chunk
        return None

    async def replay(self, answer: Answer) -> None:
        self._answer = kept = RelayedAnswer(answer.status, None, answer.fields)
        if answer.body:
            kept.content_length = len(answer.body)
        try:
            await kept.prepare(self._request)
            await kept.write_eof(answer.body)
            self.bytes_out = 0 if self.method == "HEAD" else len(answer.body)
        except ConnectionError:
            self._hang_up()
            raise AnswerCut from None

    def leave_open(self, *, event: bool, trailer: bool) -> None:
        upstream = self._upstream
        if upstream is None or self.method == "HEAD" or upstream.status in (204, 304):
            return
        if any(name.lower() == "content-length" for name, _ in self._upstream_fields):
            return
        self._last_event = event and is_open_stream(self._upstream_fields)
        self._last_trailer = trailer and self._accepted.wants_trailers

    async def conclude(self, cost: Money) -> None:
        answer, writer = self._answer, self._writer
        if answer is None or not (self._last_event or self._last_trailer):
            return
        try:
            if self._last_event:
                await self._write(answer, cost_event(cost, str(self.id)))
            last = b""
            if self._last_trailer and isinstance(writer, StreamWriter) and writer.chunked:
                writer.chunked = False  # the library knows no fields behind the last chunk
                lines = [f"{name}: {value}\r\n" for name, value in headers.last_cost(cost)]
                last = "".join(["0\r\n", *lines, "\r\n"]).encode()
            await answer.write_eof(last)
        except ConnectionError:
            self._hang_up()
            raise AnswerCut from None

    async def answer(self, meter: Meter, started: Started) -> None:
        upstream = self._upstream
        if upstream is None:
            raise RuntimeError("answer comes after forward")
        reason = upstream.reason if upstream.reason and upstream.reason.isascii() else ""
        self._answer = answer = RelayedAnswer(upstream.status, reason, [*self._upstream_fields, *self.fields])
        if self._request.version < HttpVersion11 and "Content-Length" not in answer.headers:
            answer.force_close()  # its end is the connection's, also for a caller that would keep it
        try:
            if self._last_trailer:
                answer.headers.add("Trailer", "Gateway-Cost")
            self._writer = await answer.prepare(self._request)
            started()
            if self._answer_ahead:
                await self._write(answer, bytes(self._answer_ahead))
            following = self._chunk if meter.follower is None else self._metered_chunk
            while chunk := await following(upstream, meter):
                await self._write(answer, chunk)
            if self._early_end is not None:
                await self._say_why(answer, self._early_end)
            if not (self._last_event or self._last_trailer):
                await answer.write_eof()
        except ConnectionError:
            self._hang_up()
            raise AnswerCut from None

    async def _say_why(self, answer: web.StreamResponse, refusal: Refusal) -> None:
        """The answer ends here: with an event, or cut."""
        if not is_open_stream(self._upstream_fields):
            self._hang_up()
            raise AnswerCut
        await self._write(answer, last_event(refusal, str(self.id)))

    async def _write(self, answer: web.StreamResponse, chunk: bytes) -> None:
        now = asyncio.get_running_loop().time
        before = now()
        await answer.write(chunk)
        self.bytes_out += len(chunk)
        self._waited_seconds += now() - before

    async def _chunk(self, upstream: ClientResponse, meter: Meter) -> bytes:
        """The next bytes of the upstream's answer, none at its end. Faults here are the upstream's, but for one."""
        try:
            return await upstream.content.readany()
        except (ClientError, TimeoutError, OSError) as error:
            if self._early_end is not None:
                return b""
            if not self._is_over_by_caller(error):
                meter.cut()
            self._hang_up()
            raise AnswerCut from error

    def pause(self) -> None:
        self._resumed.clear()

    def go_on(self) -> None:
        self._resumed.set()

    def end_early(self, refusal: Refusal) -> None:
        self._early_end = refusal
        self._resumed.set()
        if self._upstream is not None:
            self._upstream.close()

    async def _metered_chunk(self, upstream: ClientResponse, meter: Meter) -> bytes:
        """The same, and the meter sees it. None is taken while nobody pays for it."""
        if not self._resumed.is_set():
            await self._resumed.wait()
        chunk = b"" if self._early_end else await self._chunk(upstream, meter)
        if self._early_end is not None:
            return b""
        if meter.follower is not None:
            meter.follower.body(chunk) if chunk else meter.follower.end()
        return chunk

    def _is_over_by_caller(self, error: Exception) -> bool:
        """Whether the time for all of the answer has passed, and passed with waiting for its caller."""
        is_total = isinstance(error, TimeoutError) and not isinstance(error, ClientError)
        return is_total and self._route is not None and self._route.upstream.is_over_by_caller(self._waited_seconds)

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
        self.bytes_out = 0 if self.method == "HEAD" else len(answer.plain().body)


class _NotReached(Exception):
    """A server could not be connected to: no byte of the request has left."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__()
        self.refusal = refusal


def _url(base: str, target: str) -> URL:
    """An address whose request target is exactly `target`: yarl drops the `?` of an empty query and knows no `*`."""
    url = URL(base + "/" if target == "*" else base + target, encoded=True)
    if target == "*" or target.endswith("?"):
        url._cache["raw_path_qs"] = target
    return url


def _answer_fields(method: str, upstream: ClientResponse, route: Route) -> Fields:
    """The fields of an answer, for the caller. Raises UpstreamFailed if it cannot be passed exactly."""
    sent = _texts(upstream.raw_headers)
    try:
        framing.answer_framing(method, upstream.status, _version(upstream.version), sent)
    except BadFraming as bad:
        upstream.close()
        raise UpstreamFailed() from bad
    fields = headers.to_caller(sent, route.answer_fields)
    if upstream.status < 200 or not all(_is_text(value) and not _CONTROL.search(value) for _, value in fields):
        upstream.close()
        raise UpstreamFailed()
    return fields


def _version(version: HttpVersion | None) -> int:
    """As `core` counts them: 11 for HTTP/1.1."""
    return 0 if version is None or version.minor > 9 else version.major * 10 + version.minor


def _texts(fields: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Raw fields as texts, names in the spelling that they came in."""
    return [
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")) for name, value in fields
    ]


def _alike(fields: Fields) -> Fields:
    """Each name spelled as it first is: aiohttp's client keeps only the last of those that differ in their case."""
    spelled: dict[str, str] = {}
    return [(spelled.setdefault(name.lower(), name), value) for name, value in fields]


def _is_text(value: str) -> bool:
    """Whether a field's bytes were UTF-8; others arrive as lone surrogates, which aiohttp would drop in silence."""
    return value.isascii() or not any("\udc80" <= character <= "\udcff" for character in value)


async def continue_when_paid(request: web.Request) -> None:
    """aiohttp's `expect_handler`: says nothing, so that the exchange can ask for the body when it wants it."""
