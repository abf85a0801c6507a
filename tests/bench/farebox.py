"""The gateway as a contender: its configuration, callers with money, its real process, and the proof afterwards.

The books are real: a file on a disk, accounts with a credit each, tokens on record, the prices of each route. After the
run the product's own audit must find nothing, and the number of records and the money spent must be what the callers
were served, to the last request. A gateway that were fast because it forgot some debits would have no figures here.
"""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.adapters.sqlite.audit import audit
from gateway.app import Gateway
from gateway.cli.books import head_keys
from gateway.core import tokens
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.settings import Settings, load
from tests.bench.processes import BenchFailed, Child, Processes, free_port
from tests.bench.used import WORDS

PRICES = {"strict": 1_000, "relaxed": 2_000, "limited": 4_000, "narrowed": 8_000, "used": 16_000, "kept": 32_000}
"""What each priced route takes, in micros. They differ, so that the sum tells the routes apart."""

_CURRENCY = "usd"
_TWO_LIMITS = [{"name": "minute", "rate": "1000000/minute"}, {"name": "hour", "rate": "10000000/hour"}]
_BALANCE = Money(10**12, _CURRENCY)


@dataclass(frozen=True, slots=True)
class Proof:
    """What the books say after the run, and that it is right."""

    requests: int
    micros: int
    batches: int
    head: str


class Farebox:
    """The gateway under test: what is prepared once, and the process that may be started again and again."""

    def __init__(self, processes: Processes, *, upstream_port: int) -> None:
        self._processes = processes
        self.port = free_port()
        self._config = processes.home / "gateway.yaml"
        self._config.write_text(json.dumps(_configuration(processes.home, self.port, free_port(), upstream_port)))
        self.settings: Settings = load(self._config, {}, make_secrets=True)

    def open_accounts(self, count: int) -> tuple[str, ...]:
        """Callers with money; their tokens."""
        return asyncio.run(_open_accounts(self.settings, count))

    def start(self) -> Child:
        """`gateway run`, as an operator starts it; it may not listen yet."""
        command = [sys.executable, "-m", "gateway", "run", "--config", str(self._config)]
        return self._processes.start("gateway", command, on=self._processes.pins.contender)

    def prove(self, served: Mapping[str, int]) -> Proof:
        """The books against what was served, by route. Raises BenchFailed."""
        requests = sum(served.values())
        micros = sum(count * PRICES[route] for route, count in served.items())
        report = audit(self.settings.store_path, head_key=head_keys(self.settings))
        if not report.clean:
            raise BenchFailed("the audit is not clean:\n" + "\n".join(str(finding) for finding in report.findings))
        spent = report.totals[_CURRENCY].spent
        if (report.records, spent, report.voided) != (requests, micros, 0):
            raise BenchFailed(
                f"{requests} priced requests were served for {micros} micros, but the books hold {report.records}"
                f" records for {spent} micros, {report.voided} of them voided"
            )
        return Proof(requests, micros, report.batches, report.head)


def _configuration(home: Path, port: int, admin_port: int, upstream_port: int) -> Mapping[str, object]:
    routes: list[Mapping[str, object]] = [
        {"name": "free", "price": "free"},
        {"name": "strict", "price": _price("strict")},
        {"name": "relaxed", "price": _price("relaxed"), "durability": "relaxed"},
        {"name": "limited", "price": _price("limited"), "limit": "1000000/minute"},
        {"name": "narrowed", "price": _price("narrowed"), "durability": "relaxed", "limits": _TWO_LIMITS},
        {"name": "used", "price": _by_use("used")},
        {"name": "kept", "price": _price("kept")},
    ]
    common = {"upstream": "answering", "strip_prefix": True}
    return {
        "mode": "test",
        "listen": f"127.0.0.1:{port}",
        "admin": f"127.0.0.1:{admin_port}",
        "store": f"sqlite:{home / 'gateway.db'}",
        "currency": _CURRENCY,
        "upstreams": {"answering": {"url": f"http://127.0.0.1:{upstream_port}"}},
        "routes": [{**route, **common, "match": f"/{route['name']}/"} for route in routes],
        "log": {"format": "json"},
    }


def _price(route: str) -> str:
    return str(Money(PRICES[route], _CURRENCY))


def _by_use(route: str) -> Mapping[str, object]:
    """The same for a stream of `used`, told by its words."""
    word = str(Money(PRICES[route] // WORDS, _CURRENCY))
    return {"per": {"output_tokens": word}, "maximum": f"1.00 {_CURRENCY}"}


async def _open_accounts(settings: Settings, count: int) -> tuple[str, ...]:
    """Credits go in together, as one batch; the tokens' rows one by one, as the records take them."""
    gateway = Gateway(settings, report=lambda event, **fields: None)
    await gateway.open()
    try:
        callers = [gateway.identity.callers.fresh() for _ in range(count)]
        async with asyncio.TaskGroup() as together:
            for caller in callers:
                credit = Credit(f"manual:{caller.account}", caller.account, _BALANCE, "manual", "for the bench")
                together.create_task(gateway.ledger.credit(credit))
        pepper_id = tokens.pepper_id(settings.secrets.peppers[0])
        for caller in callers:
            now_ms = gateway.clock.now_ms()
            await gateway.records.add(caller.token_digest, account=caller.account, pepper_id=pepper_id, now_ms=now_ms)
    finally:
        await gateway.close()
    return tuple(caller.fresh.reveal() for caller in callers if caller.fresh is not None)
