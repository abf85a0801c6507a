"""OAuth for agents, put together: who may ask, what people allow, and where both are served."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.adapters.outgoing import HttpDocuments
from gateway.app.identity import Identity
from gateway.core.routes import RouteTable
from gateway.core.tokens import TokenMint
from gateway.flows.authorize import Authorize, OAuthTerms
from gateway.flows.hand_out import HandOut
from gateway.flows.know_clients import KnowClients
from gateway.ports import Clock, Randomness, RateLimits, Witnesses
from gateway.settings import Settings
from gateway.settings.values import OAuthSettings

if TYPE_CHECKING:
    from gateway.app.stores import Records

_CLIENT_DOCUMENT_BYTES_MAX = 5 * 1024


class Authorizing:
    """The parts by name."""

    def __init__(
        self,
        settings: Settings,
        given: OAuthSettings,
        identity: Identity,
        records: "Records",
        hand_out: HandOut,
        *,
        routes: Callable[[], RouteTable],
        limits: RateLimits,
        witness: Witnesses,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self.given = given
        self._documents = HttpDocuments(private=given.private_addresses, bytes_max=_CLIENT_DOCUMENT_BYTES_MAX)
        self.clients = KnowClients(
            book=records.oauth,
            documents=self._documents,
            keyring=identity.keyring,
            limits=limits,
            registrations=given.registrations,
            clients_max=given.clients_max,
            private=given.private_addresses,
            witness=witness,
            clock=clock,
            randomness=randomness,
        )
        self.authorize = Authorize(
            terms=OAuthTerms(settings.public_url, given.access_ms, given.refresh_ms),
            book=records.oauth,
            clients=self.clients,
            hand_out=hand_out,
            credentials=records,
            mint=TokenMint(identity.keyring, settings.mode),
            peppers=identity.peppers,
            routes=routes,
            witness=witness,
            clock=clock,
            randomness=randomness,
        )

    async def close(self) -> None:
        """Nothing is fetched any more."""
        await self._documents.close()
