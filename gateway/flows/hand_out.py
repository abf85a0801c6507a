"""Tokens are handed out, narrowed, rotated and taken back by whoever holds them.

Who asks is a token itself, and what it may do here follows from what it is. One that stands for its account (it came of
no other, ends never and was never narrowed) has all tokens of the account. Any other has itself and what came of it: to
it the rest is not there, and whatever it makes is its child. Nothing becomes wider than it was or than what it comes
of; so a token that leaks can be used for less, and never be made into more.

A rotation keeps the token and gives it another secret. The older one is good for a while longer. Both are one token:
one set of caps, limits and children. It may be asked for again and again by somebody who does not hear the answer: as
long as the new secret was not used, and for some seconds in any case, whoever shows the older one gets the same new
one, of which a sealed copy is kept. Five at once rotate once.

Who is done with a token revokes it, and with it all that came of it. Every process hears of that within a second
(`flows/follow_tokens.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gateway.core.callers import Caller
from gateway.core.grant_wishes import MEMBERS, Known, Wish
from gateway.core.grants import LAST_CHARS, LINE_MAX, Family, Grant, grant_id
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.refusals import BadRequest, NoSuchToken, TokenConflict, UnknownToken
from gateway.core.secrets import Secret
from gateway.core.tokens import Peppers, TokenMint
from gateway.core.trail import Act, Origin, Role
from gateway.ports import (
    Clock,
    Credentials,
    ForgetsGrants,
    Made,
    Randomness,
    Roots,
    Rotation,
    Shown,
    TokenBook,
    Witnesses,
)

_PURPOSE = "rotated token"
AGAIN_MS = 10_000
"""For so long whoever shows the older secret gets the new one, used or not."""


class HandOut:
    """What holders do with tokens. `account` is whose; `by` is the token that asks, empty for an operator."""

    def __init__(
        self,
        *,
        book: TokenBook,
        credentials: Credentials,
        mint: TokenMint,
        peppers: Peppers,
        keyring: Keyring,
        clock: Clock,
        randomness: Randomness,
        roots: Roots,
        callers: ForgetsGrants,
        recorded: Callable[[bytes], None],
        known: Callable[[], Known],
        witness: Witnesses,
        origin: Origin,
        alive_max: int,
        grace_ms: int,
    ) -> None:
        self._book = book
        self._credentials = credentials
        self._mint = mint
        self._peppers = peppers
        self._keyring = keyring
        self._clock = clock
        self._randomness = randomness
        self._roots = roots
        self._callers = callers
        self._recorded = recorded
        self._known = known
        self._witness = witness
        self._origin: Origin = origin
        self._alive_max = alive_max
        self._grace_ms = grace_ms

    async def held(self, account: str, by: str) -> list[Shown]:
        """Those that may be seen, oldest first. Raises UnknownToken."""
        family, mine = await self._seen(account, by)
        return [self._shown(family, grant, by) for grant in mine.values()]

    async def find(self, account: str, by: str, id: str) -> Shown:
        """Raises NoSuchToken, UnknownToken."""
        family, mine = await self._seen(account, by)
        return self._shown(family, _of(mine, id), by)

    async def below(self, account: str, by: str, id: str) -> list[Shown]:
        """A token, and all that came of it. Raises NoSuchToken, UnknownToken."""
        family, mine = await self._seen(account, by)
        return [self._shown(family, grant, by) for grant in family.below(_of(mine, id).id)]

    async def create(self, account: str, by: str, said: Mapping[str, Any], *, audience: str = "") -> Made:
        """A new token, as it is asked for: the members of a wish, and `parent`. With an `audience`, for that alone.

        Raises BadRequest, NoSuchToken, TokenConflict, UnknownToken.
        """
        family, mine = await self._seen(account, by)
        wish = replace(Wish.read({name: said.get(name) for name in MEMBERS}, self._known()), audience=audience)
        line = self._line_of(family, mine, by, said.get("parent"))
        now_ms, secret = self._clock.now_ms(), self._new_secret()
        digest = self._peppers.digest(secret.reveal())
        grant = wish.new(grant_id(digest), account, last=_last(secret), now_ms=now_ms, line=line)
        await self._write("token.create", grant.id, account, by, parent=line[-1].id if line else "")
        made = await self._book.add_grant(grant, digest, pepper_id=self._peppers.newest_id, alive_max=self._alive_max)
        if not made:
            raise TokenConflict(f"there are {self._alive_max} tokens already; revoke one first")
        return Made(grant, secret)

    async def change(self, account: str, by: str, id: str, said: Mapping[str, Any]) -> Shown:
        """Another name, or narrower terms. Raises BadRequest, NoSuchToken, TokenConflict, UnknownToken."""
        family, mine = await self._seen(account, by)
        was = self._alive(family, _of(mine, id))
        now = Wish.read({name: said.get(name) for name in MEMBERS}, self._known()).narrowed(was, family.line(id))
        if now != was:
            await self._write("token.change", id, account, by)
        if now != was and not await self._book.change_grant(was, now):
            raise TokenConflict("it was changed in between; look at it again")
        self._callers.forget_grants([id])
        return Shown(now, is_over=False, is_own=id == by)

    async def revoke(self, account: str, by: str, id: str) -> Shown:
        """Over, with all that came of it; harmless to repeat. Raises NoSuchToken, UnknownToken."""
        family, mine = await self._seen(account, by)
        grant, now_ms = _of(mine, id), self._clock.now_ms()
        # The first of them ends all; the others are ended one by one so that they do not count as tokens any more.
        await self._write("token.revoke", id, account, by)
        below = [one.id for one in family.below(id) if one.id != id and one.revoked_ms is None]
        for one in (id, *below):
            await self._book.revoke_grant(one, now_ms=now_ms)
        self._callers.forget_grants([id])
        return Shown(grant, is_over=True, is_own=id == by)

    # --- rotation -----------------------------------------------------------------------------------------------------

    async def rotate(self, account: str, by: str, id: str) -> Made:
        """Another secret for a token. Raises NoSuchToken, TokenConflict, UnknownToken."""
        family, mine = await self._seen(account, by)
        grant = self._alive(family, _of(mine, id))
        if grant.terms.audience:
            raise TokenConflict("the program that you allowed it renews it by itself; revoke it, or leave it")
        digest = await self._book.newest_secret(id)
        if digest is None:
            raise NoSuchToken()
        return await self._rotated(grant, digest, by)

    async def rotate_own(self, caller: Caller) -> Made:
        """Another secret for the token that asks. It is put on record if it was not: so it must be one that has paid.

        Raises TokenConflict, UnknownToken.
        """
        digest, now_ms = caller.token_digest, self._clock.now_ms()
        if not caller.on_record:
            await self._credentials.add(digest, account=caller.account, pepper_id=caller.pepper_id, now_ms=now_ms)
            self._recorded(digest)
        row = await self._credentials.find(digest)
        if row is None or not row.line:
            raise UnknownToken()
        return await self._rotated(row.line[0], digest, row.line[0].id)

    async def _rotated(self, grant: Grant, digest: bytes, by: str) -> Made:
        rotation = await self._book.find_rotation(digest)
        if rotation is None or not await self._is_given_again(rotation):
            if rotation is not None:
                raise TokenConflict("this token was rotated before; use the one that took its place")
            rotation = self._next()
            await self._write("token.rotate", grant.id, grant.account, by)
        rotation = await self._book.rotate(digest, rotation)
        self._callers.forget_grants([grant.id])
        try:
            secret = Secret(self._keyring.open(_PURPOSE, rotation.sealed_by, rotation.sealed).decode())
        except (NotOurs, UnknownKey):
            raise TokenConflict("this token was rotated before; use the one that took its place") from None
        return Made(grant, secret, rotation.until_ms)

    async def _is_given_again(self, rotation: Rotation) -> bool:
        if self._clock.now_ms() < rotation.at_ms + AGAIN_MS:
            return True
        row = await self._credentials.find(rotation.digest)
        return row is None or row.key_id is None  # nobody has shown it yet

    def _next(self) -> Rotation:
        secret, now_ms = self._new_secret(), self._clock.now_ms()
        sealed = self._keyring.seal(_PURPOSE, secret.reveal().encode(), nonce=self._randomness.bytes(12))
        digest = self._peppers.digest(secret.reveal())
        return Rotation(digest, self._peppers.newest_id, _last(secret), *sealed, now_ms, now_ms + self._grace_ms)

    async def _write(self, action: str, id: str, account: str, by: str, **facts: str) -> None:
        """On the trail before it is done. Raises RecordsUnavailable."""
        role: Role = "operator" if self._origin == "command" else "consumer"
        actor = f"token:{by}" if by else account if role == "consumer" else "operator"
        facts = {"account": account} | {name: value for name, value in facts.items() if value}
        await self._witness.write(Act(actor, role, action, id, self._origin, facts=facts))

    # --- who may ------------------------------------------------------------------------------------------------------

    async def _seen(self, account: str, by: str) -> tuple[Family, Mapping[str, Grant]]:
        """All of the account's, and those that whoever asks may know of. Sessions are nobody's tokens."""
        family = Family(await self._book.grants_of(self._roots.names(account)))
        if not by:
            return family, family.grants
        own = family.grants.get(by)
        if own is None or family.is_over(by, self._clock.now_ms()):
            raise UnknownToken()
        seen = family.grants.values() if own.is_plain else family.below(by)
        return family, {grant.id: grant for grant in seen if not grant.is_session}

    def _line_of(self, family: Family, mine: Mapping[str, Grant], by: str, parent: Any) -> list[Grant]:
        """What a new token comes of: what was asked for, or else whoever asks, unless that stands for the account."""
        if parent is None and (not by or family.grants[by].is_plain):
            return []
        if parent is not None and not isinstance(parent, str):
            raise BadRequest("parent: the id of a token was expected")
        line = family.line(self._alive(family, _of(mine, parent or by)).id)
        if len(line) >= LINE_MAX:
            raise BadRequest(f"parent: {LINE_MAX} tokens stand in a line at most")
        return line

    def _alive(self, family: Family, grant: Grant) -> Grant:
        if family.is_over(grant.id, self._clock.now_ms()):
            raise TokenConflict("it was revoked, or has expired")
        return grant

    def _shown(self, family: Family, grant: Grant, by: str) -> Shown:
        return Shown(grant, is_over=family.is_over(grant.id, self._clock.now_ms()), is_own=grant.id == by)

    def _new_secret(self) -> Secret:
        return self._mint.mint(now_ms=self._clock.now_ms(), random=self._randomness.bytes(12), issued=True)


def _of(mine: Mapping[str, Grant], id: str) -> Grant:
    grant = mine.get(id)
    if grant is None:
        raise NoSuchToken()
    return grant


def _last(secret: Secret) -> str:
    return secret.reveal()[-LAST_CHARS:]
