"""A keeper's process dies and its workers live: what its heir finds at the database, and what nobody else gets."""

import asyncio
from dataclasses import dataclass

import pytest

from gateway.adapters.postgres.ledger import Pulse
from gateway.adapters.postgres.sessions import Bounds
from gateway.core.ledger import Claim, Draft, Reversal
from gateway.core.refusals import LedgerUnavailable, PaymentRequired
from gateway.flows.keep.slices import Branch, Greeting, Slices
from gateway.ports import StoreFailed, StoreLocked
from tests.adapters.test_postgres import PATIENT, Host, Hosts, hosts, paid, request, until, usd

__all__ = ["hosts"]
ROW = 1


class Worker:
    """One that has all of its slice on hold."""

    def __init__(self, claimed: int | None = None) -> None:
        claim = Claim(0, {}, [(ROW, "ann", "usd", claimed)] if claimed is not None else [])
        self.gone = False
        self.slices: Slices | None = None
        self.branch = Branch(Greeting("worker", claimed is None, claim), self._recall, begone=self._begone)

    def _recall(self, row: int) -> None:
        assert self.slices is not None
        asyncio.get_running_loop().call_soon(self.slices.recalled, self.branch, row, 0)

    def _begone(self) -> None:
        self.gone = True


@dataclass
class Crew:
    """A host with a worker. Its keeper dies, and has heirs."""

    hosts: Hosts
    host: Host
    lent: int

    async def heir(self, *, name: str = "crew") -> tuple[Host, Worker]:
        worker = Worker(self.lent)
        host = Host(self.hosts.dsn, "one", pulse=Pulse(), bounds=Bounds(), pace=PATIENT, crew=name, heir=True)
        worker.slices = Slices(host.keeper, workers=2, expected=["worker"])
        assert worker.slices.join(worker.branch)
        host.recovered = await host.keeper.open(worker.slices)
        self.hosts._open.append(host)
        await worker.slices.begin()
        return host, worker


async def crew(hosts: Hosts) -> Crew:
    host, worker = await hosts.open("one", crew="crew"), Worker()
    worker.slices = Slices(host.keeper, workers=2)
    assert worker.slices.join(worker.branch)
    await worker.slices.begin()
    await host.keeper.credit(paid("cs_1", 1000))
    lent = (await worker.slices.draw(worker.branch, "ann", "usd", 10)).micros
    assert (await hosts.account())[2] >= lent >= 10
    return Crew(hosts, host, lent)


async def test_the_heir_has_all_of_the_loan_and_others_get_what_nobody_claims(hosts: Hosts) -> None:
    two, ours = await hosts.open("two"), await crew(hosts)
    [leased] = ours.host.store._desk.known.values()
    await ours.host.die()
    with pytest.raises(LedgerUnavailable):
        await request(two, 1000)  # nobody knows what of it is spoken for
    host, worker = await ours.heir()
    assert host.store._desk.known == {ROW: leased}
    await request(two, 1000 - ours.lent)
    with pytest.raises(PaymentRequired):
        await request(two, 1)
    assert not worker.gone
    assert (await hosts.account())[1:] == (1000 - ours.lent, ours.lent)


async def test_the_heir_lends_on_nothing_that_was_refunded_while_nobody_kept_the_books(hosts: Hosts) -> None:
    two, ours = await hosts.open("two"), await crew(hosts)
    assert (await hosts.account())[2] > ours.lent + 10
    await ours.host.die()
    assert await two.keeper.reverse(Reversal("re_1", "ann", usd(1000), "refund", ""))
    _, worker = await ours.heir()
    assert worker.slices is not None
    drawn = await worker.slices.draw(worker.branch, "ann", "usd", 10)
    assert (drawn.micros, drawn.owes) == (0, True)
    assert (await hosts.account())[2] == ours.lent, "all but what the worker has set aside went back"


async def test_what_the_dead_keeper_still_had_under_way_is_turned_away(hosts: Hosts) -> None:
    ours = await crew(hosts)
    old = ours.host
    await ours.heir()
    with pytest.raises(StoreLocked, match="another gateway took over"):
        await old.store.commit(Draft(seq=9, first=1, quiet=True))


async def test_a_keeper_that_was_not_dead_cannot_go_on_after_its_heir(hosts: Hosts) -> None:
    ours = await crew(hosts)
    host, _ = await ours.heir()
    with pytest.raises(StoreLocked, match="another gateway took over"):
        await ours.host.store.reopen()
    await request(host, 5)


async def test_where_another_host_took_it_all_back_claims_are_void(hosts: Hosts) -> None:
    ours = await crew(hosts)
    await ours.host.die()
    two = await hosts.open("two", pulse=Pulse(beat_seconds=0.02, dead_after_beats=5))

    async def taken_over() -> bool:
        return bool(two.said)

    await until(taken_over)
    await request(two, 1000)
    host, worker = await ours.heir()
    assert worker.gone
    with pytest.raises(PaymentRequired):
        await request(host, 1)


async def test_what_another_gateway_took_over_stays_with_that_one(hosts: Hosts) -> None:
    ours = await crew(hosts)
    other = await hosts.open("one", crew="other")
    await ours.host.die()
    with pytest.raises(StoreLocked, match="another gateway took over"):
        await ours.heir()
    await request(other, 1000)


async def test_a_gateway_that_begins_anew_is_nobodys_heir(hosts: Hosts) -> None:
    ours = await crew(hosts)
    await ours.host.die()
    again = await hosts.open("one", crew="crew")
    assert (await hosts.account())[2] == 0
    await request(again, 1000)


async def test_an_heir_that_cannot_reach_the_database_leaves_all_as_it_is(hosts: Hosts) -> None:
    ours = await crew(hosts)
    leased = (await hosts.account())[2]
    await ours.host.die()
    hosts.server.stop()
    try:
        with pytest.raises(StoreFailed):
            await ours.heir()
    finally:
        hosts.server.start()
    host, worker = await ours.heir()
    assert not worker.gone
    assert host.store._desk.known == {ROW: leased}
