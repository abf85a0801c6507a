"""A purse that was empty when a host last looked, and gets something back elsewhere."""

from dataclasses import replace

import pytest

from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Drawn
from gateway.core.purses import Purse
from gateway.ports import Hold
from tests.adapters.test_postgres import PATIENT, TARIFF, Host, Hosts, hosts, paid, request, until, usd

__all__ = ["hosts"]  # a fixture

PROMO = Purse(-10)
NEVER_IDLE = replace(PATIENT, idle=600)  # what a host knows of a wallet it knows until it is told otherwise


async def _two(hosts: Hosts) -> tuple[Host, Host]:
    one, other = await hosts.open("one", pace=NEVER_IDLE), await hosts.open("other", pace=NEVER_IDLE)
    await one.keeper.credit(paid("cs", 1_000_000))
    await one.keeper.credit(Credit("g", "ann", usd(50), "grant", "welcome", PROMO))
    return one, other


async def test_what_a_request_gives_back_to_an_empty_purse_is_known_to_other_hosts(hosts: Hosts) -> None:
    one, other = await _two(hosts)
    held = await one.keeper.hold("ann", usd(50), id=RequestId(1, 1), token=7, tariff=TARIFF)
    await one.keeper.start(held, usd(50), "strict")
    held.started()
    await request(other, 1)  # of what was paid: all of the other purse is spent
    one.keeper.settle(held, usd(20))

    async def drawn_on_elsewhere() -> bool:
        await request(other, 1)
        [row] = await hosts.fetch("SELECT spent FROM account WHERE priority = -10")
        return bool(row["spent"] > 20)

    await until(drawn_on_elsewhere)


async def test_what_comes_back_while_a_host_asks_is_asked_for_again(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await _two(hosts)
    held = await one.keeper.hold("ann", usd(50), id=RequestId(1, 1), token=7, tariff=TARIFF)
    await one.keeper.start(held, usd(50), "strict")
    held.started()
    draw = other.store.draw
    settled: list[Hold] = []

    async def overtaken(holder: str, unit: str, micros: int) -> Drawn:
        """The first answer is from before, and arrives after everybody was told."""
        drawn = await draw(holder, unit, micros)
        if not settled:
            settled.append(held)
            one.keeper.settle(held, usd(20))
            await one.keeper.durable()
            other.keeper.changed("ann", "usd")
        return drawn

    monkeypatch.setattr(other.store, "draw", overtaken)
    assert (await other.keeper.balance("ann", "usd")).available == usd(1_000_030)


async def test_what_a_request_gives_back_is_there_before_it_is_committed(hosts: Hosts) -> None:
    one = await hosts.open("one", pace=replace(NEVER_IDLE, idly=1))
    await one.keeper.credit(Credit("g", "ann", usd(50), "grant", "welcome", PROMO))
    held = await one.keeper.hold("ann", usd(50), id=RequestId(1, 1), token=7, tariff=TARIFF)
    await one.keeper.start(held, usd(50), "strict")
    held.started()
    one.keeper.changed("ann", "usd")
    one.keeper.settle(held, usd(20))
    assert (await one.keeper.balance("ann", "usd")).available == usd(30)
