"""Setting money aside for one request, and selling it once."""

from collections.abc import Sequence
from typing import Protocol

from gateway.core.callers import Caller
from gateway.core.caps import CapUse
from gateway.core.idempotency import Claim as KeyClaim
from gateway.core.money import Money
from gateway.core.pricing import MeteredPrice
from gateway.core.routes import Route
from gateway.core.targets import Target
from gateway.core.use_meters import UseMeter
from gateway.ports.exchange import Exchange, Started


class Hold(Protocol):
    """Money set aside for one request."""

    @property
    def balance(self) -> Money:
        """What the account can spend once this request costs what is on record so far."""

    @property
    def balance_text(self) -> str:
        """The same, as it is told."""

    @property
    def spent(self) -> Money:
        """What is on record of it."""

    @property
    def caps(self) -> Sequence[CapUse]:
        """The caps that bind it, and what they leave once it costs what is on record so far."""

    def started(self) -> None:
        """The answer's first byte is written: a crash from now on does not void the record."""


class FollowsLong(Protocol):
    """Has what an answer by use has come to put on record while it goes on."""

    def begin(self, meter: UseMeter, hold: Hold, price: MeteredPrice) -> None:
        """Its first byte is written."""

    def end(self, meter: UseMeter) -> None:
        """Its hold is about to be settled. Also of one that never began."""


class Keeps(Protocol):
    """Keeps what is sold, if its caller holds a key to ask for it again."""

    async def collect(self, exchange: Exchange) -> None:
        """Between `forward` and the record of the price. Raises what `Exchange.whole_answer` raises."""

    async def keep(self, exchange: Exchange, started: Started) -> Started:
        """Between the record of the price and `answer`, which is to be given what this returns.

        What is kept counts as answered: `started` has been told. Raises RecordsUnavailable, OutcomeUnknown,
        KeyInFlight; then it must not be answered.
        """


class Sale(Protocol):
    """Serves a priced route; implemented by the flow that does."""

    async def __call__(
        self, exchange: Exchange, caller: Caller, route: Route, target: Target, kept: Keeps | None = None
    ) -> None: ...


class SellsOnce(Protocol):
    """Sees to it that what is asked for with one key is sold once."""

    async def sell(self, exchange: Exchange, caller: Caller, route: Route, target: Target, sale: Sale) -> None:
        """Have it sold, or answer with what was kept.

        Cancelled, it goes on to the outcome, and ends then. Raises BadRequest, KeyedBodyRefused, KeyReused,
        KeyInFlight, OutcomeUnknown, AnswerNotKept, RecordsUnavailable, and what `sale` raises.
        """


class KeyClaims(Protocol):
    """The keys that were used, by account.

    Each call is one step, durable when it returns; it may raise RecordsUnavailable.
    """

    async def claim(self, claim: KeyClaim, *, now_ms: int) -> KeyClaim | None:
        """Write it down, unless the key has one that has not expired, or is open and leased: that one."""

    async def used_by(self, accounts: Sequence[str], key: bytes, *, now_ms: int) -> str | None:
        """The first of these accounts that has a claim of the key which a `claim` would find."""

    async def take_over(self, claim: KeyClaim, *, of: str, now_ms: int) -> bool:
        """Put it in place of that of request `of`, if that is open and its lease is over."""

    async def renew(self, holder: str, lease_ms: int) -> None:
        """All that are open and this process's."""

    async def end(self, ended: KeyClaim, *, lapsed_ms: int | None = None) -> bool:
        """It is open no more. False, and nothing changes, if it is not open and of this `request`.

        Or its lease is not over by `lapsed_ms`.
        """

    async def free(self, claim: KeyClaim) -> None:
        """Nothing came of it: drop it, if it is open and of this request."""

    async def drop_expired(self, *, now_ms: int, count: int) -> int:
        """Drop so many that have expired, and are not open and leased; how many there were."""

    async def forget_answers(self, *, bytes_max: int, count: int) -> int:
        """Where more is kept than `bytes_max`, so many of the oldest become `not_kept`: no more than it takes."""
