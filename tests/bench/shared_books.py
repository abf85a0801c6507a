"""The ledger on PostgreSQL, and what one writes first there, for `tests.bench.books`: on a server from pip.

Server and gateway share the machine. CPU is the gateway's alone, as everywhere in that table.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg

from gateway.adapters.postgres.ledger import PostgresLedgerStore
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.system import SystemClock
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.core.secrets import Secret
from gateway.flows.keep import Keeper
from gateway.ports import Ledger
from tests.postgres_server import Server

Charge = Callable[[int], Awaitable[None]]
Timed = Callable[[Charge, int, float, Callable[[], int]], Coroutine[Any, Any, Any]]
_CONNECTIONS = 16


class SharedBooks:
    """What is compared there. `timed` runs the load, `charging` is a request's life at a ledger."""

    def __init__(
        self, server: Server, *, timed: Timed, charging: Callable[[Ledger, int], Charge], price: Money, paid: Money
    ) -> None:
        self._server = server
        self._timed = timed
        self._charging = charging
        self._price = price
        self._paid = paid

    async def naive(self, _: Path, accounts: int, seconds: float) -> Any:
        """An UPDATE, and so a commit, for each request, on a pool of connections."""
        dsn = await self._server.schema()
        async with asyncpg.create_pool(dsn, min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool:
            await pool.execute("CREATE TABLE account (id bigint PRIMARY KEY, balance bigint NOT NULL)")
            rows = [(id, self._paid.micros) for id in range(accounts)]
            await pool.executemany("INSERT INTO account VALUES ($1, $2)", rows)
            commits, micros = 0, self._price.micros

            async def charge(account: int) -> None:
                nonlocal commits
                done = await pool.execute(
                    "UPDATE account SET balance = balance - $1 WHERE id = $2 AND balance >= $1", micros, account
                )
                assert done == "UPDATE 1"
                commits += 1

            return await self._timed(charge, accounts, seconds, lambda: commits)

    async def one_process(self, _: Path, accounts: int, seconds: float) -> Any:
        """A host's keeper, which borrows from the database."""
        dsn = await self._server.schema()
        keeper = await self._keeper(dsn)
        names = [f"account {number}" for number in range(accounts)]
        await asyncio.gather(*(keeper.credit(Credit(name, name, self._paid, "manual", "bench")) for name in names))
        run = await self._timed(self._charging(keeper, 0), accounts, seconds, lambda: keeper._committed_seq)
        await keeper.close()
        connection = await asyncpg.connect(dsn)
        spent = await connection.fetchval("SELECT sum(spent) FROM account")
        records = await connection.fetchval("SELECT sum(count) FROM batch")
        await connection.close()
        assert spent == records * self._price.micros
        assert records >= run.operations
        return run

    async def _keeper(self, dsn: str) -> Keeper:
        store = PostgresLedgerStore(Address(Secret(dsn)), name="bench", clock=SystemClock(), report=print)
        keeper = Keeper(store, SystemClock(), lender=store, teller=store)
        await keeper.open()
        return keeper
