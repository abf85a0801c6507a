"""What leaves owners, in the books of a file and of a database: folded, pruned, read, and proved by both audits."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.adapters.postgres import prune as postgres_prune
from gateway.adapters.postgres.owning import PostgresOwnersMoney
from gateway.adapters.sqlite import prune as sqlite_prune
from gateway.adapters.sqlite.owning import SqliteOwnersMoney
from gateway.core.claw_backs import Borne, Spent
from gateway.core.dues import KindSum, UnitSums
from gateway.core.ledger import Kind, Tariff
from gateway.core.payouts import Left, OwnersBooks, Payout, PayoutTerms, Shared, basis, payable, posting_found
from gateway.ports import OwnersMoney
from tests.batches import HOUR, NOON, Batches
from tests.postgres_batches import PostgresBatches
from tests.postgres_server import Server

SEARCH = Tariff("search", "anna", 2000, "p")
OWN = Tariff("own", "operator", 0, "q")
FAR = NOON + 10_000 * HOUR
PAYOUT = Payout("anna", "usd", 1, 700, "acct_1", "key", fold=1, before_ms=NOON + HOUR, created_ms=NOON)
OWNER = "owner:anna"


@pytest.fixture(params=["sqlite", "postgres"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Batches]:
    made: Batches
    if request.param == "sqlite":
        made = Batches(tmp_path / "ledger.db")
    else:
        server: Server = request.getfixturevalue("postgres")
        made = PostgresBatches(asyncio.run(server.schema()))
    made.credit("stripe:cs_1", 10_000)
    made.record(Kind.CAPTURE, 1000, SEARCH)
    made.record(Kind.CAPTURE, 50, OWN)
    made.commit(NOON)
    fold(made)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sqlite_prune, postgres_prune):
        monkeypatch.setattr(module, "BATCHES_KEPT", 1)


def fold(books: Batches) -> None:
    step = books.folding()
    while step(FAR):
        pass


def pay(books: Batches, payout: Payout = PAYOUT, *, reason: str | None = None) -> None:
    books.reverse(payout.ref, payout.micros, 0, OWNER, reason=basis(payout) if reason is None else reason)


def alone(account: str) -> list[str]:
    """Nothing was joined with it."""
    return [account]


def findings(books: Batches) -> list[str]:
    books.sign()
    return [str(one) for one in books.audit().findings]


def transfers(books: Batches) -> list[tuple[object, ...]]:
    query = "SELECT kind, payer, payee, unit, micros, cause FROM transfer WHERE kind NOT IN ('credit', 'commission')"
    return [tuple(row) for row in books.sql.execute(query + " ORDER BY fold, number")]


def money(books: Batches) -> OwnersMoney:
    return PostgresOwnersMoney(books.address) if isinstance(books, PostgresBatches) else SqliteOwnersMoney(books.path)


def write(books: Batches) -> None:
    """700 are paid, 200 of them come back, 60 are clawed back and 10 of that restored; one entry an hour."""
    pay(books)
    books.commit(NOON + HOUR)
    books.credit(f"{PAYOUT.ref}:back:0", 200, OWNER)
    books.commit(NOON + 2 * HOUR)
    books.reverse("claw_back:1:anna:0", 60, 0, OWNER)
    books.commit(NOON + 3 * HOUR)
    books.credit("claw_back:1:anna:1", 10, OWNER)
    books.commit(NOON + 4 * HOUR)


def test_what_leaves_an_owner_and_comes_back_is_double_entry_from_the_owners_account(books: Batches) -> None:
    write(books)
    fold(books)
    assert transfers(books)[2:] == [
        ("payout", OWNER, "paid_out:stripe", "usd", 700, PAYOUT.ref),
        ("returned", "paid_out:stripe", OWNER, "usd", 200, f"{PAYOUT.ref}:back:0"),
        ("claw_back", OWNER, "clawed_back", "usd", 60, "claw_back:1:anna:0"),
        ("restored", "clawed_back", OWNER, "usd", 10, "claw_back:1:anna:1"),
    ]
    assert findings(books) == []
    report = books.audit()
    assert report.left_owners == {"usd": 550}
    assert report.totals["usd"].debt == 0
    assert report.totals["usd"].credited == 10_000
    for first in range(2, 7):
        assert books.audit(batch=first).findings == ()


def test_a_payout_that_was_found_at_the_provider_may_be_more_than_the_books_know_of(books: Batches) -> None:
    found = replace(PAYOUT, micros=900)
    pay(books, found, reason=posting_found(found, "tr_1Found").reason)
    books.reverse("payout:anna:usd:2", 30, 0, "held:anna:due", reason=posting_found(found, "tr_2Found").reason)
    books.commit(NOON + HOUR)
    assert findings(books) == []
    # and who is paid more on top of it is found, as is money that was held and is said to be due by hours
    pay(books, replace(PAYOUT, number=3, micros=1))
    books.reverse("payout:anna:usd:4", 7, 0, "held:anna:due", reason="freed before 2026-01-01T00:00Z")
    books.commit(NOON + 2 * HOUR)
    told = " ".join(findings(books))
    assert "makes 901 that have left the owner, and 800 were shared" in told
    assert "is of money that was held, and 7 more than that has left" in told


def test_pruned_books_prove_what_left_owners_all_the_same(books: Batches) -> None:
    write(books)
    books.record(Kind.CAPTURE, 1, OWN)
    books.commit(NOON + 5 * HOUR)
    fold(books)
    books.sign()
    step = books.pruning()
    while step(FAR):
        pass
    assert books.prunable(FAR).batches == 0
    [(left,)] = books.sql.execute("SELECT count(*) FROM batch")
    assert left < 6
    assert findings(books) == []
    assert books.audit().left_owners == {"usd": 550}
    books.sql.execute("UPDATE transfer SET micros = 701 WHERE kind = 'payout'")
    assert any("hash" in one for one in findings(books))


def test_the_books_say_what_was_shared_and_what_left(books: Batches) -> None:
    write(books)
    expected = OwnersBooks(
        1,
        [Shared("anna", "usd", NOON, 800), Shared("operator", "usd", NOON, 50)],
        [
            Left("anna", "usd", PAYOUT.ref, 700, NOON + HOUR, "refund"),
            Left("anna", "usd", f"{PAYOUT.ref}:back:0", -200, NOON + 2 * HOUR, "payment"),
            Left("anna", "usd", "claw_back:1:anna:0", 60, NOON + 3 * HOUR, "refund"),
            Left("anna", "usd", "claw_back:1:anna:1", -10, NOON + 4 * HOUR, "payment"),
        ],
    )
    found = asyncio.run(money(books).owners_books())
    assert (found.fold, list(found.shared), list(found.left)) == (1, list(expected.shared), list(expected.left))
    stands = payable(("anna", "usd"), found.shared[:1], found.left, PayoutTerms(), found.fold, now_ms=FAR)
    assert (stands.due, stands.paid_out, stands.clawed_back) == (250, 500, 50)
    with books.source() as source:
        assert list(source.sums()) == [UnitSums("usd", 10_000, 0, 0, 8950, 500, 50)]
        assert list(source.kinds()) == [KindSum("usd", "credit", "payment", 1, 10_000)], "owners are no callers"


def test_a_debtor_is_told_with_what_it_spent_and_who_bears_it(books: Batches) -> None:
    assert asyncio.run(money(books).debtors(alone)) == []
    books.reverse("stripe:re_1", 10_000, 8950)
    books.reverse("claw_back:1:anna:0", 60, 0, OWNER)
    books.commit(NOON + HOUR)
    with books.source() as source:
        kinds = {(one.side, one.kind): (one.count, one.micros) for one in source.kinds()}
        paid, back = (("credit", "payment"), (1, 10_000)), (("reversal", "refund"), (1, 10_000))
        assert kinds == dict((paid, back, (("debt", ""), (1, 1050))))
    [debtor] = asyncio.run(money(books).debtors(alone))
    assert (debtor.row, debtor.unit, debtor.debt) == (1, "usd", 1050)
    assert sorted(debtor.spent, key=lambda one: one.owner) == [
        Spent(NOON, "anna", 2000, 1000),
        Spent(NOON, "operator", 0, 50),
    ]
    assert list(debtor.borne) == [Borne("anna", 60, 1)]
    books.credit("stripe:cs_2", 2000)
    books.commit(NOON + 2 * HOUR)
    [debtor] = asyncio.run(money(books).debtors(alone))
    assert (debtor.debt, list(debtor.spent), list(debtor.borne)) == (0, [], [Borne("anna", 60, 1)])


def test_a_joined_wallet_bears_first_where_the_money_was_that_came_back(books: Batches) -> None:
    """Ann's wallet became Bob's; what she had paid is disputed afterwards, and taken from what he has."""
    books.credit("stripe:cs_2", 5000, "bob")
    books.record(Kind.CAPTURE, 800, Tariff("find", "bert", 0, "p"), "bob")
    books.commit(NOON + HOUR)
    fold(books)
    books.reverse("stripe:pi_1:1", 10_000, 4200, "bob", reason="dispute of cs_1")
    books.commit(NOON + 2 * HOUR)
    [debtor] = asyncio.run(money(books).debtors(lambda account: ["bob", "ann"]))
    assert (debtor.row, debtor.debt) == (1, 5800)
    assert sorted(one.owner for one in debtor.spent) == ["anna", "operator"]
    assert list(debtor.spent_besides) == [Spent(NOON + HOUR, "bert", 0, 800)]
    [alone_] = asyncio.run(money(books).debtors(alone))
    assert (alone_.row, [one.owner for one in alone_.spent]) == (2, ["bert"])
    books.credit("stripe:pi_1:2", 10_000, "bob", kind="restored", reason="dispute of cs_1")
    books.reverse("stripe:pi_2:1", 9000, 4000, "bob", reason="refund of cs_2")
    books.commit(NOON + 3 * HOUR)
    [debtor] = asyncio.run(money(books).debtors(lambda account: ["bob", "ann"]))
    assert [one.owner for one in debtor.spent] == ["bert"], "what came back was given back again"


def test_what_a_host_still_holds_of_a_debtors_money_is_no_debt_yet(postgres: Server) -> None:
    books = PostgresBatches(asyncio.run(postgres.schema()))
    books.credit("stripe:cs_1", 10_000)
    books.record(Kind.CAPTURE, 1000, SEARCH)
    books.commit(NOON)
    fold(books)
    books.reverse("stripe:re_1", 10_000, 8500)
    books.commit(NOON + HOUR)
    for leased in (500, 0):  # and what it has just given back, which settles the debt with the next entry
        books.sql.execute(f"UPDATE account SET leased = {leased} WHERE id = 1")
        assert [one.debt for one in asyncio.run(money(books).debtors(alone))] == [1000]
    books.reverse("claw_back:1:anna:0", 60, 0, OWNER)
    books.commit(NOON + 2 * HOUR)
    books.sql.execute("UPDATE account SET leased = 500, debt = 300 WHERE id = 1")
    assert [one.debt for one in asyncio.run(money(books).debtors(alone))] == [0]
    books.close()


def test_all_that_was_due_may_be_paid_and_a_micro_more_is_found(books: Batches) -> None:
    pay(books, replace(PAYOUT, micros=800))
    books.commit(NOON + HOUR)
    assert findings(books) == []
    pay(books, replace(PAYOUT, micros=1, number=2))
    books.commit(NOON + HOUR)
    [found] = findings(books)
    assert "reversal payout:anna:usd:2: micros makes 801 that have left the owner, and 800 were shared" in found


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"before_ms": NOON}, "0 were shared"),
        ({"fold": 0}, "0 were shared"),
    ],
)
def test_what_was_not_payable_by_its_own_reason_is_found(books: Batches, change: dict[str, int], what: str) -> None:
    pay(books, replace(PAYOUT, **change))  # type: ignore[arg-type]
    books.commit(NOON + HOUR)
    [found] = findings(books)
    assert what in found


def test_a_payout_that_does_not_say_by_what_it_was_due_is_found(books: Batches) -> None:
    pay(books, reason="because")
    books.commit(NOON + HOUR)
    [found] = findings(books)
    assert "does not say by what it was due" in found


def test_what_came_back_may_be_paid_again_and_what_was_clawed_back_may_not(books: Batches) -> None:
    pay(books, replace(PAYOUT, micros=800))
    books.commit(NOON + HOUR)
    books.credit(f"{PAYOUT.ref}:back:0", 800, OWNER)
    books.commit(NOON + 2 * HOUR)
    pay(books, replace(PAYOUT, micros=800, number=2))
    books.commit(NOON + 3 * HOUR)
    assert findings(books) == []
    books.reverse("claw_back:1:anna:0", 300, 0, OWNER)
    books.commit(NOON + 4 * HOUR)
    assert findings(books) == []  # less than nothing is due now: that is carried over
    books.credit(f"{replace(PAYOUT, number=2).ref}:back:0", 800, OWNER)
    books.commit(NOON + 5 * HOUR)
    pay(books, replace(PAYOUT, micros=501, number=3))
    books.commit(NOON + 6 * HOUR)
    [found] = findings(books)
    assert "801 that have left" in found


def test_an_owner_who_was_paid_into_is_found(books: Batches) -> None:
    books.credit("manual:1", 5, OWNER)
    books.commit(NOON + HOUR)
    [found] = findings(books)
    assert "paid into" in found


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE transfer SET payee = 'clawed_back' WHERE kind = 'payout'",
        "UPDATE transfer SET kind = 'claw_back' WHERE kind = 'payout'",
        "UPDATE transfer SET payer = 'owner:bert' WHERE kind = 'payout'",
        "DELETE FROM transfer WHERE kind = 'payout'",
        "UPDATE account SET debt = 699 WHERE holder = 'owner:anna'",
        "UPDATE reversal SET micros = 699 WHERE ref = 'payout:anna:usd:1'",
    ],
)
def test_a_payout_that_was_changed_afterwards_is_found(books: Batches, change: str) -> None:
    pay(books)
    books.commit(NOON + HOUR)
    fold(books)
    assert findings(books) == []
    books.sql.execute(change)
    assert findings(books)


def test_what_was_held_is_due_from_when_it_is_free_and_no_more_of_it_leaves(books: Batches) -> None:
    due, hour = "held:anna:due", NOON + HOUR
    books.credit("proceeds:txn_0", 900, "held:anna")
    books.credit("proceeds:txn_1:due", 500, due)
    books.reverse("payout:anna:usd:1", 300, 300, due)
    books.credit("payout:anna:usd:1:back:0", 100, due)
    books.commit(hour)
    fold(books)
    assert findings(books) == []
    found = asyncio.run(money(books).owners_books())
    assert [one for one in found.shared if one.source == "proceeds"] == [Shared("anna", "usd", hour, 500, "proceeds")]
    assert [(one.ref, one.micros, one.source) for one in found.left] == [
        ("payout:anna:usd:1", 300, "proceeds"),
        ("payout:anna:usd:1:back:0", -100, "proceeds"),
    ]
    with books.source() as source:
        [sums], left = list(source.sums()), (source.left(besides="eur"), source.left(besides="usd"))
    assert (sums.held, sums.released, sums.callers) == (1200, 200, 8950)
    assert left == ({"usd": 8950}, {}), "owners are no callers"
    books.reverse("payout:anna:usd:2", 301, 300, due)
    books.commit(hour + HOUR)
    assert any("of money that was held, and 1 more" in one for one in findings(books))
