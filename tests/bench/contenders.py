"""Who takes part: nginx, a naive aiohttp proxy, and the gateway on four routes.

Every contender does the same work for the same callers: it takes their request on a connection that stays open, asks
the same upstream on another, and passes the answer back.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from tests.bench import canned, nginx
from tests.bench.farebox import PRICES, Farebox
from tests.bench.processes import Child, Processes, free_port

SMALLEST_BODY = len(canned.body_of(0))


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the table. `route` is what the books call its requests, if they know them."""

    name: str
    title: str
    child: Child
    port: int
    path: str
    route: str | None = None


_ROUTES = (
    ("free", "gateway, free route"),
    ("strict", "gateway, priced, strict"),
    ("relaxed", "gateway, priced, relaxed"),
    ("limited", "gateway, priced, strict, with a limit"),
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """Who answers in the end."""

    child: Child
    port: int


def start_upstream(processes: Processes, *, body: bytes) -> Upstream:
    """The upstream that they all share."""
    port, program = free_port(), nginx.program()
    if program is not None:
        command = nginx.answering(program, processes.home, port=port, body=body)
    else:
        command = [sys.executable, "-m", "tests.bench.canned", str(port), str(len(body))]
    child = processes.start("upstream", command, on=processes.pins.others)
    child.wait_for(port)
    return Upstream(child, port)


def start_all(processes: Processes, farebox: Farebox, upstream: Upstream) -> Iterator[Contender]:
    """Everybody, the gateway last; nginx only where it is installed."""
    program = nginx.program()
    if program is not None:
        port = free_port()
        child = processes.start(
            "nginx",
            nginx.proxy(program, processes.home, port=port, upstream=upstream.port),
            on=processes.pins.contender,
        )
        child.wait_for(port)
        yield Contender("nginx", "nginx, plain proxy", child, port, "/answer")
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.naive", str(port), str(upstream.port)]
    child = processes.start("aiohttp", command, on=processes.pins.contender)
    child.wait_for(port)
    yield Contender("aiohttp", "naive aiohttp proxy", child, port, "/answer")
    child = farebox.start()
    child.wait_for(farebox.port)
    for name, title in _ROUTES:
        yield Contender(name, title, child, farebox.port, f"/{name}/answer", name if name in PRICES else None)


def body(size: int) -> bytes:
    """What the upstream answers."""
    return canned.body_of(size)
