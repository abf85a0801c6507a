"""The tunnel of a WebSocket that is paid for as it goes on: it can be ended by a goodbye to both sides.

It reads along where frames end, which no other tunnel does.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.core.headers import Fields
from gateway.core.refusals import Refusal
from gateway.core.websockets import GOING_AWAY, Frames, code_of, goodbye
from gateway.relay.tunnel import Tunnel
from gateway.relay.upstream import UpstreamConnection

if TYPE_CHECKING:
    from gateway.relay.connection import CallerConnection


class WebSocketTunnel(Tunnel):
    """`said`: what the server said before it was opened."""

    __slots__ = ("_of_caller", "_of_server")

    def __init__(
        self, caller: "CallerConnection", server: UpstreamConnection, finished: Callable[[], None], said: list[bytes]
    ) -> None:
        super().__init__(caller, server, finished)
        self._of_caller, self._of_server = Frames(), Frames()
        for data in said:
            self._of_server.feed(data)

    def from_caller(self, data: bytes) -> None:
        self._of_caller.feed(data)
        super().from_caller(data)

    def from_server(self, data: bytes) -> None:
        self._of_server.feed(data)
        super().from_server(data)

    def close(self, refusal: Refusal, request: str) -> bool:
        """Say goodbye; False if the caller is in the middle of a frame, or was told goodbye before."""
        if self._of_caller.can_close:
            self._server.send(goodbye(GOING_AWAY, refusal.code, masked=True), last=False)
        if not self._of_server.can_close:
            return False
        self._caller.write(goodbye(code_of(refusal), f"{refusal.code} {request}", masked=False))
        return True


def is_websocket(upgrade: Fields) -> bool:
    """Whether that is what a `101` switches to."""
    return any(value.strip().lower() == "websocket" for _, value in upgrade)
