"""Who takes part: nginx, a naive aiohttp proxy, nginx with Lua and Redis in two ways, and the gateway on five routes.

Every contender does the same work for the same callers: it takes their request on a connection that stays open, asks
the same upstream on another, and passes the answer back.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.bench import canned, handmade, nginx
from tests.bench.farebox import PRICES, Farebox
from tests.bench.handmade import Handmade
from tests.bench.processes import Child, Processes, free_port

SMALLEST_BODY = len(canned.body_of(0))


@dataclass(frozen=True, slots=True)
class Contender:
    """One row of the table. `route` is what the books call its requests, if they know them."""

    name: str
    title: str
    child: Child
    port: int
    prefix: str = "/"
    """What stands before the upstream's own path."""
    route: str | None = None
    beside: tuple[Child, ...] = ()
    """More processes that work for it, on its core."""
    path: str | None = None
    """What it is asked for; without one, the size of the answer behind its prefix."""
    tokens: tuple[str, ...] | None = None
    """Whose requests they are, where it is not everybody's tokens."""
    fields: tuple[str, ...] = ()
    """More lines for the head of each of its requests."""
    body: bytes | None = None
    """What its right answer brings, where it is not the upstream's."""

    @property
    def pids(self) -> tuple[int, ...]:
        return (self.child.pid, *(child.pid for child in self.beside))


_ROUTES = {
    "free": "gateway, free route",
    "strict": "gateway, priced, strict",
    "relaxed": "gateway, priced, relaxed",
    "limited": "gateway, priced, strict, with a limit",
    "narrowed": "gateway, priced, relaxed, with two limits",
    "used": "gateway, priced by tokens, strict",
    "kept": "gateway, strict, asked with keys",
}
_COMPARED = ("free", "strict", "relaxed", "limited", "narrowed")


@dataclass(frozen=True, slots=True)
class Upstream:
    """Who answers in the end."""

    child: Child
    port: int


def start_upstream(processes: Processes, *, bodies: Sequence[bytes]) -> Upstream:
    """The upstream that they all share. Each body is at the path that is its size."""
    port, program = free_port(), nginx.program()
    if program is not None:
        command = nginx.answering(program, processes.home, port=port, bodies=bodies)
    else:
        command = [sys.executable, "-m", "tests.bench.canned", str(port)]
    return started_upstream(processes, command, port)


def started_upstream(processes: Processes, command: Sequence[str], port: int) -> Upstream:
    """Another program as the upstream."""
    child = processes.start("upstream", command, on=processes.pins.others)
    child.wait_for(port)
    return Upstream(child, port)


def start_nginx(processes: Processes, upstream: Upstream, *, more: str = "") -> Iterator[Contender]:
    """nginx as a proxy, where it is installed."""
    program, port = nginx.program(), free_port()
    if program is None:
        return
    command = nginx.proxy(program, processes.home, port=port, upstream=upstream.port, more=more)
    child = processes.start("nginx", command, on=processes.pins.contender)
    child.wait_for(port)
    yield Contender("nginx", "nginx, plain proxy", child, port)


def start_naive(processes: Processes, upstream: Upstream) -> Contender:
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.naive", str(port), str(upstream.port)]
    child = processes.start("aiohttp", command, on=processes.pins.contender)
    child.wait_for(port)
    return Contender("aiohttp", "naive aiohttp proxy", child, port)


def start_handmade(
    processes: Processes, upstream: Upstream, tokens: Sequence[str]
) -> Iterator[tuple[Handmade, Contender]]:
    """None of them where something that they take is not installed."""
    if handmade.version() is None:
        return
    for way in handmade.WAYS:
        built = Handmade(processes, way, upstream_port=upstream.port, tokens=tokens)
        yield built, Contender(way.name, way.title, built.nginx, built.port, beside=(built.redis,))


def start_gateway(farebox: Farebox, routes: Iterable[str] = _COMPARED) -> Iterator[Contender]:
    """One gateway, and a contender for each of these routes."""
    child = farebox.start()
    child.wait_for(farebox.port)
    for name in routes:
        route = name if name in PRICES else None
        yield Contender(name, _ROUTES[name], child, farebox.port, f"/{name}/", route)


def body(size: int) -> bytes:
    """What the upstream answers."""
    return canned.body_of(size)
