"""Services and charges by agreement, in one process: the flows, with what is set of them and where all is kept."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.adapters.charging import ChargeRecords
from gateway.adapters.stripe.charging import StripeCharges
from gateway.adapters.stripe.payments import StripePayments
from gateway.app.identity import Identity
from gateway.app.owning import Owning
from gateway.app.ways_to_pay import WALLET_PATH
from gateway.core.charges import ChargeTerms
from gateway.core.keyring import Keyring
from gateway.flows.agree import Agree
from gateway.flows.charge import CHARGE, SWEEP_SECONDS, ChargeByAgreement
from gateway.flows.know_services import KnowServices
from gateway.flows.return_fee import ReturnFee
from gateway.flows.rounds import Rounds
from gateway.ports import (
    ActsFor,
    Clock,
    Entries,
    Jobs,
    People,
    Randomness,
    Roots,
    TakesBack,
    WritesTrail,
)
from gateway.settings import Settings
from gateway.settings.values import ChargingSettings

if TYPE_CHECKING:
    from gateway.app.stores import Records


def charges(
    settings: Settings,
    terms: ChargeTerms,
    payments: StripePayments,
    records: "Records",
    ledger: Entries,
    *,
    people: People,
    jobs: Jobs,
    acts_for: ActsFor,
    roots: Roots,
    witness: WritesTrail,
    keyring: Keyring,
    clock: Clock,
    randomness: Randomness,
    report: Callable[..., None],
) -> ChargeByAgreement:
    """Who charges, in a gateway or beside one."""
    return ChargeByAgreement(
        terms,
        book=ChargeRecords(records.ask),
        provider=provider_of(settings, payments),
        people=people,
        acts_for=acts_for,
        freezes=records.freezes,
        roots=roots,
        ledger=ledger,
        jobs=jobs,
        transfers=payments.transfers,
        tells=records.outbox,
        witness=witness,
        keyring=keyring,
        live=settings.mode == "live",
        public_url=settings.public_url,
        clock=clock,
        randomness=randomness,
        report=report,
    )


def return_fee(
    settings: Settings,
    payments: StripePayments,
    records: "Records",
    take_back: TakesBack,
    *,
    witness: WritesTrail,
    clock: Clock,
    report: Callable[..., None],
) -> ReturnFee:
    """Who takes it back."""
    return ReturnFee(
        book=ChargeRecords(records.ask),
        provider=provider_of(settings, payments),
        receipts=records,
        take_back=take_back,
        witness=witness,
        live=settings.mode == "live",
        clock=clock,
        report=report,
    )


def provider_of(settings: Settings, payments: StripePayments) -> StripeCharges:
    """Stripe, for charges by agreement."""
    return StripeCharges(payments, return_url=settings.public_url + WALLET_PATH, currency=settings.currency)


class Charging:
    """The parts by name, and their life. One of several workers, the `first`, sweeps."""

    def __init__(
        self,
        settings: Settings,
        given: ChargingSettings,
        payments: StripePayments,
        identity: Identity,
        records: "Records",
        ledger: Entries,
        owning: Owning,
        take_back: TakesBack,
        services: KnowServices,
        *,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
        first: bool,
    ) -> None:
        self.given = given
        self.back = settings.public_url + WALLET_PATH
        provider = provider_of(settings, payments)
        book, witness, live = ChargeRecords(records.ask), identity.witness, settings.mode == "live"
        self.services = services
        self.agree = Agree(
            book=book,
            provider=provider,
            witness=witness,
            live=live,
            back=self.back,
            clock=clock,
            randomness=randomness,
        )
        self.charge = charges(
            settings,
            given.terms,
            payments,
            records,
            ledger,
            people=identity.lending.people,
            jobs=identity.lending.jobs,
            acts_for=owning.belong,
            roots=identity.aliases,
            witness=witness,
            keyring=identity.keyring,
            clock=clock,
            randomness=randomness,
            report=report,
        )
        self.return_fee = return_fee(
            settings, payments, records, take_back, witness=witness, clock=clock, report=report
        )
        identity.signing_in.also(CHARGE, self.charge.do, welcomed=None)
        self._sweeping = Rounds(self.charge.sweep, every_seconds=SWEEP_SECONDS, name="charges") if first else None

    def open(self) -> None:
        """Begin; the records and the books are open."""
        if self._sweeping is not None:
            self._sweeping.open()

    async def close(self) -> None:
        """No more sweeps; what is under way is taken up at the next start."""
        if self._sweeping is not None:
            await self._sweeping.close()
