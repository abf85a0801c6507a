"""What a request's line and its counters cost the process that serves it: `python -m tests.bench.lines`."""

import os
import sys
import time
from collections.abc import Callable
from typing import TextIO, cast

from gateway.adapters.logs import LogFile, RequestLog
from gateway.adapters.metrics import Tally
from gateway.adapters.system import SystemClock
from gateway.core.callers import Caller
from gateway.core.ids import RequestId
from gateway.core.money import Money
from gateway.core.pricing import Price
from gateway.core.routes import Route, Server, Upstream
from gateway.core.traces import trace
from gateway.ports import Exchange

ROUTE = Route("weather", "/", Upstream("w", (Server("http", "127.0.0.1", 9),)), Price(Money(2000, "usd")))
CALLER = Caller(account="acct_018bcfe568000102030405060708090a", token_id="tok_01234567890123456789")
COUNT = 100_000


class Ended:
    """A request that has ended, as the relay has it."""

    method, target, status, cost = "GET", "/weather/berlin?day=1", 200, Money(2000, "usd")
    refusal_code, front_id, upstream_seconds, bytes_in, bytes_out, begun = "", "", 0.0021, 0, 1024, 0.0

    def __init__(self, number: int) -> None:
        self.id = RequestId(1_800_000_000_000 + number // 1000, number)
        self.trace = trace(self.id, None, "pass")
        str(self.id)


def microseconds(count: int, served: Callable[[Exchange, Route, Caller], None]) -> float:
    """Of processor time of this thread for each request; the best of five rounds."""
    exchanges = [cast(Exchange, Ended(number)) for number in range(count)]
    rounds = []
    for _ in range(5):
        begun = time.thread_time()
        for exchange in exchanges:
            served(exchange, ROUTE, CALLER)
        rounds.append((time.thread_time() - begun) / count * 1e6)
    return min(rounds)


def nothing(exchange: Exchange, route: Route | None, caller: Caller) -> None:
    """Costs only the call."""


def measured(count: int = COUNT) -> dict[str, float]:
    """By what is measured, in microseconds a request."""
    with open(os.devnull, "w") as out:
        stream: TextIO | LogFile = out
        log = RequestLog(SystemClock(), stream)
        alone = microseconds(count, nothing)
        found = {
            "the line": microseconds(count, log) - alone,
            "the counters": microseconds(count, Tally(nothing)) - alone,
            "both": microseconds(count, Tally(log)) - alone,
        }
        log.close()
        return found


if __name__ == "__main__":
    for name, cost in measured().items():
        sys.stdout.write(f"{name}: {cost:.2f} µs\n")
