"""Every process says which keys it has."""

from gateway.adapters.memory import MemoryRecords
from gateway.flows.rotate import CallIn
from tests.fakes import FakeClock


async def test_a_process_says_what_it_has_and_takes_it_back_when_it_leaves() -> None:
    records, clock, told = MemoryRecords(), FakeClock(), list[str]()
    ids = ["nEw0", "0ld0"]
    ours = CallIn(
        roll=records,
        holder="a 0",
        ids=lambda: {"pepper": ids},
        clock=clock,
        report=lambda what, **_: told.append(what),
    )
    await ours.now()
    clock.pass_seconds(60)
    ids.insert(1, "next")
    await ours.now()
    use = await records.use("pepper")
    assert [(holder.name, holder.ids, holder.seen_ms) for holder in use.holders] == [
        ("a 0", ("nEw0", "next", "0ld0"), clock.ms)
    ]
    assert use.sealed == {"nEw0": clock.ms, "0ld0": clock.ms - 60_000, "next": clock.ms}
    assert (await records.use("sealing_key")).holders == []
    await ours.leave()
    assert (await records.use("pepper")).holders == []
    assert told == []


async def test_a_process_that_is_behind_says_so_once() -> None:
    records, clock, told = MemoryRecords(), FakeClock(), list[str]()
    await records.call_in("b 0", "pepper", ["nEw0", "0ld0"], now_ms=clock.ms)
    ours = CallIn(
        roll=records,
        holder="a 0",
        ids=lambda: {"pepper": ["0ld0"]},
        clock=clock,
        report=lambda what, **fields: told.append(f"{what} {fields['id']}"),
    )
    await ours.now()
    await ours.now()
    assert told == ["a key is missing here nEw0"]
