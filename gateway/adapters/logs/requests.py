"""One cheap line per request: what was asked, what came of it, how long it took and what it did cost.

It is put together by hand, because structlog's processors cost more than the rest of the request. What is in it, and
what never is, is a table (`policy.py`) that the documents and a test are held against.
"""

import sys
import time
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _encode
from typing import Literal, TextIO

from gateway.adapters.logs.files import LogFile
from gateway.adapters.logs.writer import LineWriter
from gateway.core.callers import Caller
from gateway.core.money import Money
from gateway.core.redaction import path_of
from gateway.core.refusals import INTERNAL_ERROR
from gateway.core.routes import Route
from gateway.ports import Clock, Exchange, OwnRequest

_KEPT_MAX = 2048
Which = Literal["all", "errors", "sampled", "off"]


class RequestLog:
    """Implements `ports.Served` and `OwnServed`: a line a request, as JSON or for people's eyes.

    `worker` is the slot of the process; None where there is none.
    """

    def __init__(
        self,
        clock: Clock,
        out: TextIO | LogFile | None = None,
        *,
        worker: int | None = 0,
        console: bool = False,
        which: Which = "all",
        one_in: int = 100,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._writer = LineWriter(out or sys.stdout)
        self._which = which
        self._one_in = one_in
        self._now = now
        self._line = self._for_people if console else self._json
        self._worker = _encode_slot(worker)
        self._own_number = 0
        self._console = console
        self._shared: dict[tuple[str, str, int, str], tuple[str, str]] = {}
        self._second = -1
        self._second_text = ""

    @property
    def dropped(self) -> int:
        """How many lines were lost to a stream that was too slow, or failed."""
        return self._writer.lost

    def __call__(self, exchange: Exchange, route: Route | None, caller: Caller) -> None:
        which = self._which
        if which != "all" and not self._is_wanted(exchange):
            return
        self._writer(self._line(self._at(), exchange, route, caller))

    def own(self, request: OwnRequest) -> None:
        """A line for a request to an address of our own."""
        if self._which == "off":
            return
        if self._which != "all" and request.status < 400 and request.status:
            self._own_number += 1
            if self._which == "errors" or self._own_number % self._one_in:
                return
        at, ms = self._at(), f"{request.seconds * 1000:.1f}"
        if self._console:
            words = [at[11:23], f"{request.status:3d}", request.method, request.path, f"{ms} ms"]
            self._writer(
                "  ".join([*words, *([request.refusal_code] if request.refusal_code else []), request.id]) + "\n"
            )
            return
        self._writer(
            f'{{"timestamp": "{at}", "level": "info", "event": "own_request"{_pair("request_id", request.id)}'
            f"{_pair('trace_id', request.trace_id)}{_pair('path', request.path)}"
            f', "ms": {ms}{_pair("method", request.method)}, "status": {request.status}'
            f'{_pair("refused", request.refusal_code)}, "worker": {self._worker}}}\n'
        )

    def _at(self) -> str:
        second, ms = divmod(self._clock.now_ms(), 1000)
        if second != self._second:
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._second_text}.{ms:03d}Z"

    def _is_wanted(self, exchange: Exchange) -> bool:
        if self._which == "off":
            return False
        status = status_of(exchange)
        if status >= 400 or not status:
            return True
        return self._which == "sampled" and exchange.id.number % self._one_in == 0

    def _json(self, at: str, exchange: Exchange, route: Route | None, caller: Caller) -> str:
        cost, trace, first, front_id = exchange.cost, exchange.trace, exchange.upstream_seconds, exchange.front_id
        about = (route.name if route is not None else "", exchange.method, exchange.status, exchange.refusal_code)
        what, end = self._shared.get(about) or self._share(about, exchange)
        path = _path_text(exchange.target.partition("?")[0])
        account = f'"{caller.account}"' if caller.account else "null"  # of our own making: nothing in it to escape
        token = f'"{caller.token_id}"' if caller.token_id else "null"
        return (
            f'{{"timestamp": "{at}", "level": "info", "event": "request", "request_id": "{exchange.id}"'
            f"{_pair('front_id', front_id) if front_id else ''}"
            f', "trace_id": "{trace[0]}", "span_id": "{trace[1]}", "path": {path}'
            f', "ms": {(self._now() - exchange.begun) * 1000:.1f}'
            f', "upstream_ms": {"null" if first is None else f"{first * 1000:.1f}"}'
            f', "bytes_in": {exchange.bytes_in}, "bytes_out": {exchange.bytes_out}{what}'
            f', "account": {account}, "token": {token}'
            f', "cost": {"null" if cost is None else _cost_text(cost.micros, cost.currency)}{end}'
        )

    def _share(self, about: tuple[str, str, int, str], exchange: Exchange) -> tuple[str, str]:
        """What many lines share, kept for the next: to write it costs more than to look it up."""
        route, method, _, refused = about
        if len(self._shared) >= _KEPT_MAX:
            self._shared.clear()
        shared = self._shared[about] = (
            f'{_pair("route", route)}{_pair("method", method)}, "status": {status_of(exchange)}',
            f'{_pair("refused", refused)}, "worker": {self._worker}}}\n',
        )
        return shared

    def _for_people(self, at: str, exchange: Exchange, route: Route | None, caller: Caller) -> str:
        path = path_of(exchange.target)
        words = [
            at[11:23], f"{status_of(exchange):3d}", exchange.method, path if path.isprintable() else ascii(path),
            f"{(self._now() - exchange.begun) * 1000:.1f} ms", route.name if route else "-",
        ]  # fmt: skip
        words += [str(exchange.cost)] if exchange.cost is not None else []
        words += [one for one in (exchange.refusal_code, caller.account, str(exchange.id)) if one]
        return "  ".join(words) + "\n"

    def close(self) -> None:
        """Write the lines that wait, within a second, and nothing after that."""
        self._writer.close()


def status_of(exchange: Exchange) -> int:
    """What was, or is about to be, answered; 0 if the connection was cut before."""
    return exchange.status or (500 if exchange.refusal_code == INTERNAL_ERROR else 0)


def _encode_slot(worker: int | None) -> str:
    return "null" if worker is None else str(worker)


def _pair(name: str, value: str) -> str:
    return f', "{name}": {_encode(value) if value else "null"}'


@lru_cache(2048)
def _path_text(path: str) -> str:
    """As it may be logged, in JSON. To look for what must not be there takes longer than all the rest of a line.

    Without its query: that is another with each request, and may be a secret, which is not to be remembered.
    """
    return _encode(path_of(path))


@lru_cache(2048)
def _cost_text(micros: int, currency: str) -> str:
    return _encode(str(Money(micros, currency)))
