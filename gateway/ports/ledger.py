"""The books as the flows see them."""

from collections.abc import Sequence
from typing import Protocol

from gateway.core.caps import Cap, CapLine
from gateway.core.ids import RequestId
from gateway.core.ledger import Balance, Charge, Credit, Reversal, Tariff
from gateway.core.money import Money
from gateway.core.routes import Durability
from gateway.ports.selling import Hold


class Entries(Protocol):
    """What adds to accounts and takes from them, once per `ref`: as `Ledger` promises of the two."""

    async def credit(self, credit: Credit) -> bool: ...

    async def reverse(self, reversal: Reversal) -> bool: ...


class Desk(Entries, Protocol):
    """What an operator does to accounts by hand: as `Ledger` promises of each."""

    async def refund(self, request: RequestId, reason: str) -> list[Charge]: ...

    async def balance(self, account: str, currency: str) -> Balance: ...

    async def funded(self, account: str, currency: str) -> bool: ...


class Ledger(Protocol):
    """Holds, records, credits and takes back. No balance ever becomes negative by spending."""

    async def hold(
        self, account: str, ceiling: Money, *, id: RequestId, token: int, tariff: Tariff, caps: Sequence[Cap] = ()
    ) -> Hold:
        """Set `ceiling` aside, of the account and under each cap, or nothing of any; one of each count of calls.

        Raises PaymentRequired, CapReached, or LedgerUnavailable when the store cannot commit.

        A caller that is cancelled while it waits leaves nothing on hold.
        """

    async def start(self, hold: Hold, due: Money, durability: Durability, *, counted: bool = False) -> None:
        """Record what is due. `strict`: returns when it is durable. Raises LedgerUnavailable; then nothing is charged.

        Cancelled, the record stands until `settle` corrects it. `counted`: it is one of the calls that are counted
        though nothing was held; what costs something is one by itself.
        """

    async def renew(self, hold: Hold, due: Money, ahead: Money) -> None:
        """A long answer goes on: record what it has come to, and set `ahead` aside for what follows.

        Returns when it is durable: a crash from now on charges `due`. It is at least what was recorded before and at
        most what is held; afterwards `due` and `ahead` together are held, or more if more was. Raises PaymentRequired
        when the account has less than is missing, CapReached when a cap does; then `due` is on record, nothing more is
        held, and the answer should end. Raises LedgerUnavailable; then it may or may not be on record, and `settle`
        still has the last word.
        """

    def settle(self, hold: Hold, cost: Money, *, counted: bool = False) -> Money:
        """Capture what the request did cost, at most what was held, and release the rest. Awaits nothing.

        Returns what was captured. Settling twice is settling once. A hold whose `start` failed costs nothing, whatever
        `cost` says.
        """

    async def credit(self, credit: Credit) -> bool:
        """Add money that arrived; returns when it is durable. False if this `ref` was credited before.

        Raises LedgerUnavailable; repeating the call is always safe. Raises ValueError for what no account can hold.
        """

    async def reverse(self, reversal: Reversal) -> bool:
        """Take money back; returns when it is durable. False if there was an entry of this `ref`: nothing changes then.

        The whole amount leaves the balance, which is negative if there was less: holds are refused until credits have
        made up for it. What is set aside for requests under way is not touched. Of an account that nobody has paid
        into it is a debt all the same: a refund may be heard of before its payment.

        Raises LedgerUnavailable; repeating the call is always safe. Raises ValueError for what no account can hold.
        """

    async def join(self, account: str, into: str, currency: str, *, turn: int | None = None) -> bool:
        """Move what a wallet has into another one, purse by purse, and what it owes, too; returns when it is durable.

        Of several who name the same `turn`, also of other hosts, one moves what is owed.

        What is held stays until it is settled, and money may still arrive: False if something is left, and it is to be
        done again. What a request gives back that another process has under way may come after that. No moment sees any
        of it twice or not at all. Raises LedgerUnavailable; repeating is always safe.
        Raises ValueError for what no account can hold.
        """

    async def refund(self, request: RequestId, reason: str) -> list[Charge]:
        """Give back what a request did cost; returns when it is durable, with what was given back to whom.

        A refund of what was refunded (or cost nothing) gives back nothing. Raises RequestUnderWay, RequestUnknown;
        LedgerUnavailable, after which repeating the call is safe.
        """

    async def balance(self, account: str, currency: str) -> Balance:
        """What an account can spend, less than nothing if it owes; zero for one that nobody ever paid into.

        Raises LedgerUnavailable.
        """

    async def funded(self, account: str, currency: str) -> bool:
        """Whether money ever arrived there. Raises LedgerUnavailable."""

    async def close(self) -> None:
        """Commit what is queued and let go of the store."""


class CapLines(Protocol):
    """Reads caps out of the books, as committed; works while somebody keeps them. Raises StoreFailed."""

    async def cap_line(self, name: str, unit: str) -> CapLine:
        """The balance of a cap in one period."""


class RequestUnderWay(Exception):
    """What it will have cost is not known yet."""


class RequestUnknown(Exception):
    """The books hold nothing of it, or not its beginning: it was never charged, or its batch was pruned."""
