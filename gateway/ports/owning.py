"""Owners: who acts for them, their accounts at the payment provider, and where they are paid."""

from collections.abc import Sequence
from typing import Protocol

from gateway.core.owning import AccountWish, Api, Member, OwnerAccount, PayoutAccount, Standing
from gateway.core.payments import Event


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
