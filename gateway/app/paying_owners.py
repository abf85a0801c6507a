"""How owners are paid, in one process: the flow, with what is set of it and where everything is kept."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.adapters.payouts import RecordedPayouts
from gateway.adapters.stripe.payments import StripePayments
from gateway.app.stores import credit_lines, owners_money
from gateway.core.payouts import PayoutTerms
from gateway.flows.pay_out import PayOut, PayoutRules
from gateway.ports import Clock, Entries, PayoutAccounts, Roots, WritesTrail
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.app.stores import Records


def pay_out(
    settings: Settings,
    payments: StripePayments | None,
    records: "Records",
    entries: Entries,
    *,
    accounts: PayoutAccounts,
    roots: Roots,
    witness: WritesTrail,
    clock: Clock,
    report: Callable[..., None],
) -> PayOut | None:
    """Who pays owners, if anybody does. `entries` are the books that are written to."""
    if settings.payouts is None or payments is None:
        return None
    return PayOut(
        rules=rules(settings),
        money=owners_money(settings),
        lines=credit_lines(settings),
        book=RecordedPayouts(records.ask),
        ledger=entries,
        accounts=accounts,
        transfers=payments.transfers,
        roots=roots,
        witness=witness,
        clock=clock,
        report=report,
    )


def rules(settings: Settings) -> PayoutRules:
    """What is set, without a word of the provider."""
    usual = settings.payouts.terms if settings.payouts else PayoutTerms()
    named = hashlib.sha256(f"{settings.mode} {settings.public_url}".encode()).hexdigest()[:8]
    of_owners = {name: owner.terms for name, owner in settings.owners.items() if owner.terms is not None}
    bear, holds = settings.payouts is None or settings.payouts.owners_bear, settings.charging is not None
    return PayoutRules(usual, of_owners, bear, named, holds=holds)
