"""What is about to be done is on the trail first, whoever else writes."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.adapters.memory import MemoryTrail
from gateway.adapters.system import SystemFile
from gateway.core.chain_head import ChainHead
from gateway.core.keyring import Keyring
from gateway.core.refusals import RecordsUnavailable
from gateway.core.secrets import Secret
from gateway.core.trail import PURPOSE, Act, Step, Verdict, verify
from gateway.flows.witness import HEAD_MS, Witness
from tests.fakes import FakeClock

ACT = Act("operator:ann", "operator", "account.freeze", "acct_1", "command", "a stolen card")
KEYS = Keyring([Secret("k" * 40)])


class SlowTrail(MemoryTrail):
    """Others get in between."""

    async def last_step(self) -> Step | None:
        last = await super().last_step()
        await asyncio.sleep(0)
        return last


class Told:
    def __init__(self) -> None:
        self.problems: list[str] = []

    def __call__(self, event: str, **fields: str) -> None:
        self.problems.append(fields["problem"])


def witness(book: MemoryTrail, head: Path, told: Told | None = None, clock: FakeClock | None = None) -> Witness:
    clock, told = clock or FakeClock(), told or Told()
    return Witness(book=book, keyring=KEYS, head=SystemFile(head), host="north", clock=clock, report=told)


def seq_kept(head: Path) -> int:
    return ChainHead.read(head.read_bytes(), KEYS.subkeys(PURPOSE)).seq


async def test_writers_of_many_processes_make_one_chain(tmp_path: Path) -> None:
    book = SlowTrail()
    writers = [witness(book, tmp_path / f"{number}.head") for number in range(5)]
    await asyncio.gather(*(writer.write(ACT) for writer in writers for _ in range(8)))
    verdict = Verdict()
    verify(book.steps, KEYS, verdict)
    assert (verdict.problem(), verdict.entries) == (None, 40)


async def test_what_was_done_once_is_one_entry_whoever_tells_it(tmp_path: Path) -> None:
    book = SlowTrail()
    writers = [witness(book, tmp_path / f"{number}.head") for number in range(5)]
    others = [replace(ACT, action="account.thaw"), replace(ACT, object="acct_2")]
    told = await asyncio.gather(*(writer.write_once(act) for act in (ACT, *others) * 4 for writer in writers))
    assert sum(told) == 3
    assert sorted((step.act.action, step.act.object) for step in book.steps) == sorted(
        (act.action, act.object) for act in (ACT, *others)
    )


async def test_what_may_happen_again_is_told_apart_by_a_fact(tmp_path: Path) -> None:
    book = MemoryTrail()
    writers = [witness(book, tmp_path / f"{number}.head") for number in range(3)]
    acts = [replace(ACT, facts={"attempt": str(number % 3), "amount": str(number)}) for number in range(6)]
    told = await asyncio.gather(*(writer.write_once(act, by="attempt") for act in acts for writer in writers))
    assert sum(told) == 3
    assert sorted(step.act.facts["attempt"] for step in book.steps) == ["0", "1", "2"]


async def test_when_it_cannot_be_written_it_must_not_be_done(tmp_path: Path) -> None:
    class Full(MemoryTrail):
        async def add_step(self, step: Step, *, action: str, object: str) -> bool:
            return False

    with pytest.raises(RecordsUnavailable):
        await witness(Full(), tmp_path / "head").write(ACT)
    with pytest.raises(RecordsUnavailable):
        await witness(Full(), tmp_path / "head").write_once(ACT)


async def test_the_head_follows_once_a_second_and_at_the_end(tmp_path: Path) -> None:
    book, head, clock = MemoryTrail(), tmp_path / "head", FakeClock()
    writer = witness(book, head, clock=clock)
    await writer.write(ACT)
    await writer.write(ACT)
    assert seq_kept(head) == 1
    clock.pass_seconds(HEAD_MS / 1000)
    await writer.write(ACT)
    assert seq_kept(head) == 3
    await writer.write(ACT)
    await writer.close()
    assert seq_kept(head) == 4


async def test_a_head_of_a_longer_chain_is_never_written_over(tmp_path: Path) -> None:
    book, head, clock, told = MemoryTrail(), tmp_path / "head", FakeClock(), Told()
    writer = witness(book, head, told, clock)
    for _ in range(5):
        await writer.write(ACT)
        clock.pass_seconds(HEAD_MS / 1000)
    kept = head.read_bytes()
    del book.steps[2:]
    for _ in range(6):
        await writer.write(ACT)
        clock.pass_seconds(HEAD_MS / 1000)
    assert head.read_bytes() == kept, "it proves that the end was cut off, also when there is another one"
    assert any("exchanged" in problem for problem in told.problems)


async def test_a_head_that_is_not_ours_stays_for_the_audit(tmp_path: Path) -> None:
    book, head, told = MemoryTrail(), tmp_path / "head", Told()
    head.write_text("{}")
    await witness(book, head, told).write(ACT)
    assert head.read_text() == "{}"
    assert len(told.problems) == 1


async def test_a_head_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    book, told = MemoryTrail(), Told()
    (tmp_path / "no").write_text("a file where a folder should be")
    await witness(book, tmp_path / "no" / "head", told).write(ACT)
    assert len(book.steps) == 1
    assert "lags" in told.problems[0]
