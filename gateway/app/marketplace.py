"""The operator's view of a marketplace, where the admin listener is."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.adapters.owning import OwnerRecords
from gateway.adapters.payouts import RecordedPayouts
from gateway.adapters.route_use import RecordedUse
from gateway.core.routes import RouteTable
from gateway.flows.add_up import LookAtOwners
from gateway.ports import Clock
from gateway.settings import Settings
from gateway.web.platform import PlatformPlace
from gateway.web.templates import Templates, stylesheet

if TYPE_CHECKING:
    from gateway.app.stores import Records


def platform(
    settings: Settings, records: "Records", look: LookAtOwners, routes: Callable[[], RouteTable], clock: Clock
) -> PlatformPlace:
    """Out of the records and the books alone: it asks no provider."""
    return PlatformPlace(
        templates=Templates(),
        stylesheet=stylesheet(),
        look=look,
        owners=OwnerRecords(records.ask),
        payouts=RecordedPayouts(records.ask),
        use=RecordedUse(records.ask),
        routes=routes,
        names=[name for name in settings.owners if name != "operator"],
        configured=[name for name, owner in settings.owners.items() if owner.stripe_account],
        live=settings.mode == "live",
        clock=clock,
    )
