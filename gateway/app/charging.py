"""Services and charges by agreement, in one process: the flows, with what is set of them and where all is kept."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.adapters.charging import ChargeRecords
from gateway.adapters.payouts import RecordedPayouts
from gateway.adapters.services import ServiceRecords
from gateway.adapters.stripe.charging import StripeCharges
from gateway.adapters.stripe.payments import StripePayments
from gateway.app.identity import Identity
from gateway.app.owning import Owning
from gateway.app.ways_to_pay import WALLET_PATH
from gateway.flows.agree import Agree
from gateway.flows.charge import CHARGE, SWEEP_SECONDS, ChargeByAgreement
from gateway.flows.know_services import KnowServices
from gateway.flows.rounds import Rounds
from gateway.ports import Clock, Entries, Randomness, RateLimits
from gateway.settings import Settings
from gateway.settings.values import ChargingSettings

if TYPE_CHECKING:
    from gateway.app.stores import Records


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
        limits: RateLimits,
        *,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
        first: bool,
    ) -> None:
        self.given = given
        self.back = settings.public_url + WALLET_PATH
        provider = StripeCharges(payments, return_url=self.back, currency=settings.currency)
        book, witness, live = ChargeRecords(records.ask), identity.witness, settings.mode == "live"
        self.services = KnowServices(
            book=ServiceRecords(records.ask),
            signs=identity.signs,
            peppers=identity.peppers,
            guesses=identity.guesses,
            limits=limits,
            witness=witness,
            public_url=settings.public_url,
            clock=clock,
            randomness=randomness,
        )
        self.agree = Agree(
            book=book,
            provider=provider,
            witness=witness,
            live=live,
            back=self.back,
            clock=clock,
            randomness=randomness,
        )
        self.charge = ChargeByAgreement(
            given.terms,
            book=book,
            provider=provider,
            people=identity.lending.people,
            acts_for=owning.belong,
            freezes=records.freezes,
            ledger=ledger,
            jobs=identity.lending.jobs,
            accounts=owning.accounts,
            payouts=RecordedPayouts(records.ask),
            transfers=payments.transfers,
            tells=records.outbox,
            witness=witness,
            keyring=identity.keyring,
            live=live,
            public_url=settings.public_url,
            clock=clock,
            randomness=randomness,
            report=report,
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
