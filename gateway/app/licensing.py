"""Licences, in one process: who has one, and how it comes to another device."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.adapters.stripe.payments import StripePayments
from gateway.app.identity import Identity
from gateway.app.ways_to_pay import mails
from gateway.core.tokens import TokenMint
from gateway.flows.entitle import Entitle
from gateway.flows.keep import Keeper
from gateway.flows.restore import Restore
from gateway.ports import Clock, Randomness, RateLimits
from gateway.settings import Settings
from gateway.settings.values import LicenceSettings

if TYPE_CHECKING:
    from gateway.app.stores import Records


class Licensing:
    """The parts by name."""

    def __init__(
        self,
        settings: Settings,
        asked: LicenceSettings,
        payments: StripePayments,
        identity: Identity,
        records: "Records",
        ledger: Keeper,
        limits: RateLimits,
        *,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
    ) -> None:
        assert identity.licences is not None, "they are read where they are issued"
        mint = TokenMint(identity.keyring, settings.mode)
        self.entitle = Entitle(
            terms=asked.terms,
            provider=payments,
            book=records.licensees,
            subscriptions=records.subscriptions,
            roots=identity.aliases,
            ledger=ledger,
            signs=identity.signs,
            reads=identity.licences,
            derived=lambda customer: mint.outside(f"licence\0{customer}").account,
            keyring=identity.keyring,
            peppers=identity.peppers,
            witness=identity.witness,
            trail=records.trail,
            live=settings.mode == "live",
            clock=clock,
            randomness=randomness,
            report=report,
        )
        self.restore = Restore(
            terms=asked.terms,
            proof=asked.restore_proof,
            entitles=self.entitle,
            book=records.licensees,
            mails=mails(settings.mail) if settings.mail else None,
            portal=payments if settings.stripe and settings.stripe.customer_portal else None,
            limits=limits,
            per_address=asked.restores_per_address,
            per_client=asked.restores_per_client,
            devices=asked.devices,
            peppers=identity.peppers,
            witness=identity.witness,
            clock=clock,
            randomness=randomness,
            report=report,
        )
