"""Logs: structlog for events, one cheap line per request. Never a token, a cookie, a body, an e-mail address or a key.

A request's line is put together by hand because structlog's processors cost more than the rest of the request.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import TextIO

import structlog

from gateway.core.callers import Caller
from gateway.core.routes import Route
from gateway.ports import Clock, Exchange


def configure(*, console: bool, level: str) -> None:
    """Set up structlog: JSON lines, or something for people's eyes on a terminal."""
    renderer = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer(sort_keys=False)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def report(event: str, *, level: str = "warning", **fields: object) -> None:
    """Something happened that an operator should know."""
    getattr(structlog.get_logger(), level)(event, **fields)


class RequestLog:
    """Implements `ports.Served`: a JSON line a request."""

    def __init__(self, clock: Clock, out: TextIO | None = None) -> None:
        self._clock = clock
        self._write: Callable[[str], object] = (out or sys.stdout).write

    def __call__(self, exchange: Exchange, route: Route | None, caller: Caller) -> None:
        now_ms = self._clock.now_ms()
        line = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ms / 1000)) + f".{now_ms % 1000:03d}Z",
            "level": "info",
            "event": "request",
            "request_id": str(exchange.id),
            "route": route.name if route else None,
            "method": exchange.method,
            "path": exchange.target.partition("?")[0],
            "status": exchange.status,
            "ms": now_ms - exchange.id.at_ms,
            "account": caller.account or None,
            "cost": str(exchange.cost) if exchange.cost is not None else None,
        }
        self._write(json.dumps(line) + "\n")
