"""Owners: who acts for them, their accounts at the payment provider, what the books have of them, and their payouts."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from gateway.core.claw_backs import Debtor
from gateway.core.money import Money
from gateway.core.owning import AccountWish, Api, Member, OwnerAccount, PayoutAccount, Standing
from gateway.core.payments import Event
from gateway.core.payouts import OwnersBooks, Payout, PayoutState, SentOn, TransferNotice
from gateway.core.route_use import Measures


class OwnerBook(Protocol):
    """Who acts for whom, and the accounts. Every call may raise RecordsUnavailable."""

    async def member(self, user: str) -> Member | None: ...

    async def members(self) -> list[Member]:
        """All, by owner and then oldest first."""

    async def add_member(self, member: Member) -> Member:
        """A person acts for one owner: whoever was written down first stays. What is on record."""

    async def drop_member(self, user: str) -> bool:
        """False if they act for nobody."""

    async def add_invite(self, digest: bytes, owner: str, *, until_ms: int) -> None: ...

    async def find_invite(self, digests: Sequence[bytes], *, now_ms: int) -> str | None:
        """Whose invitation this is, if it is good and not used."""

    async def use_invite(self, digests: Sequence[bytes], user: str, *, now_ms: int) -> str | None:
        """Used from now on; whose it is. None if it is not good, or somebody else has used it. Harmless to repeat."""

    async def drop_invites(self, *, before_ms: int) -> None: ...

    async def begin_account(self, account: OwnerAccount) -> OwnerAccount:
        """One that is about to be made; what is on record, if another was first."""

    async def ask_again(
        self, account: OwnerAccount, api: Api, sealed: tuple[str, bytes] | None, *, now_ms: int
    ) -> bool:
        """The next attempt has another number, and this wish. False if it has one by now, or there is an account."""

    async def keep_made(self, account: OwnerAccount, standing: Standing, *, now_ms: int) -> None:
        """It was made. Nothing, if one is on record."""

    async def keep_standing(self, account: OwnerAccount, standing: Standing, *, asked_ms: int, now_ms: int) -> bool:
        """How it stood when the provider was asked then; False, and nothing changes, if it was asked later."""

    async def find_account(self, owner: str, *, live: bool) -> OwnerAccount | None: ...

    async def owner_of_account(self, id: str, *, live: bool) -> OwnerAccount | None:
        """By the provider's id."""

    async def accounts(self, *, live: bool) -> list[OwnerAccount]: ...

    async def unchecked(self, *, live: bool, before_ms: int, count: int) -> list[OwnerAccount]:
        """Those that were not asked about since then, oldest first."""


class Connects(Protocol):
    """The payment provider makes accounts for owners. Every call may raise PaymentServiceUnavailable."""

    async def open_account(self, wish: AccountWish, *, idempotency_key: str, key: str) -> Standing:
        """Make one, which `key` names. The same once more is the same account. Raises ConnectRefused."""

    async def find_opened(self, api: Api, *, key: str) -> Standing | None:
        """The one that `key` names, if it was made."""

    async def standing(self, account: OwnerAccount) -> Standing:
        """How one that was made stands now; also that it is out of our reach."""

    async def account_link(self, account: OwnerAccount, *, return_url: str, refresh_url: str) -> str:
        """An address, good once and for minutes, at which its owner gives what is due. Raises ConnectRefused."""

    def account_notice(self, event: Event) -> str | None:
        """Of which account an event says that something about it has changed; None for any other event."""

    async def cannot_connect(self) -> str | None:
        """Why no accounts can be made for others; None if they can."""


class ConnectRefused(Exception):
    """The provider will not, and has not done it. The message is its code, and nothing else of its answer."""


class ActsFor(Protocol):
    """Who acts for which owner; implemented by the flow that knows, known to those that ask."""

    async def owner_of(self, user: str) -> str | None:
        """Raises RecordsUnavailable."""


class PayoutAccounts(Protocol):
    """Where owners are paid; implemented by the flow that follows their accounts."""

    async def payable(self, owner: str) -> PayoutAccount:
        """The account, or why there is none that may be paid. Raises RecordsUnavailable."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer as it is shown to a person: so much of its body, and whether there was `more`."""

    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    more: bool


class Door(Protocol):
    """The gateway as a caller finds it."""

    async def ask(self, method: str, target: str, fields: Mapping[str, str], body: bytes) -> Seen | None:
        """One request; None if there was no answer within its time."""


class RouteUse(Protocol):
    """How routes are used, hour by hour. Every call may raise RecordsUnavailable."""

    async def add_use(self, hour_ms: int, measures: Measures) -> None:
        """So much more in this hour."""

    async def use_since(self, hour_ms: int, routes: Collection[str]) -> dict[str, dict[str, int]]:
        """The measures of these routes since then, together."""

    async def drop_use(self, before_ms: int) -> None:
        """Forget hours that began before then."""


class RouteFiles(Protocol):
    """Where owners' own routes are written."""

    def read(self, owner: str) -> str:
        """Empty if there are none. Raises RecordsUnavailable."""

    def changing(self) -> AbstractAsyncContextManager[None]:
        """Nobody else on this host changes any meanwhile. Raises GatewayBusy, RecordsUnavailable."""

    def write(self, owner: str, text: str) -> None:
        """All of it or nothing, and on the disk when this returns. Raises RecordsUnavailable."""


class OwnersMoney(Protocol):
    """Reads owners out of the books, as committed; works while somebody keeps them. Raises StoreFailed."""

    async def owners_books(self) -> OwnersBooks:
        """What was shared with them, as far as it is folded, and every entry of theirs; one snapshot."""

    async def debtors(self, wallet: Callable[[str], Sequence[str]]) -> Sequence[Debtor]:
        """Callers who owe, and those for whose debts owners have given something back; with what they spent.

        `wallet` says which accounts are one with an account.
        """


@dataclass(frozen=True, slots=True)
class OnHold:
    """An owner who is not paid until somebody says otherwise."""

    owner: str
    reason: str
    since_ms: int


class PayoutBook(Protocol):
    """Payouts on record. Each call is one step, and may raise RecordsUnavailable."""

    async def plan_payout(self, payout: Payout) -> bool:
        """Write it down. False if its number is taken, or another of its owner and unit is under way."""

    async def take_in(self, payout: Payout) -> bool:
        """Write down one that was sent and is not on record, also of who is on hold. False if its number is taken."""

    async def move_payout(self, before: Payout, after: Payout) -> bool:
        """Write down how it stands now. False, and nothing changes, if it does not stand as it did `before`."""

    async def find_payout(self, owner: str, unit: str, number: int) -> Payout | None: ...

    async def payout_of(self, key: str) -> Payout | None:
        """By the key of its call, which the provider repeats."""

    async def last_payouts(self) -> dict[tuple[str, str], int]:
        """The number of the newest of each owner and unit that ever had one."""

    async def open_payouts(self, now_ms: int) -> list[Payout]:
        """Those of which something is to be done by then, oldest first."""

    async def list_payouts(
        self, *, owner: str | None = None, state: PayoutState | None = None, count: int = 100
    ) -> list[Payout]:
        """The newest first."""

    async def hold_owner(self, owner: str, reason: str, *, now_ms: int) -> bool:
        """False if they were on hold."""

    async def resume_owner(self, owner: str) -> bool:
        """False if they were not."""

    async def holds(self) -> list[OnHold]: ...

    async def claim_run(self, owner: str, slot_ms: int, *, now_ms: int, lease_ms: int) -> bool:
        """Whether this run of an owner's schedule is ours: of all who ask, one has it, until it is done or for so long.

        False for a run that is done, too.
        """

    async def end_run(self, owner: str, slot_ms: int) -> None:
        """It is done, and so is every earlier one."""

    async def keep_sent_on(self, sent: SentOn) -> None:
        """What became of money on its way to an owner's bank; an older word does not replace a newer one."""

    async def sent_on(self, accounts: Sequence[str], count: int) -> list[SentOn]:
        """The newest first."""


class TransferRefused(Exception):
    """The provider will not do it, asked again or not. The message is a code of its."""


@dataclass(frozen=True, slots=True)
class BalanceLine:
    """One movement of the provider's balance. `net` is what it came to, less `fee`; `category` is its word for it."""

    id: str
    type: str
    source: str
    amount: Money
    fee: Money
    net: Money
    at: int
    category: str = ""


class Transfers(Protocol):
    """A payment provider that pays others."""

    @property
    def scope(self) -> str:
        """Tells this provider's account from every other."""

    async def transfer(self, payout: Payout) -> TransferNotice:
        """Send it. Asked again with the same key, it is the same transfer.

        Raises TransferRefused; PaymentServiceUnavailable when it is not known what became of it: it may be made.
        """

    async def find_transfer(self, key: str) -> TransferNotice | None:
        """What became of it; None if the provider has none of this key. Raises PaymentServiceUnavailable."""

    async def reverse_transfer(self, payout: Payout, amount: Money) -> TransferNotice:
        """Fetch this much back from the owner's account. Raises as `transfer`."""

    def transfer_notice(self, event: Event) -> TransferNotice | None:
        """What an event says of a transfer of ours, if it does. Raises ValueError when it cannot be read."""

    def sent_on(self, event: Event) -> SentOn | None:
        """What an event says of a connected account's payout, if it does. Raises ValueError when it cannot be read."""

    def balance_lines(self, *, begin: int, end: int) -> AsyncIterator[BalanceLine]:
        """Every movement between the two, in seconds, newest first. Raises PaymentServiceUnavailable."""

    def transfers_between(self, *, begin: int, end: int) -> AsyncIterator[TransferNotice]:
        """Every transfer of a payout that was made between the two, newest first. Raises PaymentServiceUnavailable."""

    async def balance(self) -> Sequence[Money]:
        """What is there, available or pending, by currency. Raises PaymentServiceUnavailable."""
