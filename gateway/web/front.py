"""How a request is answered that is none: what aiohttp's own parser refuses.

Left alone, aiohttp logs such a request with a traceback that quotes the line, the caller's token in it, and answers
with text that quotes it once more. Here it gets the short `application/problem+json` that every refusal of ours is, and
the log learns the kind of the error and nothing else, once a second at most: a stranger can neither fill the log nor
write in it.

The caller may still be sending. Closing at once would make its system throw our answer away unread, so we stop
writing, read on for `lingering_time` without keeping anything, and close then.

aiohttp has no place for this, so we rely on its inside (3.14), and `tests/web/test_front.py` fails when that changes:

- `AppRunner._make_server` makes the `Server`, whose `_kwargs` and `_loop` go to each `RequestHandler` that it makes;
- `RequestHandler.handle_error` makes the answer for a request that was not parsed (status 400 and an
  `HttpProcessingError`) and for a handler that failed; the log is the argument `logger`, used in no other way;
- `LineTooLong.args[1]` is the limit that was passed: `max_line_size` for the target, `max_field_size` for a field;
- too many fields are a `BadHttpMessage("Too many headers received")`;
- `StreamResponse._write_headers` comes after the banner was added;
- `RequestHandler.data_received` ignores what arrives after `close`, and puts what it cannot parse in `_messages` behind
  the requests whose handlers have yet to begin; `_current_request` is the one whose handler runs. aiohttp does not tell
  a handler that waits for its body when that turns out to be broken: it would wait for as long as its caller likes.

All this is about the parser in C. The one in Python, for machines without the other, names the limit of the target for
any line whose end it has not seen, so that a long field may get the 414 of a long target there.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from aiohttp import http_exceptions, web
from aiohttp.http import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway.core.refusals import BadRequest, HeadTooLarge, Refusal, TargetTooLong
from gateway.core.targets import TARGET_BYTES_MAX
from gateway.web.answers import internal_error, log_failure
from gateway.web.refusals import as_problem

_TOO_MANY_FIELDS = "Too many headers received"
_LIMITS = {"max_line_size": 8190, "max_field_size": 8190}  # aiohttp's own


class Front(web.AppRunner):
    """An `AppRunner` whose answers to malformed requests are ours.

    `report` takes an event and its fields; `new_id` makes the id of a request. The other arguments are `AppRunner`'s,
    but `logger`, which is ours.
    """

    def __init__(
        self, app: web.Application, *, report: Callable[..., None], new_id: Callable[[], str], **runner_arguments: Any
    ) -> None:
        arguments = {**_LIMITS, **runner_arguments}
        if arguments["max_line_size"] == arguments["max_field_size"]:
            arguments["max_field_size"] += 1  # the limit is all that tells a long target from a long field
        self._complain = Sparing(report)
        super().__init__(app, logger=DiscreetLogger(self._complain), **arguments)
        self._report = report
        self._new_id = new_id

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            loop=made._loop,
            complain=self._complain,
            report=self._report,
            new_id=self._new_id,
            **made._kwargs,
        )
        server()  # a wrong argument shows now, and not with the first connection
        return server


class Sparing:
    """Reports one event a second at most; the next one tells how many were left out as `more`."""

    def __init__(self, report: Callable[..., None], now: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._now = now
        self._next = float("-inf")
        self._more = 0

    def __call__(self, event: str, **fields: object) -> None:
        now = self._now()
        if now < self._next:
            self._more += 1
            return
        if self._more:
            fields["more"] = self._more
        self._next, self._more = now + 1, 0
        self._report(event, **fields)


class DiscreetLogger(logging.Logger):
    """A logger that passes on what kind of error there was, and never a message: that may quote a token."""

    def __init__(self, complain: Callable[..., None]) -> None:
        super().__init__("gateway.web.front", logging.WARNING)
        self._complain = complain

    def handle(self, record: logging.LogRecord) -> None:
        """Instead of handlers."""
        kind = record.exc_info[0] if record.exc_info else None
        self._complain("connection failed", error=kind.__name__ if kind else record.levelname)


class _Server(web.Server):
    def __call__(self) -> RequestHandler:
        return _Handler(self, loop=self._loop, **self._kwargs)


class _Handler(RequestHandler):
    """One connection."""

    def __init__(
        self,
        manager: web.Server,
        *,
        complain: Callable[..., None],
        report: Callable[..., None],
        new_id: Callable[[], str],
        **rest: Any,
    ) -> None:
        super().__init__(manager, **rest)
        self._complain = complain
        self._report = report
        self._new_id = new_id
        self._gone = asyncio.Event()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._gone.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count != before and not isinstance(self._messages[-1][0], RawRequestMessage):
            self._break_bodies()

    def _break_bodies(self) -> None:
        bodies = [body for _, body in self._messages]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        for body in bodies:
            if not body.is_eof():
                body.set_exception(web.RequestPayloadError("the body is malformed"))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that could not be read, or whose handler failed."""
        id = self._new_id()
        error = exc or sys.exception() or Exception()
        unread = status == 400 and isinstance(error, http_exceptions.HttpProcessingError)
        if unread or isinstance(error, web.RequestPayloadError):
            self._complain("malformed request", error=type(error).__name__)
            answer = as_problem(self._refusal(error), id)
        else:
            log_failure(self._report, id, error if isinstance(error, Exception) else Exception())
            answer = internal_error(id)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun")  # cut, as aiohttp would
        return _Bare(self, answer, id)

    def _refusal(self, error: BaseException) -> Refusal:
        if isinstance(error, http_exceptions.LineTooLong):
            if error.args[1] == self.max_line_size:
                return TargetTooLong(min(self.max_line_size, TARGET_BYTES_MAX))
            return HeadTooLarge(self.max_field_size)
        if isinstance(error, http_exceptions.BadHttpMessage) and error.message == _TOO_MANY_FIELDS:
            return HeadTooLarge(self.max_field_size)
        return BadRequest("the request is malformed")

    async def linger(self) -> None:
        """Say that nothing more will come, and wait until the caller has closed, throwing away what it still sends."""
        self.close()
        transport = self.transport
        if transport is None or not transport.can_write_eof():
            return
        try:
            transport.write_eof()
            async with asyncio.timeout(self._lingering_time):
                await self._gone.wait()
        except (OSError, RuntimeError, TimeoutError):
            return  # it has closed, or will not


class _Bare(web.Response):
    """An answer of ours without aiohttp's banner, and the last on its connection."""

    def __init__(self, connection: _Handler, answer: web.Response, id: str) -> None:
        fields = {**answer.headers, "Gateway-Request-Id": id, "Connection": "close"}
        super().__init__(status=answer.status, body=answer.body, headers=fields)
        self._connection = connection
        self.force_close()

    async def _write_headers(self) -> None:
        self.headers.pop("Server", None)
        await super()._write_headers()

    async def write_eof(self, data: bytes = b"") -> None:
        await super().write_eof(data)
        await self._connection.linger()
