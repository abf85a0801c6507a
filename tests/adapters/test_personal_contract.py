"""What is kept of a person is told to them whole, and nothing of anybody else, held against both databases."""

import json
from typing import Any

import pytest

from gateway.adapters.owning import OwnerRecords
from gateway.adapters.people import TOKENS, PeopleBook
from gateway.adapters.personal import NOBODYS, PARTS, PersonalRecords
from gateway.adapters.personal import told as personal
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core import references
from gateway.core.auto_top_ups import Ceilings, SavedCard, Wish
from gateway.core.grants import Grant
from gateway.core.keyring import Keyring
from gateway.core.licences import ADDRESS_PURPOSE
from gateway.core.money import Money
from gateway.core.owning import WISH_PURPOSE, AccountWish, Member, OwnerAccount
from gateway.core.payers import MAIL_PURPOSE
from gateway.core.payments import Event
from gateway.core.plans import Subscription
from gateway.core.references import NO_TOKEN, Reference
from gateway.core.reversals import Credited, Notice
from gateway.core.secrets import Secret
from gateway.core.sign_ins import PROFILE_PURPOSE, Profile
from gateway.core.trail import Act, step_after
from gateway.ports import LicenseeRow, User
from tests.stored import KEYRING, Records

ANN, OLD, BOB = (f"acct_{digits * 16}" for digits in ("1a", "2b", "3c"))
NOW, NONCE = 1_800_000_000_000, bytes(12)
FIVE = Money.parse("5.00 usd")


async def live_as(records: Records, account: str, name: str) -> None:
    """Somebody with one of nearly everything; `name` is in whatever is theirs."""
    mail, people = f"{name}@example.org", PeopleBook(records.ask)
    profile = Profile("subject", mail, f"{name} Doe", f"seller-{name}").text()
    sealed = KEYRING.seal(PROFILE_PURPOSE, profile.encode(), nonce=NONCE, about=f"usr_{name}")
    await people.add_user(User(f"usr_{name}", account, *sealed), now_ms=NOW)
    await people.add_login(name.encode(), f"usr_{name}", provider="amazon", pepper_id="p", now_ms=NOW)
    assert await people.claim_wallet(account, f"usr_{name}", now_ms=NOW) == f"usr_{name}"
    given = KEYRING.seal(TOKENS, f"secret-{name}".encode(), nonce=NONCE, about=f"usr_{name} amazon")
    await people.keep_tokens(f"usr_{name}", "amazon", *given, None)
    await people.set_state(f"usr_{name}", "amazon", "connected", now_ms=NOW)
    await people.add_stay(f"ses_{name}", f"usr_{name}", provider="amazon", now_ms=NOW, expires_ms=NOW + 1)
    address = KEYRING.seal(MAIL_PURPOSE, f"link-{mail}".encode(), nonce=NONCE)
    await records.payers.keep_payer(name.encode(), account=account, pepper_id="p", now_ms=NOW, sealed=address)
    key, bound = KEYRING.seal(ADDRESS_PURPOSE, f"licence-{mail}".encode(), nonce=NONCE)
    await records.licensees.keep_licensee(LicenseeRow(f"cus_l{name}", account, name.encode(), "p", key, bound, 1))
    grant = Grant(f"tok_{name}", account, NOW, name=f"laptop of {name}")
    await records.grants.add_grant(grant, name.encode().ljust(32), pepper_id="p", alive_max=9)
    card = SavedCard(f"cus_{name}", f"pm_{name}", f"visa {name}")
    most = Ceilings(Money.parse("50.00 usd"), Money.parse("99.00 usd"))
    await records.ways_to_pay.keep_card(account, card, Wish(FIVE, FIVE), most, at_ms=NOW, now_ms=NOW)
    plan = Subscription(f"sub_{name}", account, "price_1", f"cus_{name}", "active", NOW, False, 5, f"evt_s{name}")
    await records.subscriptions.keep_subscription(plan)
    await records.subscriptions.keep_unpaid(f"in_{name}", f"sub_{name}", None)
    await records.keep_credited(Credited(f"pi_{name}", f"cs_{name}", account, FIVE, FIVE))
    await records.keep_notice(Notice(f"evt_n{name}", f"pi_{name}", "refund", f"re_{name}", FIVE, True, 5, False))
    await records.outbox.put("card.expiring", account, {"card": f"visa {name}"}, cause=name, now_ms=NOW)
    await records.freezes.add_freeze(account, frozen=True, reason=f"about {name}", now_ms=NOW)
    act = Act("operator:mallory", "operator", "account.freeze", account, "command", f"about {name}")
    step = step_after(await records.trail.last_step(), act, at_ms=NOW, keys=KEYRING)
    assert await records.trail.add_step(step, action=act.action, object=act.object)


async def told_of(records: Records, *accounts: str) -> dict[str, list[dict[str, Any]]]:
    return await PersonalRecords(records.ask, KEYRING).of(accounts)


async def test_all_that_is_a_persons_is_told_and_opened(records: Records) -> None:
    await live_as(records, ANN, "ann")
    told = await told_of(records, ANN)
    assert told["people"][0]["profile"] == {"email": "ann@example.org", "name": "ann Doe", "seller": "seller-ann"}
    assert [row["address"] for row in told["payers"]] == ["link-ann@example.org"]
    assert [row["address"] for row in told["licensees"]] == ["licence-ann@example.org"]
    assert [row["name"] for row in told["tokens"]] == ["laptop of ann"]
    assert {"card": "visa ann"} in [row["content"] for row in told["told"]]
    assert told["auto_top_up"][0]["label"] == "visa ann"
    assert told["auto_top_up"][0]["wanted"] is True
    assert [row["reason"] for row in told["freezes"]] == ["about ann"]
    filled = {name for name, rows in told.items() if rows}
    assert filled >= {"sign_ins", "sessions", "tokens_of_providers", "connections", "subscriptions", "unpaid_invoices"}
    assert filled >= {"payments", "refunds_and_disputes", "secrets_of_tokens", "trail"}
    written = json.dumps(told)
    assert "secret-ann" not in written, "a provider's token is told of, not told"
    assert "mallory" not in written, "who did it is another person"


async def test_nothing_of_anybody_else_is_told(records: Records) -> None:
    await live_as(records, ANN, "ann")
    await live_as(records, BOB, "bob")
    for name in ("ann", "bob"):
        await records.claim(Event(f"evt_{name}", "charge.succeeded", False, 5, {"customer": f"cus_{name}"}), now_ms=NOW)
    written = json.dumps(await told_of(records, ANN))
    assert "ann" in written
    assert "bob" not in written
    assert BOB not in written


async def test_several_accounts_are_one_persons(records: Records) -> None:
    assert await records.aliases.add_alias(OLD, ANN, why="asked", now_ms=NOW)
    await live_as(records, ANN, "ann")
    await live_as(records, OLD, "anna")
    told = await told_of(records, ANN, OLD)
    assert [row["id"] for row in told["people"]] == ["usr_ann", "usr_anna"]
    assert [(row["account"], row["target"]) for row in told["aliases"]] == [(OLD, ANN)]


@pytest.mark.parametrize("page", [1, 500])
async def test_events_lead_from_one_to_the_next(records: Records, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "_PAGE", page)
    sealed = references.seal(KEYRING, Reference(ANN, NO_TOKEN, "p123", 9), nonce=NONCE)
    others = references.seal(KEYRING, Reference(BOB, NO_TOKEN, "p123", 9), nonce=NONCE)
    contents: list[dict[str, Any]] = [
        {"id": "ch_1", "invoice": "in_1", "billing_details": {"name": "Ann Doe"}},
        {"id": "in_1", "customer": "cus_1", "lines": [{"price": "price_1"}]},
        {"id": "cs_1", "customer": "cus_1", "client_reference_id": sealed, "email": "ann@example.org"},
        {"id": "cs_2", "client_reference_id": others, "email": "ann@example.org", "lines": [{"price": "price_1"}]},
        {"id": "cs_3", "client_reference_id": "x" * 120},
    ]
    for number, content in enumerate(contents):
        await records.claim(Event(f"evt_{number}", "some", False, 5, content), now_ms=NOW)
    events = (await told_of(records, ANN))["events"]
    assert [event["id"] for event in events] == ["evt_0", "evt_1", "evt_2"], "an address or a price leads nowhere"
    assert events[0]["object"] == contents[0]


async def test_what_nobody_can_open_any_more_is_nothing(records: Records) -> None:
    await live_as(records, ANN, "ann")
    await records.claim(Event("evt_1", "some", False, 5, {"customer": "cus_ann"}), now_ms=NOW)
    told = await PersonalRecords(records.ask, Keyring([Secret("n" * 40)])).of([ANN])
    assert (told["people"][0]["profile"], told["payers"][0]["address"], told["events"]) == (None, None, [])


async def test_every_table_of_the_records_is_told_of_or_nobodys(records: Records) -> None:
    query = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if isinstance(records, SqliteRecords)
        else "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()"
        " AND table_type = 'BASE TABLE'"
    )
    tables = {name for (name,) in await records.ask(query)}
    known = {part.table for part in PARTS.values()} | NOBODYS.keys()
    assert tables - known == set()
    assert known - tables <= {"sealing_key", "shared_key", "migration", "migration_records"}, "which only one kind has"


async def test_whoever_acts_for_an_owner_is_told_of_that_and_of_the_account(records: Records) -> None:
    await live_as(records, ANN, "ann")
    await live_as(records, BOB, "bob")
    book = OwnerRecords(records.ask)
    for name, owner in (("ann", "anna"), ("bob", "bert")):
        await book.add_invite(name.encode(), owner, until_ms=NOW + 1)
        assert await book.use_invite([name.encode()], f"usr_{name}", now_ms=NOW) == owner
        await book.add_member(Member(f"usr_{name}", owner, "invited", NOW))
        wish = AccountWish("v2", "NO", owner, f"{name}@wish.example")
        sealed = KEYRING.seal(WISH_PURPOSE, wish.text().encode(), nonce=NONCE, about=owner)
        await book.begin_account(OwnerAccount(owner, False, "v2", f"key-{name}", 1, NOW, NOW, NOW, sealed=sealed))
    told = await told_of(records, ANN)
    assert [one["owner"] for one in told["owner_of"]] == ["anna"]
    assert [one["owner"] for one in told["invitations_of_owners"]] == ["anna"]
    [account] = told["accounts_of_owners"]
    assert (account["owner"], account["live"], account["status"]) == ("anna", False, "pending")
    assert account["wish"] == {"api": "v2", "country": "NO", "name": "anna", "email": "ann@wish.example"}
