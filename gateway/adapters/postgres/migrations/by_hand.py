"""Migrations when an operator asks for them, not when a gateway starts."""

from dataclasses import dataclass

from gateway.adapters.postgres.migrations import apply, pending
from gateway.adapters.postgres.sessions import PROBLEMS, Address
from gateway.ports import StoreFailed


@dataclass(frozen=True, slots=True)
class Part:
    """The books or the records: the newest migration that they had, and the files that were, or are to be, applied."""

    name: str
    schema: int
    files: list[str]


async def migrate(address: Address, *, dry_run: bool) -> list[Part]:
    """Bring all tables up to date, or only say what is missing. Raises StoreFailed, MigrationRefused."""
    parts = []
    try:
        connection = await address.connect("migrations")
        try:
            for folder in ("ledger", "records"):
                schema, missing = await pending(connection, folder)
                parts.append(Part(folder, schema, missing if dry_run else await apply(connection, folder)))
        finally:
            await connection.close(timeout=1)
    except PROBLEMS as error:
        raise StoreFailed(address.told(error)) from error
    return parts
