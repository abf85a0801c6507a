"""Owners, in one process: who acts for them, how they come by an account at Stripe, and how it stands."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from gateway.adapters.owning import OwnerRecords
from gateway.adapters.stripe.connect import StripeConnect
from gateway.adapters.stripe.payments import StripePayments
from gateway.app.identity import Identity
from gateway.core import sign_ins
from gateway.core.owning import AccountWish
from gateway.core.tokens import Peppers
from gateway.flows.belong import Belong
from gateway.flows.follow_accounts import LOOK_SECONDS, FollowAccounts
from gateway.flows.onboard import ONBOARD, Onboard
from gateway.flows.rounds import Rounds
from gateway.ports import Clock, People, Randomness, Witnesses
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.app.stores import Records

_OLD_SECONDS = 86_400.0


def belong(
    settings: Settings,
    records: "Records",
    people: People,
    peppers: Peppers,
    *,
    witness: Witnesses,
    clock: Clock,
    randomness: Randomness,
) -> Belong:
    """Who acts for those that the configuration names."""
    providers = settings.sign_in.providers
    signs_in = {
        owner.name: [sign_ins.login_text(providers[name], subject) for name, subject in owner.signs_in]
        for owner in settings.owners.values()
        if owner.named
    }
    return Belong(
        signs_in,
        book=OwnerRecords(records.ask),
        people=people,
        peppers=peppers,
        witness=witness,
        clock=clock,
        randomness=randomness,
    )


def follow_accounts(
    settings: Settings,
    payments: StripePayments | None,
    records: "Records",
    *,
    witness: Witnesses,
    clock: Clock,
    report: Callable[..., None],
) -> FollowAccounts:
    """How owners' accounts stand, whoever has set or made them."""
    configured = {owner.name: owner.stripe_account for owner in settings.owners.values() if owner.stripe_account}
    return FollowAccounts(
        configured,
        book=OwnerRecords(records.ask),
        connects=StripeConnect(payments) if payments is not None and settings.connect is not None else None,
        witness=witness,
        live=settings.mode == "live",
        clock=clock,
        report=report,
    )


class Owning:
    """The parts by name, and their life. One of several workers, the `first`, looks at all accounts."""

    def __init__(
        self,
        settings: Settings,
        payments: StripePayments | None,
        identity: Identity,
        records: "Records",
        *,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
        first: bool,
    ) -> None:
        lending, witness = identity.lending, identity.witness
        self._first = first
        self._opened = AsyncExitStack()
        self.belong = belong(
            settings,
            records,
            lending.people,
            identity.peppers,
            witness=witness,
            clock=clock,
            randomness=randomness,
        )
        self.accounts = follow_accounts(settings, payments, records, witness=witness, clock=clock, report=report)
        self.onboard: Onboard | None = None
        if payments is None or settings.connect is None:
            return
        self.onboard = Onboard(
            wishes(settings),
            acts_for=self.belong,
            book=OwnerRecords(records.ask),
            people=lending.people,
            jobs=lending.jobs,
            connects=StripeConnect(payments),
            keyring=identity.keyring,
            peppers=identity.peppers,
            witness=witness,
            live=settings.mode == "live",
            clock=clock,
            randomness=randomness,
        )
        identity.signing_in.also(ONBOARD, self.onboard.do, welcomed=self.onboard.welcomed)

    def open(self) -> None:
        """Begin; the records are open."""
        if not self._first:
            return
        work = [Rounds(self.belong.drop_old, every_seconds=_OLD_SECONDS, name="old invitations")]
        if self.onboard is not None:
            work.append(Rounds(self.accounts.look_round, every_seconds=LOOK_SECONDS, name="owners' accounts"))
        for one in work:
            self._opened.push_async_callback(one.close)
            one.open()

    async def close(self) -> None:
        """No more looks. Before the records and the provider are closed."""
        await self._opened.aclose()


def wishes(settings: Settings) -> dict[str, AccountWish]:
    """What account is opened for whom: for each owner that is named, and has none of the operator's."""
    connect = settings.connect
    assert connect is not None
    named = [owner for owner in settings.owners.values() if owner.named and owner.stripe_account is None]
    return {owner.name: AccountWish(connect.api, owner.country or connect.country, owner.name) for owner in named}
