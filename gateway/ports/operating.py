"""What operators do by hand, and how it is known that they are operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.operators import Session
from gateway.ports.payments import InboxEntry, InboxStatus
from gateway.ports.trail import Witnesses


class OperatorBook(Protocol):
    """Sessions of operators, and which links were used. Every call may raise RecordsUnavailable."""

    async def begin_session(self, session: Session) -> None:
        """It is on record when this returns."""

    async def find_session(self, digest: bytes) -> Session | None: ...

    async def see_session(self, digest: bytes, *, now_ms: int) -> None:
        """It was used at this moment. Of one that is over, nothing."""

    async def end_session(self, digest: bytes) -> bool:
        """It is over. False if it was over before."""

    async def end_sessions(self, *, seen_before_ms: int, begun_before_ms: int) -> None:
        """All that were not used since then, or began before that, are over."""

    async def use_link(self, nonce: bytes, *, now_ms: int) -> bool:
        """Once: of any number that try at the same time, one gets True."""

    async def drop_links(self, *, used_before_ms: int) -> None:
        """Forget those that were used before that."""


@dataclass(frozen=True, slots=True)
class Parked:
    """A payment, or what goes back of one, that reached no account."""

    event: str
    what: str
    payment: str
    amount: str
    received: str
    status: str
    why: str


@dataclass(frozen=True, slots=True)
class Assigned:
    """What became, or would become, of an assignment."""

    session: str
    amount: str
    account: str
    """Whose it is."""
    right: bool
    """Whether it is, or could be, the wanted account's."""
    outcome: str


class PaymentsByHand(Protocol):
    """Acts on payments and events for an operator; what changes something is on the trail before it is done.

    Every call may raise ValueError with words for the operator, RecordsUnavailable, LedgerUnavailable,
    PaymentServiceUnavailable and TimeoutError.
    """

    async def parked(self, trail: Witnesses) -> Sequence[Parked]:
        """That it was looked at is on the trail."""

    async def assign(self, id: str, account: str, *, trail: Witnesses, dry_run: bool) -> Assigned:
        """Give a parked payment to an account, or say what would come of it."""

    async def events(self, statuses: Sequence[InboxStatus]) -> Sequence[InboxEntry]:
        """Those that stand like this, oldest first."""

    async def replay(self, id: str, *, trail: Witnesses) -> InboxEntry:
        """Act on an event again; how it stands then."""
