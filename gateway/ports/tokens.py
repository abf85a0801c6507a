"""Tokens as their holders know them: made, narrowed, rotated, revoked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.grants import Grant
from gateway.core.secrets import Secret


@dataclass(frozen=True, slots=True)
class Rotation:
    """The secret that takes the place of another: its digest, its last characters, and itself, sealed by a key."""

    digest: bytes
    pepper_id: str
    last: str
    sealed_by: str
    sealed: bytes
    at_ms: int
    until_ms: int
    """Until when the older one is good."""


class TokenBook(Protocol):
    """What is on record of tokens. Every call may raise RecordsUnavailable.

    What a change leaves behind has a number. Numbers rise, and one that is seen has all lower ones before it: whoever
    remembers something of a grant asks for those that came since.
    """

    async def add_grant(self, grant: Grant, digest: bytes, *, pepper_id: str, alive_max: int) -> bool:
        """Put a token on record. False if its account has so many already that are neither revoked nor expired.

        It counts as alive even while its parent is over: what stands in the line decides, and is looked up.
        """

    async def grants_of(self, accounts: Sequence[str]) -> list[Grant]:
        """Every one that has a secret, oldest first."""

    async def change_grant(self, was: Grant, now: Grant) -> bool:
        """Its name, terms and end are others now. False, and nothing changes, if they are not what they were."""

    async def revoke_grant(self, id: str, *, now_ms: int) -> bool:
        """It is over, and so is all that came of it. False if it was revoked before."""

    async def revoke_grants(self, ids: Sequence[str], *, now_ms: int) -> None:
        """The same of many: some at a time in one statement, each with a number of its own. Harmless to repeat."""

    async def newest_secret(self, id: str) -> bytes | None:
        """The digest of the secret that was made last."""

    async def find_rotation(self, digest: bytes) -> Rotation | None:
        """What took the place of this secret."""

    async def rotate(self, digest: bytes, rotation: Rotation) -> Rotation:
        """From now on there is another secret, and this one is good for a while only; what took its place.

        Of many at once, one decides, and all are told its secret. Whoever repeats it finishes what was cut off.
        """

    async def drop_rotations(self, *, before_ms: int) -> None:
        """Forget which secret took whose place, and its sealed copy. Both stay what they are."""

    async def was_used(self, ids: Sequence[str], *, now_ms: int) -> None:
        """Note when these were used last. Harmless to repeat; a lower time changes nothing."""

    async def changes_after(self, number: int) -> Sequence[tuple[int, str]]:
        """The numbers of changes that came since, in order, and what they are of."""

    async def last_change(self) -> int:
        """The highest number."""


class ForgetsGrants(Protocol):
    """Remembers callers."""

    def forget_grants(self, ids: Sequence[str]) -> None:
        """Something has changed about these: look them up anew."""


class RemembersTokens(ForgetsGrants, Protocol):
    """The same, and knows which it has seen."""

    def used(self) -> list[str]:
        """The tokens on record that were used since this was last asked."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A token as it stands: `is_over` if it, or any that it came of, was revoked or has expired."""

    grant: Grant
    is_over: bool
    is_own: bool


@dataclass(frozen=True, slots=True)
class Made:
    """A token, and its secret, which is shown once. `until_ms`: until when the one before it is good."""

    grant: Grant
    secret: Secret
    until_ms: int | None = None


class HandsOut(Protocol):
    """Makes tokens of an account, tells of them and takes them back. `by`: the token that asks; empty for us."""

    async def create(self, account: str, by: str, said: Mapping[str, Any], *, audience: str = "") -> Made:
        """A new token, as it is asked for. Raises BadRequest, NoSuchToken, TokenConflict, UnknownToken."""

    async def find(self, account: str, by: str, id: str) -> Shown:
        """Raises NoSuchToken, UnknownToken."""

    async def revoke(self, account: str, by: str, id: str) -> Shown:
        """Over, with all that came of it; harmless to repeat. Raises NoSuchToken, UnknownToken."""
