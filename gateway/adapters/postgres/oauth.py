"""OAuth clients, consents and tickets, among the records that hosts share. Implements `ports.OAuthBook`."""

from gateway.adapters.postgres.keyroll import Do
from gateway.core import oauth_columns
from gateway.core.oauth import Access, Client, Consent, Ticket
from gateway.core.oauth_columns import CLIENT, CONSENT, TICKET

_IDLE = "NOT EXISTS (SELECT 1 FROM oauth_consent WHERE client = oauth_client.id)"
_ADD_CLIENT = f"""WITH oldest AS (
    SELECT id FROM oauth_client WHERE {_IDLE} ORDER BY made, id
    LIMIT greatest((SELECT count(*) FROM oauth_client) - $7 + 1, 0) FOR UPDATE SKIP LOCKED
), dropped AS (
    DELETE FROM oauth_client USING oldest WHERE oauth_client.id = oldest.id RETURNING oauth_client.id
)
INSERT INTO oauth_client ({CLIENT}, made) SELECT $1, $2, $3, $4, $5, $6
WHERE (SELECT count(*) FROM oauth_client) - (SELECT count(*) FROM dropped) < $7 ON CONFLICT DO NOTHING RETURNING id"""
_DROP_CLIENTS = f"DELETE FROM oauth_client WHERE made < $1 AND {_IDLE}"
_ADD_CONSENT = f"INSERT INTO oauth_consent ({CONSENT}) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
_HAS_CONSENT = """SELECT 1 FROM oauth_consent consent JOIN token_grant allowed ON allowed.id = consent.token_grant
WHERE client = $1 AND consent.account = $2 AND allowed.revoked IS NULL LIMIT 1"""
_ADD_TICKET = f"INSERT INTO oauth_ticket ({TICKET}) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
_USE = f"""WITH used AS (
    UPDATE oauth_ticket SET used = $2 WHERE digest = $1 AND used IS NULL RETURNING token_grant
), dropped AS (
    DELETE FROM token USING used WHERE grant_id = token_grant AND expires < $2
), access AS (
    INSERT INTO token (access_token_hash, account, pepper_id, created, expires, grant_id)
    SELECT $3, account, $4, $2, $5, id FROM token_grant JOIN used ON id = token_grant ON CONFLICT DO NOTHING
), refresh AS (
    INSERT INTO oauth_ticket ({TICKET}) SELECT $6, $7, $8, $9, $10, $11, $12 FROM used ON CONFLICT DO NOTHING
) SELECT token_grant FROM used"""
_ABANDONED = """SELECT consent.token_grant, consent.account, client, resource, scopes, at
FROM oauth_ticket ticket JOIN oauth_consent consent USING (token_grant)
JOIN token_grant allowed ON allowed.id = token_grant AND allowed.revoked IS NULL
WHERE ticket.kind = 'code' AND ticket.used IS NULL AND ticket.expires < $1
ORDER BY ticket.expires LIMIT $2"""


class PostgresOAuth:
    """Reads and writes as the records do."""

    def __init__(self, do: Do) -> None:
        self._do = do

    async def add_client(self, client: Client, *, now_ms: int, count_max: int) -> bool:
        return bool(await self._do(_ADD_CLIENT, *oauth_columns.of_client(client), now_ms, count_max))

    async def find_client(self, id: str) -> Client | None:
        rows = await self._do(f"SELECT {CLIENT} FROM oauth_client WHERE id = $1", id)
        return next((oauth_columns.client(tuple(row)) for row in rows), None)

    async def note_key(self, client: str, key_id: str) -> None:
        await self._do("UPDATE oauth_client SET key_id = $2 WHERE id = $1 AND key_id IS NULL", client, key_id)

    async def drop_clients(self, *, before_ms: int) -> None:
        await self._do(_DROP_CLIENTS, before_ms)

    async def add_consent(self, consent: Consent) -> None:
        await self._do(_ADD_CONSENT, *oauth_columns.of_consent(consent))

    async def has_consent(self, account: str, client: str) -> bool:
        return bool(await self._do(_HAS_CONSENT, client, account))

    async def find_consent(self, grant: str) -> Consent | None:
        rows = await self._do(f"SELECT {CONSENT} FROM oauth_consent WHERE token_grant = $1", grant)
        return next((oauth_columns.consent(tuple(row)) for row in rows), None)

    async def add_ticket(self, ticket: Ticket) -> None:
        await self._do(_ADD_TICKET, *oauth_columns.of_ticket(ticket))

    async def find_ticket(self, digest: bytes) -> Ticket | None:
        rows = await self._do(f"SELECT {TICKET} FROM oauth_ticket WHERE digest = $1", digest)
        return next((oauth_columns.ticket(tuple(row)) for row in rows), None)

    async def use_ticket(self, digest: bytes, access: Access, refresh: Ticket, *, now_ms: int) -> bool:
        secret = (access.digest, access.pepper_id, access.expires_ms)
        return bool(await self._do(_USE, digest, now_ms, *secret, *oauth_columns.of_ticket(refresh)))

    async def abandoned(self, *, now_ms: int, count: int) -> list[Consent]:
        return [oauth_columns.consent(tuple(row)) for row in await self._do(_ABANDONED, now_ms, count)]

    async def drop_tickets(self, *, before_ms: int) -> None:
        await self._do("DELETE FROM oauth_ticket WHERE expires < $1", before_ms)
