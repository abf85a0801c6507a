"""Who acts for owners, and owners' accounts at the provider, in the records of either kind.

Every statement is one that both databases understand, and commits by itself; `ask` is the records'. What a later answer
has overtaken changes nothing: each change says in its condition what it takes for granted.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.core.keyring import Keyring
from gateway.core.owning import WISH_PURPOSE, Api, Member, OwnerAccount, Standing
from gateway.ports import Randomness

Ask = Callable[..., Awaitable[Sequence[Any]]]
_COLUMNS = """owner, live, api, name, attempt, created, changed, checked, account, status, due, transfers, payouts,
country, key_id, wish"""
_FIND = f"SELECT {_COLUMNS} FROM stripe_accounts WHERE owner = $1 AND live = $2"  # noqa: S608 -- columns of our own
_BEGIN = """INSERT INTO stripe_accounts (owner, live, api, name, attempt, status, due, transfers, payouts, country,
created, changed, checked, key_id, wish) VALUES ($1, $2, $3, $4, $5, 'pending', '[]', 0, 0, '', $6, $6, $6, $7, $8)
ON CONFLICT DO NOTHING"""
_AGAIN = """UPDATE stripe_accounts SET attempt = attempt + 1, api = $4, key_id = $5, wish = $6, changed = $7
WHERE owner = $1 AND live = $2 AND attempt = $3 AND account IS NULL RETURNING attempt"""
_MADE = """UPDATE stripe_accounts SET account = $3, status = $4, due = $5, transfers = $6, payouts = $7, country = $8,
changed = $9, checked = $9, key_id = NULL, wish = NULL WHERE owner = $1 AND live = $2 AND account IS NULL"""
_STANDS = """UPDATE stripe_accounts SET status = $4, due = $5, transfers = $6, payouts = $7, country = $8,
changed = $9, checked = $10 WHERE owner = $1 AND live = $2 AND account = $3 AND checked <= $10 RETURNING owner"""
_INVITE = "INSERT INTO owner_invite (digest, owner, until) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_USE = """UPDATE owner_invite SET used_by = $2 WHERE digest = $1 AND until > $3
AND (used_by IS NULL OR used_by = $2) RETURNING owner"""


class OwnerRecords:
    """Implements `ports.OwnerBook`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    # --- who acts for whom --------------------------------------------------------------------------------------------

    async def member(self, user: str) -> Member | None:
        for row in await self._ask("SELECT user_id, owner, how, since FROM owner_people WHERE user_id = $1", user):
            return Member(*row)
        return None

    async def members(self) -> list[Member]:
        rows = await self._ask("SELECT user_id, owner, how, since FROM owner_people ORDER BY owner, since, user_id")
        return [Member(*row) for row in rows]

    async def add_member(self, member: Member) -> Member:
        put = "INSERT INTO owner_people (user_id, owner, how, since) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
        await self._ask(put, member.user, member.owner, member.how, member.since_ms)
        return await self.member(member.user) or member

    async def drop_member(self, user: str) -> bool:
        return bool(await self._ask("DELETE FROM owner_people WHERE user_id = $1 RETURNING owner", user))

    async def add_invite(self, digest: bytes, owner: str, *, until_ms: int) -> None:
        await self._ask(_INVITE, digest, owner, until_ms)

    async def find_invite(self, digests: Sequence[bytes], *, now_ms: int) -> str | None:
        query = "SELECT owner FROM owner_invite WHERE digest = $1 AND until > $2 AND used_by IS NULL"
        for digest in digests:
            for (owner,) in await self._ask(query, digest, now_ms):
                return str(owner)
        return None

    async def use_invite(self, digests: Sequence[bytes], user: str, *, now_ms: int) -> str | None:
        for digest in digests:
            for (owner,) in await self._ask(_USE, digest, user, now_ms):
                return str(owner)
        return None

    async def drop_invites(self, *, before_ms: int) -> None:
        await self._ask("DELETE FROM owner_invite WHERE until < $1", before_ms)

    # --- accounts -----------------------------------------------------------------------------------------------------

    async def begin_account(self, account: OwnerAccount) -> OwnerAccount:
        sealed = account.sealed or (None, None)
        which = (account.owner, int(account.live), account.api, account.key, account.attempt)
        await self._ask(_BEGIN, *which, account.created_ms, *sealed)
        return await self.find_account(account.owner, live=account.live) or account

    async def ask_again(
        self, account: OwnerAccount, api: Api, sealed: tuple[str, bytes] | None, *, now_ms: int
    ) -> bool:
        which = (account.owner, int(account.live), account.attempt, api)
        return bool(await self._ask(_AGAIN, *which, *(sealed or (None, None)), now_ms))

    async def keep_made(self, account: OwnerAccount, standing: Standing, *, now_ms: int) -> None:
        await self._ask(_MADE, account.owner, int(account.live), standing.account, *_stands(standing), now_ms)

    async def keep_standing(self, account: OwnerAccount, standing: Standing, *, asked_ms: int, now_ms: int) -> bool:
        which = (account.owner, int(account.live), standing.account)
        return bool(await self._ask(_STANDS, *which, *_stands(standing), now_ms, asked_ms))

    async def find_account(self, owner: str, *, live: bool) -> OwnerAccount | None:
        for row in await self._ask(_FIND, owner, int(live)):
            return _account(row)
        return None

    async def owner_of_account(self, id: str, *, live: bool) -> OwnerAccount | None:
        query = f"SELECT {_COLUMNS} FROM stripe_accounts WHERE account = $1 AND live = $2"  # noqa: S608
        for row in await self._ask(query, id, int(live)):
            return _account(row)
        return None

    async def accounts(self, *, live: bool) -> list[OwnerAccount]:
        query = f"SELECT {_COLUMNS} FROM stripe_accounts WHERE live = $1 ORDER BY owner"  # noqa: S608
        return [_account(row) for row in await self._ask(query, int(live))]

    async def unchecked(self, *, live: bool, before_ms: int, count: int) -> list[OwnerAccount]:
        query = f"""SELECT {_COLUMNS} FROM stripe_accounts WHERE live = $1 AND checked < $2 AND account IS NOT NULL
ORDER BY checked, owner LIMIT $3"""  # noqa: S608
        return [_account(row) for row in await self._ask(query, int(live), before_ms, count)]

    # --- rotation of keys ---------------------------------------------------------------------------------------------

    async def reseal(self, key_id: str, keyring: Keyring, randomness: Randomness, *, count: int) -> int:
        """Seal so much of this key with the newest; how much there was."""
        query = "SELECT owner, live, attempt, wish FROM stripe_accounts WHERE key_id = $1 LIMIT $2"
        rows = await self._ask(query, key_id, count)
        for owner, live, attempt, was in rows:
            plain = keyring.open(WISH_PURPOSE, key_id, was, about=owner)
            now = keyring.seal(WISH_PURPOSE, plain, nonce=randomness.bytes(12), about=owner)
            change = """UPDATE stripe_accounts SET key_id = $1, wish = $2
WHERE owner = $3 AND live = $4 AND attempt = $5 AND account IS NULL"""
            await self._ask(change, *now, owner, live, attempt)
        return len(rows)


def _stands(standing: Standing) -> tuple[object, ...]:
    flags = int(standing.transfers), int(standing.payouts)
    return standing.status, json.dumps(standing.due), *flags, standing.country


def _account(row: Sequence[Any]) -> OwnerAccount:
    owner, live, api, name, attempt, created, changed, checked, id, status, due, *rest = row
    transfers, payouts, country, key_id, wish = rest
    stands = Standing(id, status, tuple(json.loads(due)), bool(transfers), bool(payouts), country) if id else None
    sealed = (key_id, bytes(wish)) if key_id is not None else None
    return OwnerAccount(owner, bool(live), api, name, attempt, created, changed, checked, stands, sealed)
