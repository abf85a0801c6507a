"""A gateway with metered prices in one of its forms, before an upstream whose script a test gives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.cli.stage import Stage
from tests.callers import Funded, audited, funded
from tests.forms import staged
from tests.raw import RawUpstream, Visit, ask, split
from tests.relay.scenes import toy_upstream

PAID = 10_000_000
TOKENS = {
    "base": "0.001 usd",
    "per": {
        "input_tokens": "3.00 usd per 1M",
        "cached_tokens": "0.30 usd per 1M",
        "output_tokens": "15.00 usd per 1M",
    },
    "maximum": "0.50 usd",
}
ROUTES: dict[str, dict[str, Any]] = {
    "tokens": {"price": TOKENS},
    "readable": {"price": TOKENS, "request_headers": {"set": {"Accept-Encoding": "identity"}}},
    "stream": {"price": {"per": {"answer_bytes": "0.001 usd"}, "slice": "0.50 usd", "maximum": "100.00 usd"}},
    "short": {"price": {"per": {"answer_bytes": "0.001 usd"}, "slice": "0.50 usd", "maximum": "2.00 usd"}},
    "time": {"price": {"per": {"seconds": "100 usd per second"}, "slice": "2.00 usd", "maximum": "1000.00 usd"}},
    "flat": {"price": "0.002 usd"},
    "free": {"price": "free"},
    "bounded": {
        "price": {
            "per": {"output_tokens": "0.01 usd", "request_bytes": "0.000001 usd"},
            "bounds": {"output_tokens": "max_tokens"},
            "maximum": "20.00 usd",
        }
    },
    "bytes": {"price": {"per": {"answer_bytes": "0.00001 usd", "request_bytes": "0.0001 usd"}, "maximum": "0.05 usd"}},
    "rows": {"price": {"per": {"rows": "0.01 usd"}, "rows": "data.items", "maximum": "1.00 usd"}},
    "reported": {"price": {"base": "0.001 usd", "reported": True, "maximum": "0.10 usd"}},
    "open": {"price": {"per": {"seconds": "0.06 usd per minute"}, "maximum": "5.00 usd"}},
    "contract": {"price": "0.01 usd", "charge_when": {"statuses": ["2xx", 404], "empty": "free", "cut": "50%"}},
}


@dataclass(frozen=True, slots=True)
class Shop:
    """A gateway in one of its forms, before an upstream whose script a test gives, and a caller with money."""

    stage: Stage
    upstream: RawUpstream
    caller: Funded
    form: str

    def request(self, target: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
        head = [
            f"{method} {target} HTTP/1.1", "Host: a.example", f"Authorization: Bearer {self.caller.token}",
            "Connection: close", *lines, *([f"Content-Length: {len(body)}"] if body else []), "", "",
        ]  # fmt: skip
        return "\r\n".join(head).encode() + body

    async def ask(
        self, target: str, *lines: str, method: str = "GET", body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        status, fields, answer = split(
            await ask(self.stage.url, self.request(target, *lines, method=method, body=body))
        )
        return status, {name.lower(): value for name, value in fields}, answer

    async def charged(self) -> int:
        """All that was, once nothing is on hold any more."""
        async with asyncio.timeout(5):
            while True:
                found = await self.stage.gateway.ledger.balance(self.caller.account, "usd")
                if not found.held.micros:
                    return PAID - found.available.micros
                await asyncio.sleep(0.005)


@asynccontextmanager
async def opened(form: str, tmp_path: Path) -> AsyncIterator[Shop]:
    routes = [{"name": name, "match": f"/{name}/", "upstream": "raw", **rest} for name, rest in ROUTES.items()]
    async with toy_upstream() as upstream:
        rest = {"upstreams": {"raw": {"url": upstream.url}}, "routes": routes, "timeouts": {"body": "500ms"}}
        async with staged(form, tmp_path, **rest) as stage:
            [caller] = await funded(stage, "10.00 usd")
            yield Shop(stage, upstream, caller, form)
            audited(stage)


def answer(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def in_chunks(pieces: list[bytes], kind: str = "text/event-stream") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b"data: " + b"x" * 92 + b"\n\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"


async def pour(visit: Visit, head: bytes, piece: bytes, count: int) -> None:
    visit.writer.write(head)
    for _ in range(count):
        visit.writer.write(piece)
        await visit.writer.drain()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
