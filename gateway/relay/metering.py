"""Stands between an upstream's connection and an exchange, and tells a meter of all that passes.

Only a price that has to see bodies has one: on every other route nothing is between the two.
"""

from gateway.core.headers import Fields
from gateway.core.meters import Follows
from gateway.relay.heads import AnswerHead
from gateway.relay.upstream import Asks


class Metering:
    """Implements `upstream.Asks` for another."""

    __slots__ = ("_asks", "_meter", "_method", "interim", "server_ended", "upstream_drained", "upstream_full")

    def __init__(self, asks: Asks, meter: Follows, method: str) -> None:
        self._asks = asks
        self._meter = meter
        self._method = method
        self.interim = asks.interim
        self.server_ended = asks.server_ended
        self.upstream_full = asks.upstream_full
        self.upstream_drained = asks.upstream_drained

    def head(self, head: AnswerHead) -> None:
        self._meter.answers(self._method, head.status, head.fields)
        self._asks.head(head)

    def whole(self, head: AnswerHead, body: bytes) -> None:
        self._meter.answers(self._method, head.status, head.fields)
        if body:
            self._meter.body(body)
        self._meter.end()
        self._asks.whole(head, body)

    def body(self, data: bytes) -> None:
        self._meter.body(data)
        self._asks.body(data)

    def end(self, trailers: Fields) -> None:
        self._meter.end()
        self._asks.end(trailers)

    def switched(self, data: bytes) -> None:
        self._meter.body(data)
        self._asks.switched(data)

    def broken(self, *, timed_out: bool, over: bool, begun: bool, stale: bool) -> None:
        self._asks.broken(timed_out=timed_out, over=over, begun=begun, stale=stale)
