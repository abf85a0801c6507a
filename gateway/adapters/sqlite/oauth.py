"""OAuth clients, consents and tickets, in the records' file. Implements `ports.OAuthBook`."""

from collections.abc import Awaitable, Callable

from gateway.adapters.sqlite.keyroll import Read, Write
from gateway.core import oauth_columns
from gateway.core.oauth import Access, Client, Consent, Ticket
from gateway.core.oauth_columns import CLIENT, CONSENT, TICKET

Together = Callable[..., Awaitable[bool]]
_IDLE = "NOT EXISTS (SELECT 1 FROM oauth_consent WHERE client = oauth_client.id)"
_ADD_CLIENT = f"""INSERT INTO oauth_client ({CLIENT}, made) SELECT ?1, ?2, ?3, ?4, ?5, ?6
WHERE (SELECT count(*) FROM oauth_client) < ?7 OR EXISTS (SELECT 1 FROM oauth_client WHERE {_IDLE})
ON CONFLICT DO NOTHING"""
_MAKE_ROOM = f"""DELETE FROM oauth_client WHERE id IN (
    SELECT id FROM oauth_client WHERE id <> ?1 AND {_IDLE} ORDER BY made, id
    LIMIT max((SELECT count(*) FROM oauth_client) - ?2, 0)
)"""
_DROP_CLIENTS = f"DELETE FROM oauth_client WHERE made < ? AND {_IDLE}"
_ADD_CONSENT = f"INSERT INTO oauth_consent ({CONSENT}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_HAS_CONSENT = """SELECT 1 FROM oauth_consent consent JOIN token_grant allowed ON allowed.id = consent.token_grant
WHERE client = ? AND consent.account = ? AND allowed.revoked IS NULL LIMIT 1"""
_ADD_TICKET = f"INSERT INTO oauth_ticket ({TICKET}) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_USE = "UPDATE oauth_ticket SET used = ? WHERE digest = ? AND used IS NULL"
_ABANDONED = """SELECT consent.token_grant, consent.account, client, resource, scopes, at
FROM oauth_ticket ticket JOIN oauth_consent consent USING (token_grant)
JOIN token_grant allowed ON allowed.id = token_grant AND allowed.revoked IS NULL
WHERE ticket.kind = 'code' AND ticket.used IS NULL AND ticket.expires < ?
ORDER BY ticket.expires LIMIT ?"""
_ADD_ACCESS = """INSERT INTO token (access_token_hash, account, pepper_id, created, expires, grant_id)
SELECT ?, account, ?, ?, ?, id FROM token_grant WHERE id = ? ON CONFLICT DO NOTHING"""
_DROP_ACCESS = "DELETE FROM token WHERE grant_id = ? AND expires < ?"


class SqliteOAuth:
    """Reads and writes as the records do."""

    def __init__(self, read: Read, write: Write, together: Together) -> None:
        self._read = read
        self._write = write
        self._together = together

    async def add_client(self, client: Client, *, now_ms: int, count_max: int) -> bool:
        new = (*oauth_columns.of_client(client), now_ms, count_max)
        return await self._together((_ADD_CLIENT, new), (_MAKE_ROOM, (client.id, count_max)))

    async def find_client(self, id: str) -> Client | None:
        rows = await self._read(f"SELECT {CLIENT} FROM oauth_client WHERE id = ?", (id,))
        return next((oauth_columns.client(row) for row in rows), None)

    async def note_key(self, client: str, key_id: str) -> None:
        await self._write("UPDATE oauth_client SET key_id = ? WHERE id = ? AND key_id IS NULL", (key_id, client))

    async def drop_clients(self, *, before_ms: int) -> None:
        await self._write(_DROP_CLIENTS, (before_ms,))

    async def add_consent(self, consent: Consent) -> None:
        await self._write(_ADD_CONSENT, oauth_columns.of_consent(consent))

    async def has_consent(self, account: str, client: str) -> bool:
        return bool(await self._read(_HAS_CONSENT, (client, account)))

    async def find_consent(self, grant: str) -> Consent | None:
        rows = await self._read(f"SELECT {CONSENT} FROM oauth_consent WHERE token_grant = ?", (grant,))
        return next((oauth_columns.consent(row) for row in rows), None)

    async def add_ticket(self, ticket: Ticket) -> None:
        await self._write(_ADD_TICKET, oauth_columns.of_ticket(ticket))

    async def find_ticket(self, digest: bytes) -> Ticket | None:
        rows = await self._read(f"SELECT {TICKET} FROM oauth_ticket WHERE digest = ?", (digest,))
        return next((oauth_columns.ticket(row) for row in rows), None)

    async def use_ticket(self, digest: bytes, access: Access, refresh: Ticket, *, now_ms: int) -> bool:
        secret = (access.digest, access.pepper_id, now_ms, access.expires_ms, refresh.grant)
        return await self._together(
            (_USE, (now_ms, digest)),
            (_DROP_ACCESS, (refresh.grant, now_ms)),
            (_ADD_ACCESS, secret),
            (_ADD_TICKET, oauth_columns.of_ticket(refresh)),
        )

    async def abandoned(self, *, now_ms: int, count: int) -> list[Consent]:
        return [oauth_columns.consent(row) for row in await self._read(_ABANDONED, (now_ms, count))]

    async def drop_tickets(self, *, before_ms: int) -> None:
        await self._write("DELETE FROM oauth_ticket WHERE expires < ?", (before_ms,))
