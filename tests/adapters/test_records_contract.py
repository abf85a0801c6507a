"""What the ports promise of tokens, events and links, held against every implementation."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from gateway.adapters.memory import MemoryRecords
from gateway.adapters.postgres.records import PostgresRecords
from gateway.adapters.postgres.sessions import Address
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.caps import CapSetting
from gateway.core.idempotency import Claim
from gateway.core.keyring import Keyring
from gateway.core.money import Money
from gateway.core.payments import Event
from gateway.core.purses import Purse, Share
from gateway.core.refusals import RecordsUnavailable
from gateway.core.reversals import Credited, Move, Notice
from gateway.core.rotation import KeyKind
from gateway.core.secrets import Secret
from gateway.ports import InboxStanding, KeysDiffer, StoreDamaged, StoreFailed
from tests.fakes import SeededRandomness
from tests.postgres_server import Server

Records = MemoryRecords | SqliteRecords | PostgresRecords
KEYRING = Keyring([Secret("k" * 40)])
EVENT = Event("evt_1", "checkout.session.completed", False, 1, {"customer_details": {"email": "ann@example.org"}})


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def records(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Records]:
    if request.param == "memory":
        yield MemoryRecords()
        return
    stored: SqliteRecords | PostgresRecords
    if request.param == "sqlite":
        stored = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    else:
        server: Server = request.getfixturevalue("postgres")
        stored = in_postgres(await server.schema())
    await stored.open()
    yield stored
    await stored.close()


def in_postgres(dsn: str, keyring: Keyring = KEYRING) -> PostgresRecords:
    return PostgresRecords(Address(Secret(dsn)), keyring=keyring, randomness=SeededRandomness())


async def test_a_token_is_found_by_its_digest_only(records: Records) -> None:
    assert await records.find(b"d" * 32) is None
    assert await records.add(b"d" * 32, account="acct_1", pepper_id="0000", now_ms=1)
    found = await records.find(b"d" * 32)
    assert found is not None
    assert (found.account, found.revoked, found.expires_ms) == ("acct_1", False, None)
    assert await records.find(b"e" * 32) is None


async def test_a_token_that_is_there_stays_as_it_is(records: Records) -> None:
    assert await records.add(b"d" * 32, account="acct_1", pepper_id="0000", now_ms=1)
    assert not await records.add(b"d" * 32, account="acct_2", pepper_id="0000", now_ms=2)
    found = await records.find(b"d" * 32)
    assert found is not None
    assert found.account == "acct_1"


async def test_of_fifty_claims_at_once_one_is_granted(records: Records) -> None:
    granted = await asyncio.gather(*(records.claim(EVENT, now_ms=1) for _ in range(50)))
    assert sum(granted) == 1


async def test_an_event_waits_until_it_is_closed(records: Records) -> None:
    await records.claim(EVENT, now_ms=1)
    assert await records.events("waiting") == [EVENT]
    await records.close_event("evt_1", "parked", error="why")
    assert await records.events("waiting") == []
    assert await records.events("parked") == [EVENT]
    assert not await records.claim(EVENT, now_ms=2)


async def test_a_link_is_kept_by_what_it_sells(records: Records) -> None:
    assert await records.find_link("a") is None
    await records.keep_link("a", "https://pay.example/1")
    await records.keep_link("a", "https://pay.example/2")
    assert await records.find_link("a") == "https://pay.example/2"
    assert await records.find_link("b") is None


async def test_an_entry_says_how_its_event_stands(records: Records) -> None:
    assert await records.find_entry("evt_1") is None
    await records.claim(EVENT, now_ms=17)
    await records.close_event("evt_1", "parked", error="why")
    found = await records.find_entry("evt_1")
    assert found is not None
    assert (found.event, found.status, found.received_ms, found.error, found.readable) == (
        EVENT,
        "parked",
        17,
        "why",
        True,
    )
    assert await records.entries("parked") == [found]
    assert await records.entries("waiting") == []
    await records.close_event("evt_2", "done")
    assert await records.find_entry("evt_2") is None


CREDITED = Credited("pi_1", "cs_1", "acct_1", Money(5_000_000, "usd"), Money(4_200_000, "usd"))
NOTICE = Notice("evt_2", "pi_1", "refund", "re_1", Money(1_000_000, "usd"), True, 7, False)


async def test_whose_a_payment_is_stays_as_it_was_written_first(records: Records) -> None:
    assert await records.find_credited("pi_1") is None
    assert await records.keep_credited(CREDITED) == CREDITED
    other = Credited("pi_1", "cs_1", "acct_2", Money(1, "eur"), Money(1, "eur"))
    assert await records.keep_credited(other) == CREDITED
    gift = Credited("in_1", "in_1", "acct_1", Money(0, "usd"), Money(7, "usd"), Purse(-10, 1_900_000_000_000))
    assert await records.keep_credited(gift) == gift
    shares = Share(Purse(), Money(5, "usd")), Share(Purse(-10, 1_900_000_000_000), Money(2, "usd"))
    parted = replace(gift, payment="in_2", session="in_2", shares=shares)
    assert await records.keep_credited(parted) == parted
    exports = Credited("in_3", "in_3", "acct_1", Money(10_000_000, "usd"), Money(3_000_000, "unit:export"))
    assert await records.keep_credited(exports) == exports
    of_both = replace(
        exports, payment="in_4", shares=tuple(replace(one, amount=Money(7, "unit:export")) for one in shares)
    )
    assert await records.keep_credited(of_both) == of_both
    assert await records.find_credited("pi_1") == CREDITED


async def test_a_notice_is_kept_once_per_event(records: Records) -> None:
    other = Notice("evt_3", "pi_1", "dispute", "dp_1", Money(0, "usd"), False, 8, True)
    stranger = Notice("evt_4", "pi_2", "warning", "issfr_1", Money(0, "xxx"), True, 8, False)
    for notice in (NOTICE, other, stranger, NOTICE):
        await records.keep_notice(notice)
    await records.keep_notice(Notice("evt_2", "pi_9", "refunded", "ch_1", Money(9, "usd"), False, 9, False))
    assert await records.notices("pi_1") == [NOTICE, other]
    assert await records.notices("pi_2") == [stranger]
    assert await records.notices("pi_9") == []


async def test_of_moves_with_one_number_one_is_planned(records: Records) -> None:
    moves = [Move("pi_1", 1, micros, "refund") for micros in range(1, 21)]
    planned = await asyncio.gather(*(records.plan_move(move) for move in moves))
    assert sum(planned) == 1
    [kept] = await records.moves("pi_1")
    assert kept == moves[planned.index(True)]
    assert await records.plan_move(Move("pi_1", 2, -3, "dispute"))
    assert await records.plan_move(Move("pi_2", 1, 3, "dispute"))
    assert await records.unmade() == ["pi_1", "pi_2"]
    await records.move_made("pi_1", 1)
    await records.move_made("pi_2", 1)
    await records.correct_move("pi_2", 1, 7)
    assert await records.moves("pi_2") == [Move("pi_2", 1, 7, "dispute", made=True)]
    assert await records.unmade() == ["pi_1"]
    assert [move.made for move in await records.moves("pi_1")] == [True, False]
    assert [move.number for move in await records.moves("pi_1")] == [1, 2]


async def test_a_watermark_never_goes_back(records: Records) -> None:
    assert await records.watermark("a") is None
    for value in (5, 9, 7):
        await records.keep_watermark("a", value)
    assert await records.watermark("a") == 9
    assert await records.watermark("b") is None
    assert await records.newest_watermark("a_") is None
    for name, value in (("a_1", 3), ("a_2", 5), ("b_1", 8), ("A_1", 9), ("ab1", 7)):
        await records.keep_watermark(name, value)
    assert await records.newest_watermark("a_") == 5


async def test_no_address_of_a_person_stands_in_the_file(tmp_path: Path) -> None:
    records = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    await records.open()
    await records.claim(EVENT, now_ms=1)
    for file in tmp_path.iterdir():
        assert b"ann@example.org" not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0, f"{file.name} can be read by others"
    await records.close()


async def test_records_of_a_newer_gateway_send_nobody_to_a_backup(tmp_path: Path) -> None:
    records = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    await records.open()
    await records.close()
    with closing(sqlite3.connect(tmp_path / "records.db", isolation_level=None)) as sql:
        sql.execute("INSERT INTO migration VALUES (99, '0099_x.sql', 'x')")
    with pytest.raises(StoreDamaged, match=r"use a newer gateway$"):
        await records.open()


async def test_what_was_acknowledged_is_there_after_a_crash(tmp_path: Path) -> None:
    records = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    await records.open()
    await records.claim(EVENT, now_ms=1)
    image = tmp_path / "image"
    image.mkdir()
    for name in ("records.db", "records.db-wal"):
        (image / name).write_bytes((tmp_path / name).read_bytes())
    again = SqliteRecords(image / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    await again.open()
    assert await again.events("waiting") == [EVENT]
    await again.close()
    await records.close()


async def test_a_file_that_another_process_is_just_making_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    records = SqliteRecords(path, keyring=KEYRING, randomness=SeededRandomness())
    with closing(sqlite3.connect(path, isolation_level=None)) as stranger:
        stranger.execute("BEGIN EXCLUSIVE")
        opening = asyncio.create_task(records.open())
        await asyncio.sleep(0.05)
        assert not opening.done()
        stranger.execute("ROLLBACK")
        await opening
    assert await records.claim(EVENT, now_ms=1)
    await records.close()


async def test_an_outage_is_a_refusal_and_no_bug(tmp_path: Path) -> None:
    records = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    await records.open()
    with closing(sqlite3.connect(tmp_path / "records.db")) as stranger:
        stranger.execute("DROP TABLE token")
    with pytest.raises(RecordsUnavailable):
        await records.find(b"d" * 32)
    with pytest.raises(RecordsUnavailable):
        await records.add(b"d" * 32, account="acct_1", pepper_id="0000", now_ms=1)
    await records.close()


async def test_an_event_whose_key_is_gone_is_parked_and_stops_nothing(tmp_path: Path) -> None:
    records = SqliteRecords(tmp_path / "records.db", keyring=KEYRING, randomness=SeededRandomness())
    await records.open()
    await records.claim(EVENT, now_ms=1)
    await records.close()
    other = SqliteRecords(tmp_path / "records.db", keyring=Keyring([Secret("o" * 40)]), randomness=SeededRandomness())
    await other.open()
    assert await other.events("waiting") == []
    assert [event.id for event in await other.events("parked")] == ["evt_1"]
    await other.close()


# --- shared by hosts --------------------------------------------------------------------------------------------------


async def test_a_token_that_one_host_records_is_told_the_others(postgres: Server) -> None:
    dsn = await postgres.schema()
    here, there = in_postgres(dsn), in_postgres(dsn)
    told: asyncio.Queue[bytes] = asyncio.Queue()
    there.recorded = told.put_nowait
    await here.open()
    await there.open()
    assert await here.add(b"d" * 32, account="acct_1", pepper_id="0000", now_ms=1)
    assert not await here.add(b"d" * 32, account="acct_1", pepper_id="0000", now_ms=1)
    assert await here.add(b"e" * 32, account="acct_2", pepper_id="0000", now_ms=1)
    async with asyncio.timeout(5):
        assert [await told.get(), await told.get()] == [b"d" * 32, b"e" * 32]
    found = await there.find(b"d" * 32)
    assert found is not None
    assert found.account == "acct_1"
    await here.close()
    await there.close()


async def test_no_address_of_a_person_stands_in_the_database(postgres: Server) -> None:
    dsn = await postgres.schema()
    records = in_postgres(dsn)
    await records.open()
    await records.claim(EVENT, now_ms=1)
    connection = await asyncpg.connect(dsn)
    assert "ann@example.org" not in str(await connection.fetch("SELECT *, encode(object, 'escape') FROM event"))
    await connection.close()
    await records.close()


async def test_a_database_that_is_down_is_a_refusal_and_no_bug(postgres: Server) -> None:
    dsn = await postgres.schema()
    records = in_postgres(dsn)
    with pytest.raises(RecordsUnavailable):
        await records.find(b"d" * 32)
    await records.open()
    connection = await asyncpg.connect(dsn)
    await connection.execute("DROP TABLE token")
    with pytest.raises(RecordsUnavailable):
        await records.find(b"d" * 32)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gateway records'"
    )
    await connection.close()
    with suppress(RecordsUnavailable):  # who asks first may be the one to find that the connection is gone
        await records.find_link("a")
    assert await records.find_link("a") is None  # with a new connection
    await records.close()


async def test_a_host_with_other_keys_is_turned_away(postgres: Server) -> None:
    dsn = await postgres.schema()
    ours, rotated = in_postgres(dsn), in_postgres(dsn, Keyring([Secret("n" * 40), Secret("k" * 40)]))
    for records in (ours, rotated):
        await records.open()
        await records.close()
    stranger = in_postgres(dsn, Keyring([Secret("o" * 40)]))
    with pytest.raises(StoreDamaged, match="belongs to gateways with other keys"):
        await stranger.open()
    await stranger.close()


@pytest.mark.parametrize(("kind", "named"), [("pepper", "peppers"), ("jwt", "key pairs")])
async def test_a_host_that_shares_no_pepper_or_no_key_pair_with_the_others_is_turned_away(
    postgres: Server, kind: KeyKind, named: str
) -> None:
    dsn = await postgres.schema()

    async def comes(*ids: str, then: Callable[[PostgresRecords], Awaitable[None]] | None = None) -> None:
        address, chance = Address(Secret(dsn)), SeededRandomness()
        host = PostgresRecords(address, keyring=KEYRING, randomness=chance, shares={kind: ids})
        try:
            await host.open()
            if then is not None:
                await then(host)
        finally:
            await host.close()

    await comes("a")
    with pytest.raises(KeysDiffer, match=rf"belongs to gateways with other keys \({named}\)"):
        await comes("z")
    with pytest.raises(KeysDiffer):
        await comes("z")  # it was not let in by having come before
    await comes()  # a command that has none
    await comes("b", "a")  # a rotation: the new one, and the old one
    await comes("b", then=lambda host: host.key_roll.call_in("a 0", kind, ["c", "b"], now_ms=1))
    await comes("c", then=lambda host: host.key_roll.retired(kind, "a"))
    with pytest.raises(KeysDiffer):
        await comes("a")  # who was away for all of it


async def test_what_is_said_of_a_failure_never_holds_the_password(postgres: Server) -> None:
    dsn = f"postgresql://ann:hush-hush@127.0.0.1:{postgres.port}/nowhere?application_name=secret-too"
    records = in_postgres(dsn)
    with pytest.raises(StoreFailed) as failed:
        await records.open()
    said = str(failed.value)
    assert f"127.0.0.1:{postgres.port}/nowhere" in said
    assert "hush" not in said
    assert "secret-too" not in said


OLDER, NEWER = b"o" * 32, b"n" * 32


async def test_several_tokens_are_found_in_one_question(records: Records) -> None:
    await records.add(OLDER, account="acct_1", pepper_id="0000", now_ms=1)
    await records.add(NEWER, account="acct_2", pepper_id="1111", now_ms=1)
    found = await records.find_any([OLDER, b"x" * 32, NEWER])
    assert {digest: row.account for digest, row in found.items()} == {OLDER: "acct_1", NEWER: "acct_2"}


async def test_a_token_moves_to_another_digest_with_all_that_is_known_of_it(records: Records) -> None:
    await records.add(OLDER, account="acct_1", pepper_id="0000", now_ms=1)
    for _ in range(2):
        await records.redigest(NEWER, [OLDER], pepper_id="1111", key_id="cafe")
        found = await records.find_any([OLDER, NEWER])
        assert list(found) == [NEWER]
        assert (found[NEWER].account, found[NEWER].key_id) == ("acct_1", "cafe")
    assert (await records.key_roll.use("pepper")).tokens == {"1111": 1}
    assert (await records.key_roll.use("sealing_key")).tokens == {"cafe": 1}


async def test_of_a_token_that_stands_twice_the_newest_row_stays(records: Records) -> None:
    await records.add(OLDER, account="acct_1", pepper_id="0000", now_ms=1)
    await records.add(NEWER, account="acct_2", pepper_id="1111", now_ms=2)
    await records.redigest(NEWER, [OLDER], pepper_id="1111", key_id="cafe")
    found = await records.find_any([OLDER, NEWER])
    assert [row.account for row in found.values()] == ["acct_2"]


async def test_a_token_that_was_revoked_under_any_digest_stays_revoked(records: Records) -> None:
    await records.add(OLDER, account="acct_1", pepper_id="0000", now_ms=1)
    await records.add(NEWER, account="acct_1", pepper_id="1111", now_ms=2)
    await revoke(records, OLDER)
    await records.redigest(NEWER, [OLDER], pepper_id="1111", key_id="cafe")
    found = await records.find_any([OLDER, NEWER])
    assert [(digest, row.revoked) for digest, row in found.items()] == [(NEWER, True)]


async def revoke(records: Records, digest: bytes) -> None:
    if isinstance(records, MemoryRecords):
        records.tokens[digest] = replace(records.tokens[digest], revoked=True)
    elif isinstance(records, SqliteRecords):
        await records._write("UPDATE token SET revoked = 9 WHERE access_token_hash = ?", (digest,))
    else:
        await records._do("UPDATE token SET revoked = 9 WHERE access_token_hash = $1", digest)


async def test_a_key_seals_until_the_last_time_that_a_process_said_so(records: Records) -> None:
    roll = records.key_roll
    await roll.call_in("a 0", "pepper", ["0001"], now_ms=10)
    await roll.call_in("b 0", "pepper", ["0001", "0002"], now_ms=30)
    await roll.call_in("a 0", "pepper", ["0002", "0001"], now_ms=20)
    use = await roll.use("pepper")
    assert [(holder.name, holder.ids, holder.seen_ms) for holder in use.holders] == [
        ("a 0", ("0002", "0001"), 20),
        ("b 0", ("0001", "0002"), 30),
    ]
    assert use.sealed == {"0001": 30, "0002": 30}
    await roll.call_in("a 0", "pepper", ["0002"], now_ms=40)
    await roll.leave("b 0")
    use = await roll.use("pepper")
    assert [holder.name for holder in use.holders] == ["a 0"]
    assert use.sealed == {"0001": 30, "0002": 40}
    assert (await roll.use("sealing_key")).sealed == {}


async def test_events_are_sealed_anew(tmp_path: Path, postgres: Server) -> None:
    old, new = Secret("k" * 40), Secret("n" * 40)
    dsn = await postgres.schema()
    for made in (
        lambda ring: SqliteRecords(tmp_path / "records.db", keyring=ring, randomness=SeededRandomness()),
        lambda ring: in_postgres(dsn, ring),
    ):
        ring = Keyring([old])
        before, after = made(ring), made(Keyring([new]))
        await before.open()
        for number in range(3):
            await before.claim(Event(f"evt_{number}", "x", False, 1, {"number": number}), now_ms=1)
        ring.renew([new, old])
        was = Keyring([old]).newest.id
        claim = Claim("acct_1", b"k", b"asked", "req_1", "p", 9, 9)
        await before.key_claims.claim(claim, now_ms=1)
        assert (await before.key_roll.use("sealing_key")).answers == {}
        await before.key_claims.end(replace(claim, state="kept", sealed_by=was, answer=b"sealed"))
        use = await before.key_roll.use("sealing_key")
        assert (use.events, use.answers) == ({was: 3}, {was: 1})
        assert (await before.key_roll.use("pepper")).answers == {}
        assert [await before.reseal(was, count=2) for _ in range(3)] == [2, 1, 0]
        await before.key_roll.call_in("a 0", "sealing_key", [key.id for key in ring.keys], now_ms=1)
        await before.close()
        await after.open()
        assert sorted(event.object["number"] for event in await after.events("waiting")) == [0, 1, 2]
        await after.close()


async def test_freezes_are_read_in_order_and_each_cause_counts_once(records: Records) -> None:
    book = records.freezes
    assert await book.add_freeze("acct_1", frozen=True, reason="one", now_ms=5, cause="stripe:issfr_1")
    assert not await book.add_freeze("acct_1", frozen=True, reason="again", now_ms=6, cause="stripe:issfr_1")
    assert await book.add_freeze("acct_2", frozen=True, reason="two", now_ms=7)
    assert await book.add_freeze("acct_1", frozen=False, reason="three", now_ms=8)
    rows = await book.freezes_after(0)
    assert [(row.account, row.frozen, row.reason, row.at_ms) for row in rows] == [
        ("acct_1", True, "one", 5),
        ("acct_2", True, "two", 7),
        ("acct_1", False, "three", 8),
    ]
    assert await book.freezes_after(rows[0].number) == rows[1:]
    assert await book.freezes_of("acct_1") == [rows[0], rows[2]]


async def test_caps_are_read_in_order_and_each_is_later_than_the_one_before(records: Records) -> None:
    book = records.caps
    await book.add_cap("acct_1", "day", "usd", 5, now_ms=100)
    await book.add_cap("acct_2", "total", "eur", 0, now_ms=50)
    await book.add_cap("acct_1", "day", "usd", None, now_ms=100)  # the clock stood still
    rows = await book.caps_after(0)
    assert [(row.number, row.account, row.period, row.unit, row.micros, row.since_ms) for row in rows] == [
        (1, "acct_1", "day", "usd", 5, 100),
        (2, "acct_2", "total", "eur", 0, 50),
        (3, "acct_1", "day", "usd", None, 101),
    ]
    assert [(row.tell_at, row.zone) for row in rows] == [(None, None)] * 3
    await book.add_cap("acct_3", "month", "usd", None, now_ms=1, tell_at=7, zone="Asia/Tokyo")
    assert await book.caps_of("acct_3") == [CapSetting(4, "acct_3", "month", "usd", None, 1, 7, "Asia/Tokyo")]
    rows = await book.caps_after(0)
    assert await book.caps_after(1) == rows[1:]
    assert await book.caps_of("acct_1") == [rows[0], rows[2]]


async def test_thirty_freezes_at_once_have_thirty_numbers_without_a_gap(records: Records) -> None:
    freezes = (records.freezes.add_freeze(f"acct_{n}", frozen=True, reason="x", now_ms=1) for n in range(30))
    assert all(await asyncio.gather(*freezes))
    assert [row.number for row in await records.freezes.freezes_after(0)] == list(range(1, 31))


async def test_the_inbox_tells_how_it_stands(records: Records) -> None:
    assert await records.inbox_standing() == InboxStanding(None, 0, None, 0)
    statuses = ("parked", "waiting", "done", "waiting", "parked", "parked", "ignored")
    for number, status in enumerate(statuses):
        await records.claim(Event(f"evt_{number}", "x", False, 1, {}), now_ms=100 + number)
        await records.close_event(f"evt_{number}", status)  # type: ignore[arg-type]
        assert (await records.inbox_standing()).newest_ms == 100 + number
    assert await records.inbox_standing() == InboxStanding(106, 2, 101, 3)


async def test_only_events_that_are_over_and_old_are_dropped(records: Records) -> None:
    for number, status in enumerate(("done", "ignored", "parked", "waiting", "done")):
        await records.claim(Event(f"evt_{number}", "x", False, 1, {}), now_ms=100 if number < 4 else 200)
        await records.close_event(f"evt_{number}", status)  # type: ignore[arg-type]
    assert [await records.drop_events(before_ms=200, count=1) for _ in range(3)] == [1, 1, 0]
    left = [number for number in range(5) if await records.find_entry(f"evt_{number}") is not None]
    assert left == [2, 3, 4]
    assert await records.drop_events(before_ms=201, count=5) == 1
    assert await records.claim(Event("evt_0", "x", False, 1, {}), now_ms=300), "what was dropped is new again"


async def test_readings_are_kept_once_and_found_by_their_request(records: Records) -> None:
    await records.readings.keep([("req_1", 10, '{"a": "é"}'), ("req_2", 20, "two")])
    await records.readings.keep([("req_2", 20, "again"), ("req_3", 30, "three")])
    assert await records.readings.of(["req_1", "req_2", "req_9"]) == {"req_1": '{"a": "é"}', "req_2": "two"}
    assert await records.readings.of([]) == {}


async def test_readings_go_that_are_too_old_or_too_many_the_oldest_first(records: Records) -> None:
    rows = [(f"req_{number}", number, "x") for number in range(1, 8)]
    await records.readings.keep(rows)

    async def left() -> list[int]:
        found = await records.readings.of([request for request, _, _ in rows])
        return sorted(int(request.removeprefix("req_")) for request in found)

    assert await records.readings.drop(before_ms=3, rows_max=100, count=100) == 2
    assert await left() == [3, 4, 5, 6, 7]
    assert await records.readings.drop(before_ms=0, rows_max=2, count=2) == 2
    assert await left() == [5, 6, 7]
    assert await records.readings.drop(before_ms=0, rows_max=2, count=2) == 1
    assert await records.readings.drop(before_ms=0, rows_max=2, count=2) == 0
    assert await left() == [6, 7]
