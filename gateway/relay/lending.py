"""Our own addresses: served by aiohttp, one request at a time, on the caller's connection.

The connection stays the transport's protocol. aiohttp's `RequestHandler` (what `web.Server` makes for a connection)
gets a transport that leads here, and the bytes of exactly one request. Its answer is read as an upstream's would be, so
that its end is known by its framing and not by anything inside aiohttp, and goes on to the caller as it is. Then the
handler is told that its connection was lost, and ours is free for the next request.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from gateway.core.framing import BadFraming
from gateway.core.headers import Fields
from gateway.core.refusals import Refusal
from gateway.relay.bodies import RequestBody
from gateway.relay.heads import AnswerHead, RequestBlock
from gateway.relay.reading import AnswerReader

if TYPE_CHECKING:
    from gateway.relay.connection import CallerConnection

_ANSWER_HEAD_BYTES_MAX = 65_536


class Borrower(Protocol):
    """aiohttp's protocol of one connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exc: BaseException | None) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Lent:
    """A request of ours while aiohttp serves it."""

    def __init__(
        self, caller: "CallerConnection", method: str, target: str, block: RequestBlock, traceparent: str | None
    ) -> None:
        relay = caller.relay
        self._caller = caller
        self._borrower: Borrower = relay.lend()
        self._reader = AnswerReader(relay.heads, self, _ANSWER_HEAD_BYTES_MAX)
        self._reader.begin(method)
        version = "1.1" if block.version == 11 else "1.0"
        lines = b"\r\n" + block.lines + b"\r\n"
        if traceparent is not None:
            lines = block.retraced(lines, traceparent)
        self._head = f"{method} {target} HTTP/{version}".encode("latin-1") + lines
        self._block = block
        self._method = method
        self.upload = RequestBody(block.head.framing, relay.body_bytes_max)
        self.upload_begun = True
        self.closes = not block.head.keep_alive
        self.status = 0
        self.carries_on = self.lingers = False
        self._over = False
        self._refusal: Refusal | None = None

    def start(self) -> None:
        self._borrower.connection_made(_LentTransport(self))
        if self._caller.is_full:
            self._borrower.pause_writing()
        self._borrower.data_received(self._head)
        if not self.upload.done:
            self._caller.upload_may_flow()

    # --- what the caller's connection says ----------------------------------------------------------------------------

    def upload_data(self, data: bytes) -> bytes:
        up, rest = self.upload.feed(data)
        if up and not self._over:
            self._borrower.data_received(up)
        return rest

    def upload_failed(self, refusal: Refusal) -> None:
        """There are no half requests: whoever waits for the rest is told that the connection is gone."""
        self._refusal = refusal
        self._end()

    def caller_full(self) -> None:
        self._borrower.pause_writing()

    def caller_drained(self) -> None:
        self._borrower.resume_writing()

    def close(self) -> None:
        """The caller is gone."""
        if not self._over:
            self._over = True
            self._lose()

    def _lose(self) -> None:
        self._borrower.connection_lost(None)
        self._reader.let_go()

    # --- what aiohttp says --------------------------------------------------------------------------------------------

    def answered(self, data: bytes) -> None:
        """Bytes of the answer."""
        if self._over or self._caller.is_gone:
            return
        self._caller.write(data)
        try:
            self._reader.feed(data)
        except BadFraming:
            self.closes = True
            self._end()
        if self._reader.ended:
            self._end()

    def hung_up(self) -> None:
        """aiohttp closes what it takes for the connection."""
        if self._over:
            return
        self.closes = True
        if not self._reader.closed() and not self._reader.ended:
            self.status = 0  # cut
        self._end()

    def pause_reading(self) -> None:
        self._caller.pause_reading()

    def resume_reading(self) -> None:
        self._caller.resume_reading()

    def _end(self) -> None:
        if self._over:
            return
        self._over = True
        # Not in the middle of aiohttp's own writing.
        self._caller.relay.loop.call_soon(self._give_back)

    def _give_back(self) -> None:
        self._lose()
        if self._caller.current is not self:
            return
        if self._refusal is not None and not self.status and not self._caller.is_gone:
            self._caller.misread(self._refusal)
        else:
            self._caller.ended(self)

    # --- the parts of the answer --------------------------------------------------------------------------------------

    def interim(self, head: AnswerHead) -> None: ...

    def head(self, head: AnswerHead) -> None:
        self.status = head.status
        if not head.keep_alive or (head.framing.kind == "until_close" and self._method != "HEAD"):
            self.closes = True

    def body(self, data: bytes) -> None: ...

    def end(self, trailers: Fields) -> None: ...

    def switched(self, data: bytes) -> None: ...

    def transport_info(self, name: str, default: Any) -> Any:
        """The caller's address and scheme are what a trusted front says: our pages go by them, too."""
        if name == "peername" and self._caller.relay.trusts_fronts:
            return (self._caller.origin(self._block).address, 0)
        if name == "sslcontext" and self._caller.relay.trusts_fronts:
            return self._caller.origin(self._block).scheme == "https" or None  # `request.scheme` asks for no more
        return self._caller.extra_info(name, default)

    @property
    def over(self) -> bool:
        return self._over or self._caller.is_gone


class _LentTransport(asyncio.Transport):
    """What a handler takes for its connection."""

    def __init__(self, lent: Lent) -> None:
        super().__init__()
        self._lent = lent
        self._closing = False

    def write(self, data: Any) -> None:
        self._lent.answered(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self._lent.answered(b"".join(list_of_data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._lent.hung_up()

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing or self._lent.over

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self._lent.pause_reading()

    def resume_reading(self) -> None:
        self._lent.resume_reading()

    def is_reading(self) -> bool:
        return not self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._lent.transport_info(name, default)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
