"""Whoever is erased is gone from every part of the records, nobody else is, and money keys stay; in both databases."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import asyncpg
import pytest

from gateway.adapters.owning import OwnerRecords
from gateway.adapters.personal import NOBODYS, PARTS, AffectedRecords, Erasure, PersonalRecords
from gateway.adapters.personal.erased import PAUSES
from gateway.adapters.personal.parts import Blanked, Dropped, Kept
from gateway.adapters.postgres.records import PostgresRecords
from gateway.adapters.postgres.sessions import Address, Bounds
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core import references
from gateway.core.auto_top_ups import Ceilings, Refill
from gateway.core.grants import Grant
from gateway.core.keyring import Keyring
from gateway.core.money import Money
from gateway.core.owning import Member
from gateway.core.payments import Event
from gateway.core.references import NO_TOKEN, Reference
from gateway.core.refusals import RecordsUnavailable
from gateway.core.secrets import Secret
from gateway.ports import Rotation, Unscrubbed
from tests.adapters.test_personal_contract import ANN, BOB, NONCE, NOW, OLD, live_as, told_of
from tests.fakes import SeededRandomness
from tests.postgres_server import Server
from tests.stored import KEYRING, Records

MOST = Ceilings(Money.parse("50.00 usd"), Money.parse("99.00 usd"))
STAYS = {"payments", "refunds_and_disputes", "taken_back", "subscriptions", "trail"}


def erasure(records: Records, ring: Keyring = KEYRING, *, pauses: Sequence[float] = PAUSES) -> Erasure:
    shared = not isinstance(records, SqliteRecords)
    return Erasure(records, ring, SeededRandomness(), shared=shared, pauses=pauses)


async def live_fully_as(records: Records, account: str, name: str) -> None:
    """With what takes an event, a rotation, a program and an owner besides."""
    await live_as(records, account, name)
    owners = OwnerRecords(records.ask)
    await owners.add_invite(name.encode(), f"owner-{name}", until_ms=NOW + 1)
    assert await owners.use_invite([name.encode()], f"usr_{name}", now_ms=NOW)
    await owners.add_member(Member(f"usr_{name}", f"owner-{name}", "invited", NOW))
    await records.licensees.add_code(f"code {name}".encode(), f"cus_l{name}", until_ms=NOW + 1, now_ms=NOW)
    made = Rotation(f"new {name}".encode().ljust(32), "p", "last", *KEYRING.seal("x", b"y", nonce=NONCE), NOW, NOW)
    await records.grants.rotate(name.encode().ljust(32), made)
    sealed = references.seal(KEYRING, Reference(account, NO_TOKEN, "p123", 9), nonce=NONCE)
    said = {"id": f"cs_{name}", "object": "checkout.session", "customer": f"cus_e{name}", "email": f"{name}@event.org"}
    for number, status in enumerate(("done", "ignored")):
        event = Event(f"evt_{name}{number}", "some", False, 5, {**said, "client_reference_id": sealed})
        await records.claim(event, now_ms=NOW)
        await records.close_event(event.id, status)  # type: ignore[arg-type]


async def test_nothing_personal_is_left_and_money_keys_are(records: Records) -> None:
    await live_fully_as(records, ANN, "ann")
    await live_fully_as(records, BOB, "bob")
    before, others = await told_of(records, ANN), await told_of(records, BOB)
    of_ann = erasure(records)
    found = await of_ann.events([ANN])
    assert (sorted(found.over), found.open) == (["evt_ann0", "evt_ann1"], [])
    assert set(found.customers) == {"cus_eann"}
    assert set(await of_ann.customers([ANN])) == {"cus_ann", "cus_lann"}
    assert await of_ann.redact(found.over) == 2
    would = await of_ann.there_is([ANN])
    did = await of_ann.erase([ANN], now_ms=NOW)
    assert did == would
    assert await of_ann.there_is([ANN]) == dict.fromkeys(would, 0)
    await of_ann.scrub()
    after = await told_of(records, ANN)
    for name in STAYS:
        assert after[name] == before[name], name
    assert not {name for name in PARTS if isinstance(PARTS[name].erased, Dropped) and after[name]}
    left = repr({name: rows for name, rows in after.items() if name not in STAYS})
    assert not re.findall(r"\w*(?:visa|example|Doe|laptop|about|event\.org|seller)[ -]?\w*", left), left
    assert {row["revoked_ms"] for row in after["secrets_of_tokens"]} == {NOW}
    assert await told_of(records, BOB) == others, "nobody else is touched"


async def test_of_an_event_its_ids_stay_and_lead_to_those_that_come_later(records: Records) -> None:
    await live_fully_as(records, ANN, "ann")
    of_ann = erasure(records)
    await of_ann.redact((await of_ann.events([ANN])).over)
    await of_ann.erase([ANN], now_ms=NOW)
    entry = await records.find_entry("evt_ann0")
    assert entry is not None
    assert entry.event.object == {"id": "cs_ann", "object": "checkout.session", "erased": ["cs_ann", "cus_eann"]}
    assert not await records.claim(Event("evt_ann0", "some", False, 5, {}), now_ms=NOW), "it is not new"
    late = Event("evt_late", "customer.deleted", False, 9, {"id": "cus_eann", "email": "ann@example.org"})
    await records.claim(late, now_ms=NOW)
    found = await of_ann.events([ANN])
    assert (list(found.over), list(found.open)) == ([], ["evt_late"]), "which is left while it waits"
    assert await of_ann.redact({"evt_late": late.object}) == 0
    await records.close_event("evt_late", "ignored")
    assert list((await of_ann.events([ANN])).over) == ["evt_late"]


async def test_a_charge_under_way_is_known(records: Records) -> None:
    await live_as(records, ANN, "ann")
    assert await records.freezes.add_freeze(ANN, frozen=False, reason="found", now_ms=NOW)
    charge = Refill(ANN, 1, "key", Money.parse("5.00 usd"), "cus_ann", "pm_ann", "ref", NOW)
    assert not await erasure(records).is_charged([ANN])
    assert await records.ways_to_pay.begin_refill(charge, MOST)
    assert await erasure(records).is_charged([BOB, ANN])
    assert not await erasure(records).is_charged([BOB])


async def test_what_nobody_can_open_any_more_goes_too(records: Records) -> None:
    await live_fully_as(records, ANN, "ann")
    stranger = erasure(records, Keyring([Secret("n" * 40)]))
    await stranger.erase([ANN], now_ms=NOW)
    assert (await PersonalRecords(records.ask, KEYRING).of([ANN]))["people"] == []


async def test_files_hold_nothing_of_them_after_it_was_scrubbed(records: Records, tmp_path: Any) -> None:
    if not isinstance(records, SqliteRecords):
        return  # its files are not ours; that the rows are gone is said above
    words = (b"laptop of ann", b"visa ann")
    await records.ask("PRAGMA secure_delete = OFF")  # as SQLite is where nobody built it otherwise
    await live_fully_as(records, ANN, "ann")
    in_files = b"".join(path.read_bytes() for path in tmp_path.glob("records.db*"))
    assert all(word in in_files for word in words), "or this test could not fail"
    await erasure(records).erase([ANN], now_ms=NOW)
    in_files = b"".join(path.read_bytes() for path in tmp_path.glob("records.db*"))
    assert any(word in in_files for word in words), "deleted text stays until it is written over"
    await erasure(records).scrub()
    in_files = b"".join(path.read_bytes() for path in tmp_path.glob("records.db*"))
    assert not any(word in in_files for word in words)


def test_what_is_kept_says_why_and_holds_no_words_of_anybody() -> None:
    for name, part in PARTS.items():
        if isinstance(part.erased, Kept | Blanked):
            assert len(part.erased.why) > 20, name
        if isinstance(part.erased, Kept):
            assert part.sealed is None, f"{name}: what is sealed is personal, so it is dropped or blanked"
        if isinstance(part.erased, Blanked) and part.sealed is not None:
            assert part.erased.columns[part.sealed.column] == "NULL", name
    assert not {part.table for part in PARTS.values()} & NOBODYS.keys()


@pytest.mark.parametrize("name", sorted(PARTS))
def test_every_part_says_what_becomes_of_it(name: str) -> None:
    assert isinstance(PARTS[name].erased, Dropped | Blanked | Kept)


async def test_who_is_affected_is_found_with_the_addresses_that_are_known(records: Records) -> None:
    await live_as(records, ANN, "ann")
    await live_as(records, BOB, "bob")
    affected = AffectedRecords(records.ask, KEYRING)
    assert await affected.contacts([ANN, OLD]) == {
        ANN: ["ann@example.org", "licence-ann@example.org", "link-ann@example.org"]
    }
    assert await AffectedRecords(records.ask, Keyring([Secret("n" * 40)])).contacts([ANN]) == {}
    assert await affected.account_of_token("tok_bob") == BOB
    assert await affected.account_of_token("tok_none") is None
    assert await affected.accounts_of_prices(["price_1"]) == [ANN, BOB]
    assert await affected.accounts_of_prices(["price_9"]) == await affected.accounts_of_prices([]) == []


async def test_who_was_here_in_a_time_had_a_token_then_or_was_known_before_its_end(records: Records) -> None:
    affected = AffectedRecords(records.ask, KEYRING)
    for number, (account, expires) in enumerate(((ANN, None), (BOB, NOW + 10), (OLD, None))):
        grant = Grant(f"tok_{number}", account, NOW + number, name="x", expires_ms=expires)
        await records.grants.add_grant(grant, bytes([number] * 32), pepper_id="p", alive_max=9)
    await records.grants.revoke_grant("tok_2", now_ms=NOW + 20)
    assert await affected.accounts_here(NOW - 9, NOW) == [], "before anybody was here"
    assert await affected.accounts_here(NOW, NOW + 1) == [ANN]
    assert await affected.accounts_here(NOW + 5, NOW + 6) == sorted([ANN, BOB, OLD])
    assert await affected.accounts_here(NOW + 15, NOW + 16) == sorted([ANN, OLD])
    assert await affected.accounts_here(NOW + 21, NOW + 22) == [ANN]
    assert await affected.alive(None, now_ms=NOW + 5) == ["tok_0", "tok_1"]
    assert await affected.alive([BOB, OLD], now_ms=NOW + 5) == ["tok_1"]
    assert await affected.alive([BOB], now_ms=NOW + 15) == []
    await live_as(records, BOB, "bob")
    assert BOB in await affected.accounts_here(NOW + 21, NOW + 22), "what is kept of them is theirs though they left"


class Filed(NamedTuple):
    """Two people in files, and words of one of them that nobody else has: a test that failed left its own."""

    records: PostgresRecords
    words: tuple[bytes, bytes]
    dsn: str


async def put_into_files(server: Server) -> None:
    """However long that takes: who has written much before us is waited for."""
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def hold(server: Server, word: bytes) -> set[str]:
    """Which files of the database have it; its log is not ours to reach."""
    found = (path for path in (server.data / "base").rglob("*") if path.is_file())
    return {str(path) for path in found if word in path.read_bytes()}


@pytest.fixture
async def filed(server: Server) -> AsyncIterator[Filed]:
    """Of whom the last to come lies where a plain VACUUM leaves everything as it was."""
    name = f"zebedee{secrets.token_hex(4)}"
    words = (f"laptop of {name}".encode(), f"visa {name}".encode())
    dsn = await server.schema()
    records = PostgresRecords(Address(Secret(dsn)), keyring=KEYRING, randomness=SeededRandomness())
    await records.open()
    try:
        await live_fully_as(records, BOB, "bob")
        await live_fully_as(records, ANN, name)
        await put_into_files(server)
        assert all(hold(server, word) for word in words), "or these tests could not fail"
        yield Filed(records, words, dsn)
    finally:
        await records.close()


async def test_files_of_postgresql_hold_nothing_of_who_was_erased(server: Server, filed: Filed) -> None:
    of_ann = erasure(filed.records)
    await of_ann.redact((await of_ann.events([ANN])).over)
    await of_ann.erase([ANN], now_ms=NOW)
    assert await of_ann.scrub() == Unscrubbed()
    await put_into_files(server)
    assert [hold(server, word) for word in filed.words] == [set(), set()]
    assert hold(server, b"laptop of bob")


async def test_what_an_older_transaction_still_reads_is_told_of_and_gone_when_it_is_over(
    server: Server, filed: Filed
) -> None:
    """PostgreSQL carries such rows over into the file that it makes anew."""
    of_ann = erasure(filed.records, pauses=(0.01, 0.01))
    backup = await asyncpg.connect(server.dsn())
    try:
        async with backup.transaction(isolation="repeatable_read"):
            await backup.execute("SELECT count(*) FROM pg_class")
            await of_ann.erase([ANN], now_ms=NOW)
            left = await of_ann.scrub()
            await put_into_files(server)
            assert {"token_grant", "auto_top_up"} <= set(left.held)
            assert not left.foreign
            assert all(hold(server, word) for word in filed.words)
            waits = asyncio.create_task(erasure(filed.records).scrub())
    finally:
        await backup.close()
    assert await waits == Unscrubbed(), "whoever waits a little outlasts a short one"
    await put_into_files(server)
    assert [hold(server, word) for word in filed.words] == [set(), set()]


async def test_postgresql_keeps_no_sample_of_peoples_words(filed: Filed) -> None:
    """What ANALYZE keeps lies in a catalogue that no erasing reaches."""
    whoever = await asyncpg.connect(filed.dsn)  # who has time: a statement of the records' has four seconds
    try:
        await whoever.execute("ANALYZE")
    finally:
        await whoever.close()
    seen = await filed.records.ask(
        "SELECT tablename::text, attname::text FROM pg_stats WHERE schemaname = current_schema()"
    )
    found = {(table, column) for table, column in seen}
    assert ("token_grant", "account") in found, "or this test could not fail"
    words = {("token_grant", "name"), ("token_grant", "last"), ("auto_top_up", "label"), ("outgoing", "content")}
    assert not words & found


async def test_a_table_that_others_hold_is_tended_later(filed: Filed) -> None:
    hasty = Address(Secret(filed.dsn), bounds=Bounds(statement=0.2))
    records = PostgresRecords(hasty, keyring=KEYRING, randomness=SeededRandomness())
    await records.open()
    other = await asyncpg.connect(filed.dsn)
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE token_grant IN ACCESS SHARE MODE")
            assert "token_grant" in (await erasure(records, pauses=()).scrub()).held
        assert await erasure(records).scrub() == Unscrubbed()
    finally:
        await other.close()
        await records.close()


async def test_what_takes_longer_than_a_statement_may_is_tended_all_the_same(filed: Filed) -> None:
    hasty = Address(Secret(filed.dsn), bounds=Bounds(statement=0.05))
    records = PostgresRecords(hasty, keyring=KEYRING, randomness=SeededRandomness())
    await records.open()
    try:
        with pytest.raises(RecordsUnavailable):
            await records.ask("SELECT pg_sleep(0.2)")
        assert await records.tend("SELECT pg_sleep(0.2)")
        with pytest.raises(RecordsUnavailable):
            await records.ask("SELECT pg_sleep(0.2)")
    finally:
        await records.close()
