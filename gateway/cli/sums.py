"""`gateway books`: where all the money is, in one line that must be even, and if asked, what Stripe has of it.

    paid in - refunded + otherwise = callers' balances + due to owners + paid out + clawed back + held + the platform's
    at Stripe: paid in - refunded - paid out - released = what moved there, before Stripe's fees

Held is what is with us for sellers, due to them by now or not yet; released is what the payouts have paid of it.

It reads one snapshot of the books, also of hours that are not folded yet, and writes nothing.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from gateway.adapters.system import SystemClock
from gateway.app.stores import statement_books
from gateway.app.ways_to_pay import provider
from gateway.cli.configuration import read
from gateway.cli.payments import fail, run
from gateway.cli.progress import Progress
from gateway.core.dues import UnitSums, by_rate, by_unit
from gateway.core.money import Money, is_named
from gateway.flows.add_up import takings
from gateway.ports import BalanceLine, BooksRefused, BooksSlow
from gateway.settings import Settings

_SECONDS_MAX = 3600.0
_PLATFORM = "operator"
_TO_BANK = ("payout", "payout_cancel", "payout_failure", "topup", "topup_reversal")
"""What moves between Stripe and the platform's own bank."""
_FEES = ("stripe_fee", "stripe_fx_fee", "tax_fee", "network_cost")
"""What Stripe takes by itself, as of connected accounts, where the amount is the fee:
https://docs.stripe.com/reports/balance-transaction-types"""


@dataclass(frozen=True, slots=True)
class Sums:
    """A unit's books in micros. `platform` are commissions, fees, and what the platform's own routes took."""

    entries: UnitSums
    shares: int
    platform: int

    @property
    def due(self) -> int:
        return self.shares - self.entries.paid_out - self.entries.clawed_back

    @property
    def difference(self) -> int:
        one = self.entries
        came = one.paid_in - one.refunded + one.otherwise
        return came - (one.callers + self.due + one.paid_out + one.clawed_back + one.held + self.platform)


@dataclass(frozen=True, slots=True)
class AtStripe:
    """What moved there in a unit, in micros; `kept` are Stripe's fees, by what they are of."""

    moved: int = 0
    kept: Mapping[str, int] = field(default_factory=dict)
    to_bank: int = 0

    @property
    def fees(self) -> int:
        return sum(self.kept.values())

    def with_line(self, line: BalanceLine) -> "AtStripe":
        """And one more. What is kept of a dispute that was won comes back, as less of the same."""
        amount, fee = line.amount.micros, line.fee.micros
        if line.type in _FEES:
            amount, fee = 0, fee - amount
        of = "dispute" if line.category == "dispute_reversal" else line.category
        kept = {**self.kept, of: self.kept.get(of, 0) + fee} if fee else self.kept
        if line.type in _TO_BANK:
            return AtStripe(self.moved, kept, self.to_bank - amount)
        return AtStripe(self.moved + amount, kept, self.to_bank)


def show_books(config: Path, *, with_stripe: bool, as_json: bool) -> None:
    """`gateway books`: exit code 1 if something does not add up."""
    settings = read(config, make_secrets=False)
    found = _sums(settings)
    there = run(_at_stripe(settings)) if with_stripe else {}
    told = [_told(one, there.get(one.entries.unit, AtStripe()) if with_stripe else None) for one in found]
    if as_json:
        click.echo(json.dumps(told))
    for one in () if as_json else told:
        click.echo("\n".join(_said(one)))
    if not told and not as_json:
        click.echo("the books are empty")
    even = all(one.difference == 0 for one in found)
    sys.exit(0 if even and not any(one.get("stripe", {}).get("uneven") for one in told) else 1)


def _sums(settings: Settings) -> list[Sums]:
    try:
        with statement_books(settings).open(seconds=_SECONDS_MAX) as source:
            dues = by_unit(by_rate(takings(source, Progress("read {} of {} batches"))))
            return [
                Sums(
                    one,
                    sum(due.share for due in dues if due.unit == one.unit and due.owner != _PLATFORM),
                    sum(
                        due.commission + (due.share if due.owner == _PLATFORM else 0)
                        for due in dues
                        if due.unit == one.unit
                    )
                    + one.charged,
                )
                for one in source.sums()
            ]
    except BooksSlow:
        fail(f"the books could not be read within {_SECONDS_MAX:,.0f} seconds")
    except BooksRefused as refused:
        fail(str(refused))


async def _at_stripe(settings: Settings) -> dict[str, AtStripe]:
    """Everything that ever moved there."""
    payments = provider(settings, lambda *_, **__: None)
    if payments is None:
        raise ValueError("stripe is not configured: there are no payments here")
    found: dict[str, AtStripe] = {}
    try:
        async for line in payments.transfers.balance_lines(begin=0, end=SystemClock().now_ms() // 1000 + 1):
            found[line.net.currency] = found.get(line.net.currency, AtStripe()).with_line(line)
    finally:
        await payments.close()
    return found


def _told(one: Sums, there: AtStripe | None) -> dict[str, Any]:
    entries = one.entries

    def money(micros: int) -> str:
        return str(Money(micros, entries.unit))

    told: dict[str, Any] = {
        "unit": entries.unit,
        "paid_in": money(entries.paid_in),
        "refunded": money(entries.refunded),
        "otherwise": money(entries.otherwise),
        "callers": money(entries.callers),
        "owners_due": money(one.due),
        "paid_out": money(entries.paid_out),
        "clawed_back": money(entries.clawed_back),
        "held": money(entries.held),
        "released": money(entries.released),
        "platform": money(one.platform),
        "difference": money(one.difference),
    }
    if there is not None and not is_named(entries.unit):
        uneven = there.moved - (entries.paid_in - entries.refunded - entries.paid_out - entries.released)
        told["stripe"] = {
            "balance": money(there.moved - there.fees - there.to_bank),
            "fees": money(there.fees),
            "fees_of": {of: money(micros) for of, micros in sorted(there.kept.items())},
            "to_bank": money(there.to_bank),
            "platform_after_fees": money(one.platform - there.fees),
            "difference": money(uneven),
            "uneven": bool(uneven),
        }
    return told


def _said(told: dict[str, Any]) -> list[str]:
    lines = [
        f"{told['unit']}: paid in {told['paid_in']} - refunded {told['refunded']} + otherwise {told['otherwise']}",
        f"  = callers {told['callers']} + due to owners {told['owners_due']} + paid out {told['paid_out']}"
        f" + clawed back {told['clawed_back']} + held {told['held']} + the platform {told['platform']}",
        f"  difference: {told['difference']}",
    ]
    if "stripe" in told:
        there = told["stripe"]
        of = ", ".join(f"{name} {amount}" for name, amount in there["fees_of"].items())
        fees = f"{there['fees']} ({of})" if of else there["fees"]
        lines.append(
            f"  at Stripe: balance {there['balance']}, fees {fees}, paid to our bank {there['to_bank']},"
            f" the platform after fees {there['platform_after_fees']}; difference: {there['difference']}"
        )
    return lines
