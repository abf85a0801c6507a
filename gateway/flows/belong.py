"""Who acts for which owner, and how somebody comes to.

An owner is a name in the configuration; people are whoever signs in. Two things make one of the other, and no e-mail
address does: the configuration names a subject of a provider (`signs_in`), which that provider has vouched for, or the
operator hands out an invitation, which whoever signs in with it uses up. What the configuration says holds as long as
it says it; what was written down, until the operator takes it back. A person acts for one owner.
"""

from collections.abc import Mapping, Sequence

from gateway.core.owning import Member
from gateway.core.refusals import BadRequest
from gateway.core.secrets import Secret
from gateway.core.tokens import Peppers
from gateway.core.trail import Act
from gateway.ports import Clock, OwnerBook, People, Randomness, Witnesses

INVITED_MS = 7 * 86_400_000
"""For how long an invitation is good."""
_CODE_BYTES = 18


class Belong:
    """Implements `ports.ActsFor`. `signs_in` says of each owner by which texts the people sign in whom they name."""

    def __init__(
        self,
        signs_in: Mapping[str, Sequence[str]],
        *,
        book: OwnerBook,
        people: People,
        peppers: Peppers,
        witness: Witnesses,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._signs_in = signs_in
        self._book = book
        self._people = people
        self._peppers = peppers
        self._witness = witness
        self._clock = clock
        self._randomness = randomness
        self._named: tuple[tuple[str, ...], dict[bytes, str]] = ((), {})

    async def owner_of(self, user: str) -> str | None:
        member = await self._book.member(user)
        if member is not None and member.owner in self._signs_in:
            return member.owner
        named = self._by_digest()
        logins = await self._people.logins(user) if named else ()
        return next((named[digest] for digest in logins if digest in named), None)

    def _by_digest(self) -> dict[bytes, str]:
        """Whom the configuration names. What was digested with an older pepper counts as long as that is here."""
        if self._named[0] != tuple(self._peppers.ids):
            found = {
                digest: owner
                for owner, texts in self._signs_in.items()
                for text in texts
                for digest in self._peppers.digests(text)
            }
            self._named = tuple(self._peppers.ids), found
        return self._named[1]

    # --- invitations --------------------------------------------------------------------------------------------------

    async def invite(self, owner: str) -> Secret:
        """A new invitation's code. Raises RecordsUnavailable."""
        code = Secret(f"inv_{self._randomness.bytes(_CODE_BYTES).hex()}")
        await self._witness.write(Act("operator", "operator", "owner.invite", owner, "command"))
        until_ms = self._clock.now_ms() + INVITED_MS
        await self._book.add_invite(self._digests(code.reveal())[0], owner, until_ms=until_ms)
        return code

    async def invitation(self, code: str) -> str:
        """Which owner invites with it. Raises BadRequest, RecordsUnavailable."""
        owner = await self._book.find_invite(self._digests(code), now_ms=self._clock.now_ms())
        if owner is None or owner not in self._signs_in:
            raise _not_good()
        return owner

    async def join(self, user: str, code: str) -> str:
        """Somebody who has signed in accepts it; whom they act for. Raises BadRequest, RecordsUnavailable."""
        now_ms, already = self._clock.now_ms(), await self.owner_of(user)
        wanted = await self._book.find_invite(self._digests(code), now_ms=now_ms)
        if wanted is not None and wanted not in self._signs_in:
            raise _not_good()
        if already is not None and already != (wanted or already):
            raise BadRequest("you act for another owner already; ask the operator")
        if wanted is not None:
            facts = {"user": user}
            await self._witness.write(Act(user, "owner", "owner.join", wanted, "page", facts=facts))
        owner = await self._book.use_invite(self._digests(code), user, now_ms=now_ms)
        if owner is None or owner not in self._signs_in:
            raise _not_good()
        return (await self._book.add_member(Member(user, owner, "invited", now_ms))).owner

    async def drop_old(self) -> None:
        """Forget invitations that have ended. Raises RecordsUnavailable."""
        await self._book.drop_invites(before_ms=self._clock.now_ms() - INVITED_MS)

    def _digests(self, code: str) -> list[bytes]:
        return self._peppers.digests(f"invitation of an owner\0{code}")


def _not_good() -> BadRequest:
    return BadRequest("this invitation is not good, or was used; ask the operator for another")
