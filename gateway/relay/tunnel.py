"""After a `101`: bytes both ways, until both sides have said their last.

What the bytes mean is the business of the two ends, so WebSockets keep their frames, close codes and subprotocols, and
any message has any size. Either side may end its own half and go on listening, for as long as something comes.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.relay.upstream import UpstreamConnection

if TYPE_CHECKING:
    from gateway.relay.connection import CallerConnection


class Tunnel:
    """Splices two connections. `finished` is called once, when nothing more can pass."""

    __slots__ = ("_caller", "_caller_ended", "_finished", "_server", "_server_ended", "bytes_in", "bytes_out")

    def __init__(self, caller: "CallerConnection", server: UpstreamConnection, finished: Callable[[], None]) -> None:
        self._caller = caller
        self._server = server
        self._finished = finished
        self._caller_ended = False
        self._server_ended = False
        self.bytes_in = self.bytes_out = 0

    def from_caller(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self._server.send(data, last=False)
        if self._server_ended:
            self._caller.half_is_open()

    def from_server(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self._caller.write(data)
        if self._caller_ended:
            self._caller.half_is_open()

    def caller_ended(self) -> None:
        self._caller_ended = True
        self._server.end_sending()
        if self._server_ended:
            self._finished()

    def server_ended(self) -> None:
        self._server_ended = True
        if self._caller_ended or not self._caller.end_sending():
            self._finished()
