"""How owners are paid, in one process: the flow, with what is set of it and where everything is kept.

Where an owner's money can go is asked of whoever implements `ports.PayoutAccounts`; `ConfiguredAccounts` answers with
what the configuration says.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from gateway.adapters.payouts import RecordedPayouts
from gateway.adapters.stripe.payments import StripePayments
from gateway.app.stores import credit_lines, owners_money
from gateway.core.owning import PayoutAccount
from gateway.core.payouts import PayoutTerms
from gateway.flows.pay_out import PayOut, PayoutRules
from gateway.ports import Clock, Entries, PayoutAccounts, Witnesses
from gateway.settings import OwnerSettings, Settings

if TYPE_CHECKING:
    from gateway.app.stores import Records


class ConfiguredAccounts:
    """Implements `ports.PayoutAccounts`: what `owners.NAME.stripe_account` says."""

    def __init__(self, owners: Mapping[str, OwnerSettings]) -> None:
        self._owners = owners

    async def payable(self, owner: str) -> PayoutAccount:
        found = self._owners.get(owner)
        if found is None:
            return PayoutAccount(None, "the configuration does not name this owner")
        if found.stripe_account is None:
            return PayoutAccount(None, "no stripe_account is set")
        return PayoutAccount(found.stripe_account)


def pay_out(
    settings: Settings,
    payments: StripePayments | None,
    records: "Records",
    entries: Entries,
    *,
    witness: Witnesses,
    clock: Clock,
    report: Callable[..., None],
    accounts: PayoutAccounts | None = None,
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
        accounts=accounts or ConfiguredAccounts(settings.owners),
        transfers=payments.transfers,
        witness=witness,
        clock=clock,
        report=report,
    )


def rules(settings: Settings) -> PayoutRules:
    """What is set, without a word of the provider."""
    usual = settings.payouts.terms if settings.payouts else PayoutTerms()
    named = hashlib.sha256(f"{settings.mode} {settings.public_url}".encode()).hexdigest()[:8]
    of_owners = {name: owner.terms for name, owner in settings.owners.items() if owner.terms is not None}
    return PayoutRules(usual, of_owners, settings.payouts is None or settings.payouts.owners_bear, named)
