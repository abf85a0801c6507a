"""Who hands out tokens: for the gateway's own addresses, and for an operator's command."""

from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from gateway.core.grant_wishes import Known
from gateway.core.keyring import Keyring
from gateway.core.tokens import Peppers, TokenMint
from gateway.core.trail import Origin
from gateway.flows.hand_out import HandOut
from gateway.ports import Clock, ForgetsGrants, Randomness, Roots, Witnesses
from gateway.settings import Settings, forms

if TYPE_CHECKING:
    from gateway.app.stores import Records


def hand_out(
    settings: Settings,
    records: "Records",
    *,
    keyring: Keyring,
    peppers: Peppers,
    roots: Roots,
    callers: ForgetsGrants,
    recorded: Callable[[bytes], None],
    routes: Callable[[], Collection[str]],
    clock: Clock,
    randomness: Randomness,
    witness: Witnesses,
    origin: Origin,
) -> HandOut:
    """By these settings; `routes` are the names of those that there are by then."""
    return HandOut(
        book=records.grants,
        credentials=records,
        mint=TokenMint(keyring, settings.mode),
        peppers=peppers,
        keyring=keyring,
        clock=clock,
        randomness=randomness,
        roots=roots,
        callers=callers,
        recorded=recorded,
        known=lambda: Known(forms.quota, routes(), settings.currency, clock.now_ms()),
        witness=witness,
        origin=origin,
        alive_max=settings.tokens.per_account_max,
        grace_ms=int(settings.tokens.rotation_grace_seconds * 1000),
    )


class Nobody:
    """A command remembers no callers: those who do look for what is new every second."""

    def forget_grants(self, ids: Sequence[str]) -> None:
        """There is nothing to forget."""

    def recorded(self, digest: bytes) -> None:
        """Nor here."""
