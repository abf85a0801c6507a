"""Programs that call us, in one process: who knows them, wherever they are written down."""

from typing import TYPE_CHECKING

from gateway.adapters.services import ConfiguredServices, ServiceRecords, configured
from gateway.app.identity import Identity
from gateway.flows.know_services import KnowServices
from gateway.ports import Clock, FindsServices, Randomness, RateLimits
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.app.stores import Records


def know_services(
    settings: Settings,
    identity: Identity,
    records: "Records",
    limits: RateLimits,
    *,
    clock: Clock,
    randomness: Randomness,
) -> KnowServices | None:
    """None where nothing is for services."""
    if not settings.is_for_services:
        return None
    return KnowServices(
        book=services_of(settings, identity, records),
        signs=identity.signs,
        peppers=identity.peppers,
        guesses=identity.guesses,
        limits=limits,
        witness=identity.witness,
        public_url=settings.public_url,
        clock=clock,
        randomness=randomness,
    )


def services_of(settings: Settings, identity: Identity, records: "Records") -> FindsServices:
    """Those that these settings name, and those on record."""
    given = ((one.name, one.role, one.owner, one.secret, one.older) for one in settings.services)
    return ConfiguredServices(configured(given, identity.peppers), ServiceRecords(records.ask))
