"""What the port promises of the trail, held against every implementation."""

import asyncio
import sqlite3
from contextlib import closing

import asyncpg
import pytest

from gateway.adapters.memory import MemoryRecords
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.refusals import RecordsUnavailable
from gateway.core.trail import Act, Step, step_after
from tests.adapters.test_records_contract import KEYRING, Records, records

__all__ = ["records"]  # a fixture

FREEZE = Act("operator:ann", "operator", "account.freeze", "acct_1", "command", "a stolen card")
CREDIT = Act("operator:ann", "operator", "account.credit", "acct_2", "command", "sorry", {"amount": "5.00 usd"})


async def written(records: Records, *acts: Act) -> list[Step]:
    steps = []
    for act in acts:
        step = step_after(await records.trail.last_step(), act, at_ms=7, keys=KEYRING)
        assert await records.trail.add_step(step, action=act.action, object=act.object)
        steps.append(step)
    return steps


async def test_entries_come_back_as_they_were_written(records: Records) -> None:
    assert await records.trail.last_step() is None
    steps = await written(records, FREEZE, CREDIT)
    assert await records.trail.last_step() == steps[1]
    assert await records.trail.steps_after(0, count=9) == steps
    assert await records.trail.steps_after(0, count=1) == steps[:1]
    assert await records.trail.steps_after(1, count=9) == steps[1:]
    assert [step.act for step in steps] == [FREEZE, CREDIT]


async def test_the_newest_of_an_object_or_an_action_are_found(records: Records) -> None:
    first, second, third = await written(records, FREEZE, CREDIT, FREEZE)
    trail = records.trail
    assert await trail.steps_before(99, count=2) == [third, second]
    assert await trail.steps_before(3, count=9) == [second, first]
    assert await trail.steps_before(99, count=9, object="acct_1") == [third, first]
    assert await trail.steps_before(99, count=9, action="account.credit") == [second]
    assert await trail.steps_before(99, count=9, object="acct_1", action="account.credit") == []


async def test_of_many_at_once_one_takes_a_number(records: Records) -> None:
    steps = [step_after(None, CREDIT, at_ms=at, keys=KEYRING) for at in range(20)]
    taken = await asyncio.gather(*(records.trail.add_step(step, action="a", object="o") for step in steps))
    assert sum(taken) == 1
    assert await records.trail.steps_after(0, count=99) == [steps[taken.index(True)]]


async def test_the_table_itself_refuses_to_forget(records: Records) -> None:
    await written(records, FREEZE)
    if isinstance(records, MemoryRecords):
        return
    for statement in ("UPDATE trail SET content = '{}'", "DELETE FROM trail"):
        if isinstance(records, SqliteRecords):
            with closing(sqlite3.connect(records._path)) as sql, pytest.raises(sqlite3.Error, match="only ever added"):
                sql.execute(statement)
        else:
            with pytest.raises(RecordsUnavailable) as refused:
                await records._do(statement)
            assert isinstance(refused.value.__cause__, asyncpg.RaiseError)
    assert len(await records.trail.steps_after(0, count=9)) == 1
