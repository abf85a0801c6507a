"""Any history, folded in any pieces and cut off between any two steps, is double entry that adds up to the batches."""

import asyncio
import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.sqlite.bookkeeping import EVERYTHING_MS
from gateway.core import folding as fold
from gateway.core.dues import by_rate
from gateway.core.ledger import Kind, Tariff
from gateway.flows.add_up import takings
from tests.batches import HOUR, NOON, Batches
from tests.postgres_batches import PostgresBatches
from tests.postgres_server import Server

TORTURE = 40 if os.environ.get("GATEWAY_TORTURE") == "1" else 1
TARIFFS = [Tariff("search", "anna", 1500, "p"), Tariff("export", "anna", 1500, "q"), Tariff("free", "operator", 0, "r"),
           Tariff("rare", "anna", 333, "s")]  # fmt: skip
HOLDERS = [("ann", "usd"), ("bob", "usd"), ("ann", "jpy"), ("carl", "usd"), ("dora", "usd")]


class History:
    """Writes what steps say, by the rules of the ledger, and remembers what must come out."""

    def __init__(self, batches: Batches, name: str = "") -> None:
        self.batches = batches
        self.name = name
        self.now = NOON
        self._open: dict[int, tuple[int, int, int]] = {}  # by request: who, tariff, what is left of it
        self.taken: list[int] = []
        self.credited: Counter[int] = Counter()
        self.spent: Counter[int] = Counter()
        self.sold: Counter[tuple[str, str, int]] = Counter()
        for who in range(len(HOLDERS)):
            self.pay(who, 10_000, f"first_{who}")
        self.commit(0, 0, 0)

    def pay(self, who: int, micros: int, ref: object) -> None:
        holder, unit = HOLDERS[who]
        self.batches.credit(
            f"stripe:{self.name}{ref}_{len(self.credited)}_{sum(self.credited.values())}", micros, holder, unit
        )
        self.credited[self.batches.account(holder, unit)] += micros

    def take(self, who: int, micros: int, how: int) -> None:
        """Money goes back: as much as there is, or less (the rest is set aside for requests), the rest is owed."""
        holder, unit = HOLDERS[who]
        id = self.batches.account(holder, unit)
        micros *= 1 + 300 * (how & 1)
        left = self.batches.credited[id] - self.spent[id]
        taken = min(micros, left) // (1 + (how >> 1))
        self.batches.reverse(
            f"stripe:{self.name}re_{who}_{self.batches.draft.seq}_{len(self.taken)}", micros, taken, holder, unit
        )
        self.taken.append(micros)
        self.credited[id] -= micros

    def capture(self, who: int, micros: int, how: int) -> None:
        if not self._affordable(who, micros):
            return
        kind = Kind.GATED_CAPTURE if how & 1 else Kind.CAPTURE
        tariff = how // 2 % len(TARIFFS)
        number = self._record(kind, who, tariff, micros, None)
        self._open[number] = (who, tariff, micros)

    def correct(self, which: int, micros: int, how: int) -> None:
        if self._open:
            number = [*self._open][which % len(self._open)]
            who, tariff, left = self._open[number]
            if left:
                less = left if how & 1 else min(micros, left)
                self._record(Kind.CORRECTION, who, tariff, -less, number)
                self._open[number] = (who, tariff, left - less)

    def crash(self, who: int, micros: int, how: int) -> None:
        """A strict capture whose answer never starts, and what recovery writes of it."""
        self.commit(0, 0, 0)
        if not self._affordable(who, micros):
            return
        tariff = how % len(TARIFFS)
        number = self._record(Kind.GATED_CAPTURE, who, tariff, micros, None)
        self.batches.commit(self.now, started=self.batches.draft.first - 1)
        self._record(Kind.VOID, who, tariff, -micros, number)
        self.commit(0, 0, how)

    def _affordable(self, who: int, micros: int) -> bool:
        id = self.batches.account(*HOLDERS[who])
        return self.batches.credited[id] - self.spent[id] >= micros

    def _record(self, kind: Kind, who: int, tariff: int, micros: int, number: int | None) -> int:
        holder, unit = HOLDERS[who]
        terms = TARIFFS[tariff]
        self.spent[self.batches.account(holder, unit)] += micros
        self.sold[terms.owner, unit, terms.commission_points] += micros
        return self.batches.record(kind, micros, terms, holder, unit, number)

    def commit(self, which: int, micros: int, how: int) -> None:
        """Time passes, stands still, or jumps back a day."""
        self.now += (0, 0, HOUR // 3, HOUR, -24 * HOUR)[how % 5]
        self.batches.commit(self.now)


@contextmanager
def small_steps(records: int, accounts: int) -> Iterator[None]:
    before = fold.RECORDS_A_STEP, fold.ACCOUNTS_A_STEP
    fold.RECORDS_A_STEP, fold.ACCOUNTS_A_STEP = records, accounts
    try:
        yield
    finally:
        fold.RECORDS_A_STEP, fold.ACCOUNTS_A_STEP = before


STEP = st.one_of(
    *(
        st.tuples(st.just(verb), st.integers(0, 4), st.integers(1, 90), st.integers(0, how))
        for verb, how in (("capture", 7), ("capture", 7), ("capture", 7), ("correct", 1), ("commit", 4), ("commit", 4),
                          ("pay", 3), ("take", 3), ("crash", 4), ("fold", 3), ("cut", 0), ("everything", 3))
    )
)  # fmt: skip
LIFE = st.lists(STEP, min_size=40, max_size=40)


@settings(
    max_examples=60 * TORTURE,
    deadline=None,
    derandomize=TORTURE == 1,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(life=LIFE, records=st.integers(1, 9), accounts=st.integers(1, 3))
def test_the_fold_says_what_the_batches_say(life: list[tuple[str, int, int, int]], records: int, accounts: int) -> None:
    with tempfile.TemporaryDirectory() as folder, small_steps(records, accounts):
        batches = Batches(Path(folder, "ledger.db"))
        live(life, [History(batches)])
        batches.close()
        assert batches.audit().findings == ()


@settings(
    max_examples=20 * TORTURE,
    deadline=None,
    derandomize=TORTURE == 1,
    suppress_health_check=list(HealthCheck),
)
@given(life=LIFE, records=st.integers(1, 9), accounts=st.integers(1, 3))
def test_nor_does_it_matter_on_how_many_hosts(
    postgres: Server, life: list[tuple[str, int, int, int]], records: int, accounts: int
) -> None:
    """Two hosts sell to the same callers for the same owners; what is rounded off is rounded off once."""
    with small_steps(records, accounts):
        one = PostgresBatches(asyncio.run(postgres.schema()))
        try:
            live(life, [History(one), History(PostgresBatches(one.dsn, "two", beside=one), "two_")])
        finally:
            one.close()


def live(life: list[tuple[str, int, int, int]], histories: list[History]) -> None:
    """Whatever happens, on one host after the other; at the end everything is folded."""
    batches = histories[0].batches
    folding, other, all_hosts = batches.folding(), batches.folding(), itertools.cycle(histories)
    history = next(all_hosts)
    for verb, which, micros, how in life:
        if verb == "fold":
            for _ in range(how + 1):
                (other if how == 2 else folding)(history.now)
        elif verb == "everything":
            for _ in range(how + 1):
                folding(EVERYTHING_MS)
        elif verb == "cut":
            folding = batches.folding()
        else:
            getattr(history, verb)(which, micros, how)
            history = next(all_hosts) if verb == "commit" else history
    for each in histories:
        each.batches.sign()
    assert batches.audit().findings == ()
    dues_are_of_all_that_was_sold(histories)
    for each in histories:
        each.commit(0, 0, 0)
    folding = batches.folding()
    while folding(EVERYTHING_MS):
        pass
    compare(histories)
    dues_are_in_the_transfers(histories[0].batches)
    for each in histories:
        each.batches.sign()
    report = batches.audit()
    assert report.findings == ()
    assert report.folded == report.batches


def dues_are_of_all_that_was_sold(histories: list[History]) -> None:
    """Whatever part of it is folded by then; what is drafted yet is nobody's."""
    for each in histories:
        each.batches.commit(each.now)
    sold = Counter[tuple[str, str, int]]()
    for history in histories:
        sold.update(history.sold)
    with histories[0].batches.source() as source:
        found = {(due.owner, due.unit, due.commission_points): due for due in by_rate(takings(source))}
    for key, micros in sold.items():
        due = found.pop(key, None)
        assert (due.sold, due.commission) == (micros, micros * key[2] // 10_000) if due is not None else not micros
        assert due is None or due.share + due.commission == due.sold
    assert not found


def dues_are_in_the_transfers(batches: Batches) -> None:
    """Once all is folded, what is due is what owners and platform have got."""
    got: Counter[tuple[str, str, str]] = Counter()
    for kind, payer, _, unit, micros, cause in batches.sql.execute(
        "SELECT kind, payer, payee, unit, micros, cause FROM transfer WHERE kind IN ('share', 'commission')"
    ):
        got[kind, cause, unit] += micros if payer.startswith("account:") else -micros
    with batches.source() as source:
        for due in by_rate(takings(source)):
            cause = f"{due.owner} {due.commission_points}"
            assert (due.share, due.commission) == (got["share", cause, due.unit], got["commission", cause, due.unit])
            assert due.open == 0


def compare(histories: list[History]) -> None:
    """Every sum of the transfers is one that the histories know; together they are nothing."""
    batches = histories[0].batches
    credited, spent, all_sold = Counter[int](), Counter[int](), Counter[tuple[str, str, int]]()
    for history in histories:
        for total, more in ((credited, history.credited), (spent, history.spent), (all_sold, history.sold)):
            for key, micros in more.items():
                total[key] += micros  # type: ignore[index]
    balances: Counter[tuple[str, str]] = Counter()
    commissions: Counter[tuple[str, str]] = Counter()
    for kind, payer, payee, unit, micros, cause in batches.sql.execute(
        "SELECT kind, payer, payee, unit, micros, cause FROM transfer"
    ):
        assert micros > 0
        balances[payer, unit] -= micros
        balances[payee, unit] += micros
        if kind == "commission":
            commissions[cause, unit] += micros if payee == "platform" else -micros
    for unit in ("usd", "jpy"):
        assert sum(micros for (_, of), micros in balances.items() if of == unit) == 0
    for holder, unit in HOLDERS:
        id = batches.account(holder, unit)
        debt = -balances[f"debt:{id}", unit]
        assert balances[f"account:{id}", unit] + balances[f"debt:{id}", unit] == (credited[id] - spent[id])
        assert (debt, balances[f"account:{id}", unit]) == batches.sql.execute(
            "SELECT debt, credited - spent FROM account WHERE id = ?", (id,)
        ).fetchone()
    for (owner, unit, points), sold in all_sold.items():
        assert commissions[f"{owner} {points}", unit] == sold * points // 10_000
    for owner in ("anna", "operator"):
        for unit in ("usd", "jpy"):
            share = sum(
                sold - sold * points // 10_000
                for (of, in_, points), sold in all_sold.items()
                if (of, in_) == (owner, unit)
            )
            assert balances[f"owner:{owner}", unit] == share
    (used,) = batches.sql.execute("SELECT coalesce(sum(micros), 0) FROM usage_hour").fetchone()
    assert used == sum(spent.values())
