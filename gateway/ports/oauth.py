"""What is on record of OAuth clients, of what people allowed them, and of what buys tokens."""

from typing import Protocol

from gateway.core.oauth import Access, Client, Consent, Ticket


class OAuthBook(Protocol):
    """Every call may raise RecordsUnavailable."""

    async def add_client(self, client: Client, *, now_ms: int, count_max: int) -> bool:
        """Put a client on record.

        If there are so many already, the oldest that nobody has allowed anything goes; False if there is none.
        """

    async def find_client(self, id: str) -> Client | None: ...

    async def note_key(self, client: str, key_id: str) -> None:
        """Of which key a client's secret is, if that is not on record yet."""

    async def drop_clients(self, *, before_ms: int) -> None:
        """Forget those that registered before that and that nobody has allowed anything."""

    async def add_consent(self, consent: Consent) -> None: ...

    async def has_consent(self, account: str, client: str) -> bool:
        """Whether an account has allowed a client something, and has not taken all of it back."""

    async def find_consent(self, grant: str) -> Consent | None: ...

    async def add_ticket(self, ticket: Ticket) -> None: ...

    async def find_ticket(self, digest: bytes) -> Ticket | None: ...

    async def use_ticket(self, digest: bytes, access: Access, refresh: Ticket, *, now_ms: int) -> bool:
        """Exchange a ticket for what it buys, all of it or nothing: who fails may come with it again.

        Of many at once, one is told True; all others, and whoever comes later, that it was used. Access tokens of the
        same grant that are over are forgotten.
        """

    async def abandoned(self, *, now_ms: int, count: int) -> list[Consent]:
        """Those whose code has expired and bought nothing."""

    async def drop_tickets(self, *, before_ms: int) -> None:
        """Forget those that expired before that: whoever shows one again is a stranger by then."""


class KnowsClients(Protocol):
    """Finds the programs that ask."""

    async def find(self, id: str, peer: str) -> Client:
        """Raises OAuthRefused, RateLimited, RecordsUnavailable."""
