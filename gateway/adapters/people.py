"""Who signed in, and what providers gave for them, in the records of either kind.

Every statement is one that both databases understand, and commits by itself; `ask` is the records'. So whoever is cut
off between two has written the first alone, and each order here is one in which that is harmless.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.core.keyring import Keyring
from gateway.core.sign_ins import PROFILE_PURPOSE, State
from gateway.ports import Integration, KeptTokens, Randomness, Stay, User

Ask = Callable[..., Awaitable[Sequence[Any]]]
TOKENS = "oauth_tokens.sealed"
"""What is sealed there, each for its own row alone."""
_DAY_MS = 86_400_000
_USER = "SELECT users.id, account, key_id, profile FROM users"
_ADD_LOGIN = """INSERT INTO user_login (digest, user_id, provider, pepper_id, created) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING"""
_CLAIM = "INSERT INTO wallet_claim (account, user_id, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_REDIGEST = """UPDATE user_login SET digest = $1, pepper_id = $2 WHERE digest = $3
AND NOT EXISTS (SELECT 1 FROM user_login WHERE digest = $1)"""
_STAYS = """SELECT grant_id, provider, user_session.created, user_session.expires, used
FROM user_session JOIN token_grant ON token_grant.id = grant_id
WHERE user_id = $1 AND user_session.expires > $2 AND revoked IS NULL ORDER BY user_session.created, grant_id"""
_OLD = "IN (SELECT grant_id FROM user_session WHERE expires < $1)"
_KEEP = """INSERT INTO oauth_tokens (user_id, provider, key_id, sealed, expires, version) VALUES ($1, $2, $3, $4, $5, 1)
ON CONFLICT (user_id, provider) DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed,
expires = excluded.expires, version = oauth_tokens.version + 1, held = 0"""
_HOLD = """UPDATE oauth_tokens SET held = $4 WHERE user_id = $1 AND provider = $2 AND version = $3 AND held <= $5
RETURNING version"""
_RENEW = """UPDATE oauth_tokens SET key_id = $4, sealed = $5, expires = $6, version = version + 1, held = 0
WHERE user_id = $1 AND provider = $2 AND version = $3 RETURNING version"""
_STATE = """INSERT INTO integration_status (user_id, provider, state, checked) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, provider) DO UPDATE SET state = excluded.state, checked = excluded.checked"""


class PeopleBook:
    """Implements `ports.People` and `ports.TokenVault`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def use_once(self, digest: bytes, *, until_ms: int) -> bool:
        put = "INSERT INTO sign_in_used (digest, until) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING until"
        return bool(await self._ask(put, digest, until_ms))

    async def find_user(self, digests: Sequence[bytes]) -> User | None:
        for digest in digests:
            joined = f"{_USER} JOIN user_login ON user_id = users.id WHERE digest = $1"
            for row in await self._ask(joined, digest):
                return User(*row)
        return None

    async def user(self, id: str) -> User | None:
        for row in await self._ask(f"{_USER} WHERE id = $1", id):
            return User(*row)
        return None

    async def users_of(self, accounts: Sequence[str]) -> list[User]:
        marks = ", ".join(f"${number}" for number in range(1, len(accounts) + 1))
        rows = await self._ask(f"{_USER} WHERE account IN ({marks}) ORDER BY created, id", *accounts)
        return [User(*row) for row in rows]

    async def add_user(self, user: User, *, now_ms: int) -> None:
        await self._ask(
            "INSERT INTO users (id, account, key_id, profile, created, seen) VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT DO NOTHING",
            *(user.id, user.account, user.key_id, user.profile, now_ms, now_ms),
        )

    async def change_user(self, user: User, *, now_ms: int) -> None:
        await self._ask(
            "UPDATE users SET account = $2, key_id = $3, profile = $4, seen = $5 WHERE id = $1",
            *(user.id, user.account, user.key_id, user.profile, now_ms),
        )

    async def claim_wallet(self, account: str, user: str, *, now_ms: int) -> str:
        await self._ask(_CLAIM, account, user, now_ms)
        [(whose,)] = await self._ask("SELECT user_id FROM wallet_claim WHERE account = $1", account)
        return str(whose)

    async def logins(self, user: str) -> list[bytes]:
        rows = await self._ask("SELECT digest FROM user_login WHERE user_id = $1", user)
        return [bytes(digest) for (digest,) in rows]

    async def add_login(self, digest: bytes, user: str, *, provider: str, pepper_id: str, now_ms: int) -> str:
        await self._ask(_ADD_LOGIN, digest, user, provider, pepper_id, now_ms)
        [(whose,)] = await self._ask("SELECT user_id FROM user_login WHERE digest = $1", digest)
        return str(whose)

    async def redigest_login(self, digest: bytes, older: Sequence[bytes], *, pepper_id: str) -> None:
        for one in older:
            await self._ask(_REDIGEST, digest, pepper_id, one)

    # --- sessions -----------------------------------------------------------------------------------------------------

    async def add_stay(self, grant: str, user: str, *, provider: str, now_ms: int, expires_ms: int) -> None:
        await self._ask(
            "INSERT INTO user_session (grant_id, user_id, provider, created, expires) VALUES ($1, $2, $3, $4, $5)",
            *(grant, user, provider, now_ms, expires_ms),
        )

    async def user_of_stay(self, grant: str) -> User | None:
        joined = f"{_USER} JOIN user_session ON user_id = users.id WHERE grant_id = $1"
        for row in await self._ask(joined, grant):
            return User(*row)
        return None

    async def stays(self, user: str, *, now_ms: int) -> list[Stay]:
        return [Stay(*row) for row in await self._ask(_STAYS, user, now_ms)]

    async def drop_old(self, *, now_ms: int) -> None:
        before_ms = now_ms - _DAY_MS
        # The list of them goes last: whoever is cut off finds it again.
        await self._ask(f"DELETE FROM token WHERE grant_id {_OLD}", before_ms)  # noqa: S608 -- a condition of our own
        await self._ask(f"DELETE FROM token_grant WHERE id {_OLD}", before_ms)  # noqa: S608
        await self._ask("DELETE FROM user_session WHERE expires < $1", before_ms)
        await self._ask("DELETE FROM sign_in_used WHERE until < $1", now_ms)

    # --- tokens of providers ------------------------------------------------------------------------------------------

    async def find_tokens(self, user: str, provider: str) -> KeptTokens | None:
        query = "SELECT key_id, sealed, expires, version FROM oauth_tokens WHERE user_id = $1 AND provider = $2"
        for row in await self._ask(query, user, provider):
            return KeptTokens(*row)
        return None

    async def keep_tokens(self, user: str, provider: str, key_id: str, sealed: bytes, expires_ms: int | None) -> None:
        await self._ask(_KEEP, user, provider, key_id, sealed, expires_ms)

    async def hold_tokens(self, user: str, provider: str, version: int, *, now_ms: int, lease_ms: int) -> bool:
        return bool(await self._ask(_HOLD, user, provider, version, now_ms + lease_ms, now_ms))

    async def let_go_tokens(self, user: str, provider: str, version: int) -> None:
        let_go = "UPDATE oauth_tokens SET held = 0 WHERE user_id = $1 AND provider = $2 AND version = $3"
        await self._ask(let_go, user, provider, version)

    async def renew_tokens(
        self, user: str, provider: str, version: int, key_id: str, sealed: bytes, expires_ms: int | None
    ) -> bool:
        return bool(await self._ask(_RENEW, user, provider, version, key_id, sealed, expires_ms))

    async def drop_tokens(self, user: str, provider: str, version: int | None = None) -> bool:
        drop = "DELETE FROM oauth_tokens WHERE user_id = $1 AND provider = $2"
        if version is None:
            return bool(await self._ask(f"{drop} RETURNING version", user, provider))
        return bool(await self._ask(f"{drop} AND version = $3 RETURNING version", user, provider, version))

    async def set_state(self, user: str, provider: str, state: State, *, now_ms: int) -> None:
        await self._ask(_STATE, user, provider, state, now_ms)

    async def integrations(self, user: str) -> list[Integration]:
        query = "SELECT provider, state, checked FROM integration_status WHERE user_id = $1 ORDER BY provider"
        return [Integration(*row) for row in await self._ask(query, user)]

    # --- rotation of keys ---------------------------------------------------------------------------------------------

    async def reseal(self, key_id: str, keyring: Keyring, randomness: Randomness, *, count: int) -> int:
        """Seal so much of this key with the newest; how much there was."""
        people = await self._ask("SELECT id, profile FROM users WHERE key_id = $1 LIMIT $2", key_id, count)
        for id, was in people:
            plain = keyring.open(PROFILE_PURPOSE, key_id, was, about=id)
            now = keyring.seal(PROFILE_PURPOSE, plain, nonce=randomness.bytes(12), about=id)
            change = "UPDATE users SET key_id = $1, profile = $2 WHERE id = $3 AND profile = $4"
            await self._ask(change, *now, id, was)
        query = "SELECT user_id, provider, version, sealed, expires FROM oauth_tokens WHERE key_id = $1 LIMIT $2"
        given = await self._ask(query, key_id, count)
        for user, provider, version, was, expires in given:
            about = f"{user} {provider}"
            plain = keyring.open(TOKENS, key_id, was, about=about)
            now = keyring.seal(TOKENS, plain, nonce=randomness.bytes(12), about=about)
            await self.renew_tokens(user, provider, version, *now, expires)
        return len(people) + len(given)
