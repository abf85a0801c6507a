"""Who calls: tokens, frozen accounts, joined wallets, payers who come back, and the keys that all of it hangs on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.aliases import Joined
from gateway.core.caps import Cap, CapSetting, Period
from gateway.core.grants import Grant
from gateway.core.payers import Homecoming, Standing
from gateway.core.rotation import Holder, KeyKind, KeyUse


@dataclass(frozen=True, slots=True)
class TokenRow:
    """What is on record of a token."""

    account: str
    revoked: bool
    expires_ms: int | None
    key_id: str | None = None
    """The sealing key that made the token; None until it was used."""
    line: tuple[Grant, ...] = ()
    """What stands for the token before its holder, its parent, and so on up."""


class Credentials(Protocol):
    """Tokens at rest, by keyed digest only."""

    async def find(self, digest: bytes) -> TokenRow | None: ...

    async def find_any(self, digests: Sequence[bytes]) -> Mapping[bytes, TokenRow]:
        """The rows of those that are on record, as they are at one moment."""

    async def redigest(
        self, digest: bytes, older: Sequence[bytes], *, pepper_id: str, key_id: str, last: str = ""
    ) -> None:
        """Of one token: what stands under older digests stands under this one from now on. Harmless to repeat.

        Its `last` characters are noted for its holder, if none were.

        At no moment is there no row of it. If any of them was revoked, what is left is.
        """

    async def add(self, digest: bytes, *, account: str, pepper_id: str, now_ms: int) -> bool:
        """Put a token on record; False if it was there."""


@dataclass(frozen=True, slots=True)
class Freeze:
    """An account was frozen, or unfrozen. Numbers rise, and one that is seen has all lower ones before it."""

    number: int
    account: str
    frozen: bool
    reason: str
    at_ms: int


class FreezeBook(Protocol):
    """Which accounts may not spend. Every call may raise RecordsUnavailable."""

    async def add_freeze(
        self, account: str, *, frozen: bool, reason: str, now_ms: int, cause: str | None = None
    ) -> bool:
        """Write it down; returns when it is durable. False if there was one of this `cause`: nothing changes then."""

    async def freezes_after(self, number: int) -> list[Freeze]:
        """Those with higher numbers, in order."""

    async def freezes_of(self, account: str) -> list[Freeze]:
        """In order; the last one counts."""


class EndedBook(Protocol):
    """Whose tokens were ended all at once. Every call may raise RecordsUnavailable."""

    async def end_tokens(self, accounts: Sequence[str], *, before_ms: int) -> None:
        """Those that were made before then; an empty account is everyone. Returns when it is durable."""

    async def ended_after(self, number: int) -> list[tuple[int, str, int]]:
        """Number, account and moment of those with higher numbers, in order."""


class Ended(Protocol):
    """Whose tokens were ended, as far as this process knows: at most a second behind."""

    def ended(self, account: str, made_ms: int | None = None) -> bool:
        """Whether a token of this account that was made then is over; without a moment the one that made the account.

        Asks nobody.
        """


class CapBook(Protocol):
    """What accounts may spend. Every call may raise RecordsUnavailable."""

    async def add_cap(
        self,
        account: str,
        period: Period,
        unit: str,
        micros: int | None,
        *,
        now_ms: int,
        tell_at: int | None = None,
        zone: str | None = None,
    ) -> None:
        """Write it down; returns when it is durable. It is later than all that the account had before."""

    async def caps_after(self, number: int) -> list[CapSetting]:
        """Those with higher numbers, in order."""

    async def caps_of(self, account: str) -> list[CapSetting]:
        """In order; the last one of a period counts."""


class Caps(Protocol):
    """The caps of accounts, as far as this process knows: at most a second behind."""

    @property
    def zone(self) -> str:
        """Whose calendar the periods are of, those of tokens, too."""

    def of(self, account: str) -> tuple[Cap, ...]:
        """Those of an account. Asks nobody."""


class Frozen(Protocol):
    """Which accounts may not spend, as far as this process knows: at most a second behind."""

    def holds(self, account: str) -> bool:
        """Whether an account may not spend. Asks nobody."""


@dataclass(frozen=True, slots=True)
class Alias:
    """An account that is another one now, which is none itself. Numbers are as those of freezes.

    `asked` counts how often the books of both were to be joined.
    """

    number: int
    account: str
    into: str
    why: str
    at_ms: int
    asked: int = 1


class AliasBook(Protocol):
    """Which accounts are another one now. Every call may raise RecordsUnavailable."""

    async def add_alias(self, account: str, into: str, *, why: str, now_ms: int) -> bool:
        """Write it down; returns when it is durable. What was an alias of the account is one of the other, too.

        If `into` is an alias, that account is meant which it is one of. False, and nothing changes, if the account is
        an alias already, or they are the same, or one of them is frozen.
        """

    async def aliases_after(self, number: int) -> list[Alias]:
        """Those with higher numbers, in order."""

    async def find_alias(self, account: str) -> Alias | None: ...

    async def unjoined(self) -> list[Alias]:
        """Those whose books are to be joined, oldest first."""

    async def ask_to_join(self, account: str) -> None:
        """Something may have arrived at an alias: join the books once more."""

    async def ask_to_join_since(self, at_ms: int) -> None:
        """The same of all that were written down after that."""

    async def joined(self, alias: Alias) -> None:
        """Its books are one. Nothing, if that was asked for again in between."""


class Roots(Protocol):
    """Which account an account is now, as far as this process knows: at most a second behind."""

    def root(self, account: str) -> str:
        """The account that this one is an alias of, or itself. Asks nobody."""

    def names(self, account: str) -> Sequence[str]:
        """The account, and those that are aliases of it. Asks nobody."""


class Looks(Roots, Protocol):
    """Which account an account is now, also by the records."""

    async def look(self) -> None:
        """Learn what others had written down before this call. Raises RecordsUnavailable."""


class Joins(Looks, Protocol):
    """Makes accounts other ones; implemented by the flow that does. These, too, may raise RecordsUnavailable."""

    async def add(self, account: str, into: str, why: str) -> Joined:
        """Write down that `account` is `into` from now on; what came of it."""

    async def find(self, account: str) -> Alias | None:
        """What is on record of an alias."""


class PayerBook(Protocol):
    """Who has paid before, and which browsers came back. Every call may raise RecordsUnavailable."""

    async def find_payers(self, digests: Sequence[bytes]) -> Mapping[bytes, str]:
        """The accounts of those that are on record."""

    async def keep_payer(
        self, digest: bytes, *, account: str, pepper_id: str, now_ms: int, sealed: tuple[str, bytes] | None
    ) -> str:
        """Write down whose a payer is; whose it is on record, which is what was written first.

        `sealed` is what mail needs, with the key that sealed it.
        """

    async def redigest_payer(self, digest: bytes, older: Sequence[bytes], *, pepper_id: str) -> None:
        """What stands under older digests stands under this one from now on. Harmless to repeat."""

    async def has_payer(self, account: str) -> bool:
        """Whether anybody is known to pay for it, or for an alias of it."""

    async def addresses_of(self, account: str) -> list[tuple[bytes, str, bytes]]:
        """By its digest, every address that is kept for mail of just this account: the key that sealed it, and it."""

    async def forget_address(self, digest: bytes) -> None:
        """Erase the address; whose the payer is stays known."""

    async def come_home(self, coming: Homecoming) -> Homecoming:
        """Write down which browser came back from a checkout; what is on record, which is the one that was first."""

    async def find_homecoming(self, session: str) -> Homecoming | None: ...

    async def coded(self, digests: Sequence[bytes], *, since_ms: int) -> Homecoming | None:
        """The one that was shown a code that has one of these digests, if it was not used."""

    async def turn(self, session: str, was: Standing, now: Standing, *, now_ms: int) -> bool:
        """It stands otherwise now. False if it did not stand like that. What was sealed is kept while it waits."""

    async def waiting(self, before_ms: int) -> list[Homecoming]:
        """Those that wait since before that, oldest first."""

    async def drop_homecomings(self, before_ms: int) -> None: ...


class KeyRoll(Protocol):
    """Which process has which keys, and what they are needed for. Every call may raise RecordsUnavailable."""

    async def call_in(self, holder: str, kind: KeyKind, ids: Sequence[str], *, now_ms: int) -> None:
        """A process says which keys it has; the first of `ids` is the one that seals."""

    async def leave(self, holder: str) -> None:
        """A process ends."""

    async def retired(self, kind: KeyKind, id: str) -> None:
        """A key has gone: who has no other is turned away. Its id stays known, so that no key gets it again."""

    async def holders(self, kind: KeyKind) -> list[Holder]:
        """What every process said last."""

    async def use(self, kind: KeyKind) -> KeyUse:
        """What is on record of all keys of a kind. Counts every token, so it takes a while."""
