"""What the port promises of OAuth clients, consents and tickets, held against both databases."""

import asyncio
from dataclasses import replace

import pytest

from gateway.core.grants import Grant, Terms, grant_id
from gateway.core.oauth import Access, Client, Consent, Ticket
from gateway.core.refusals import RecordsUnavailable
from tests.stored import Records

NOW = 1_800_000_000_000
CLIENT = Client("client_1", "Agent", ("https://a.example/cb", "cursor://cb"), "client_secret_basic")
FIRST = b"first".ljust(32, b"-")
GRANT = Grant(grant_id(FIRST), "acct_1", NOW, name="Agent", terms=Terms(audience="https://gw.example/mcp"))
CONSENT = Consent(GRANT.id, "acct_1", "client_1", "https://gw.example/mcp", ("tools", "other"), NOW)
CODE = Ticket(b"c" * 32, "code", GRANT.id, NOW + 60, "https://a.example/cb", "x" * 43)


async def test_the_oldest_that_nobody_allowed_makes_room_and_others_stay(records: Records) -> None:
    book, clients = records.oauth, [replace(CLIENT, id=f"client_{number}") for number in range(1, 7)]
    for number, client in enumerate(clients[:3]):
        assert await book.add_client(client, now_ms=NOW + number, count_max=3)
    await book.add_consent(CONSENT)  # to the first
    assert await book.add_client(clients[3], now_ms=NOW + 3, count_max=3)
    there = [await book.find_client(client.id) is not None for client in clients]
    assert there == [True, False, True, True, False, False]
    await book.add_consent(replace(CONSENT, grant="tok_3", client="client_3"))
    await book.add_consent(replace(CONSENT, grant="tok_4", client="client_4"))
    assert not await book.add_client(clients[4], now_ms=NOW + 4, count_max=3), "each has somebody's leave"
    assert await book.find_client("client_5") is None
    for number in range(20):
        assert await book.add_client(replace(CLIENT, id=f"flood_{number}"), now_ms=NOW + 5, count_max=4)
    assert await book.find_client("flood_19") is not None
    assert [await book.find_client(f"flood_{number}") for number in range(19)] == [None] * 19


async def test_many_may_register_at_once_where_there_is_no_room(records: Records) -> None:
    book = records.oauth
    for number in range(8):
        assert await book.add_client(replace(CLIENT, id=f"old_{number}"), now_ms=NOW, count_max=8)
    new = [replace(CLIENT, id=f"new_{number}") for number in range(4)]
    assert all(await asyncio.gather(*(book.add_client(one, now_ms=NOW + 1, count_max=8) for one in new)))
    assert all([await book.find_client(one.id) for one in new])


async def test_a_key_is_in_use_while_a_client_with_a_secret_of_it_is_allowed_something(records: Records) -> None:
    book = records.oauth
    assert await records.grants.add_grant(GRANT, FIRST, pepper_id="0000", alive_max=9)
    for name, auth, key in (("client_1", "client_secret_post", "1a2b"), ("client_2", "none", None)):
        client = Client(name, "Agent", CLIENT.redirect_uris, auth, key)  # type: ignore[arg-type]
        assert await book.add_client(client, now_ms=NOW, count_max=9)
        assert await book.find_client(name) == client
    assert (await records.key_roll.use("sealing_key")).clients == {}, "nobody has allowed it anything"
    await book.add_consent(CONSENT)
    assert (await records.key_roll.use("sealing_key")).clients == {"1a2b": 1}
    assert (await records.key_roll.use("pepper")).clients == {}
    await records.grants.revoke_grant(GRANT.id, now_ms=NOW)
    assert (await records.key_roll.use("sealing_key")).clients == {}


async def test_of_an_older_client_the_key_is_noted_once(records: Records) -> None:
    book = records.oauth
    assert await records.grants.add_grant(GRANT, FIRST, pepper_id="0000", alive_max=9)
    assert await book.add_client(CLIENT, now_ms=NOW, count_max=9)
    await book.add_consent(CONSENT)
    assert (await records.key_roll.use("sealing_key")).clients == {None: 1}
    await book.note_key(CLIENT.id, "1a2b")
    await book.note_key(CLIENT.id, "3c4d")
    assert (await records.key_roll.use("sealing_key")).clients == {"1a2b": 1}


async def test_those_that_nobody_allowed_are_forgotten(records: Records) -> None:
    book, other = records.oauth, replace(CLIENT, id="client_2")
    assert await book.add_client(CLIENT, now_ms=NOW, count_max=2)
    assert await book.add_client(other, now_ms=NOW, count_max=2)
    assert await book.find_client("client_1") == CLIENT
    await book.add_consent(CONSENT)
    await book.drop_clients(before_ms=NOW)
    assert await book.find_client("client_2") == other
    await book.drop_clients(before_ms=NOW + 1)
    assert await book.find_client("client_2") is None
    assert await book.find_client("client_1") == CLIENT


def bought(number: int, *, at: int = NOW) -> tuple[Access, Ticket]:
    """What a ticket buys: an access token for a moment, and the next ticket."""
    access = Access(bytes([number]) * 32, "0000", at + 100)
    return access, Ticket(bytes([100 + number]) * 32, "refresh", GRANT.id, at + 1000)


async def test_a_ticket_is_used_by_one_of_many_at_once(records: Records) -> None:
    book = records.oauth
    assert await records.grants.add_grant(GRANT, FIRST, pepper_id="0000", alive_max=9)
    await book.add_ticket(CODE)
    assert await book.find_ticket(CODE.digest) == CODE
    found = await asyncio.gather(*(book.use_ticket(CODE.digest, *bought(n), now_ms=NOW + 5) for n in range(5)))
    assert sorted(found) == [False] * 4 + [True]
    assert await book.find_ticket(CODE.digest) == replace(CODE, used_ms=NOW + 5)
    given = [await book.find_ticket(bought(n)[1].digest) for n in range(5)]
    assert [one is not None for one in given] == found, "what the others were to buy is nowhere"
    assert [await records.find(bought(n)[0].digest) for n in range(5) if not found[n]] == [None] * 4
    assert not await book.use_ticket(b"?" * 32, *bought(9), now_ms=NOW)
    await book.drop_tickets(before_ms=NOW + 60)
    assert await book.find_ticket(CODE.digest) is not None
    await book.drop_tickets(before_ms=NOW + 61)
    assert await book.find_ticket(CODE.digest) is None


async def test_what_nobody_came_for_is_found_until_it_is_revoked(records: Records) -> None:
    book = records.oauth
    assert await records.grants.add_grant(GRANT, FIRST, pepper_id="0000", alive_max=9)
    await book.add_consent(CONSENT)
    assert await book.find_consent(GRANT.id) == CONSENT
    assert await book.has_consent("acct_1", "client_1")
    assert not await book.has_consent("acct_2", "client_1")
    assert not await book.has_consent("acct_1", "client_2")
    await book.add_ticket(CODE)
    assert await book.abandoned(now_ms=NOW + 60, count=9) == []
    assert await book.abandoned(now_ms=NOW + 61, count=9) == [CONSENT]
    await records.grants.revoke_grant(GRANT.id, now_ms=NOW)
    assert await book.abandoned(now_ms=NOW + 61, count=9) == []
    assert not await book.has_consent("acct_1", "client_1"), "it was taken back"


async def test_an_access_token_is_another_secret_of_its_grant_and_older_ones_go(records: Records) -> None:
    book = records.oauth
    assert await records.grants.add_grant(GRANT, FIRST, pepper_id="0000", alive_max=9)
    await book.add_ticket(CODE)
    before = CODE
    for number, at in ((1, NOW), (2, NOW + 50), (3, NOW + 102)):
        access, after = bought(number, at=at)
        assert await book.use_ticket(before.digest, access, after, now_ms=at)
        assert await book.find_ticket(after.digest) == after
        before = after
    row = await records.find(b"\x02" * 32)
    assert row is not None
    assert (row.account, row.expires_ms, row.line) == ("acct_1", NOW + 150, (GRANT,))
    assert await records.find(b"\x01" * 32) is None
    assert await records.find(FIRST) is not None


async def test_a_ticket_buys_all_of_it_or_nothing(records: Records) -> None:
    book = records.oauth
    assert await records.grants.add_grant(GRANT, FIRST, pepper_id="0000", alive_max=9)
    await book.add_ticket(CODE)
    access, after = bought(1)
    with pytest.raises(RecordsUnavailable):
        # The last thing that is written is one that the table refuses.
        await book.use_ticket(CODE.digest, access, replace(after, kind="neither"), now_ms=NOW)  # type: ignore[arg-type]
    assert await book.find_ticket(CODE.digest) == CODE, "it was not used"
    assert (await records.find(access.digest), await book.find_ticket(after.digest)) == (None, None)
    assert await book.use_ticket(CODE.digest, access, after, now_ms=NOW)
