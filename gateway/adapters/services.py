"""Services, in the records of either kind, and those of the configuration. Both implement `ports.ServiceBook`."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from gateway.core.secrets import Secret
from gateway.core.services import Service, ServiceRole
from gateway.core.tokens import Peppers

_ALWAYS_MS = 2**62
Ask = Callable[..., Awaitable[Sequence[Any]]]
_COLUMNS = "name, role, digest, pepper_id, created, rotated, older, older_until, owner"
_ADD = f"""INSERT INTO service ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING RETURNING name"""  # noqa: S608 -- columns of our own
_ROTATE = """UPDATE service SET digest = $2, pepper_id = $3, rotated = $4, older = $5, older_until = $6
WHERE name = $1 AND digest = $7 RETURNING name"""


class ServiceRecords:
    """In a database that has the table of the migration `services`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def add_service(self, service: Service) -> bool:
        values = (service.name, service.role, service.digest, service.pepper_id, service.created_ms)
        more = (service.rotated_ms, service.older, service.older_until_ms, service.owner)
        return bool(await self._ask(_ADD, *values, *more))

    async def find_service(self, name: str) -> Service | None:
        query = f"SELECT {_COLUMNS} FROM service WHERE name = $1"  # noqa: S608
        return next((_service(row) for row in await self._ask(query, name)), None)

    async def services(self) -> list[Service]:
        return [_service(row) for row in await self._ask(f"SELECT {_COLUMNS} FROM service ORDER BY name")]  # noqa: S608

    async def rotate_service(self, before: Service, after: Service) -> bool:
        values = (after.digest, after.pepper_id, after.rotated_ms, after.older, after.older_until_ms)
        return bool(await self._ask(_ROTATE, before.name, *values, before.digest))

    async def drop_service(self, name: str) -> bool:
        return bool(await self._ask("DELETE FROM service WHERE name = $1 RETURNING name", name))


class ConfiguredServices:
    """Those of the configuration go first: of one name, what the records have is not heard."""

    def __init__(self, configured: Iterable[Service], book: ServiceRecords) -> None:
        self._configured = {one.name: one for one in configured}
        self._book = book

    async def find_service(self, name: str) -> Service | None:
        return self._configured.get(name) or await self._book.find_service(name)


def configured(named: Iterable[tuple[str, ServiceRole, str, Secret, Secret | None]], peppers: Peppers) -> list[Service]:
    """Name, role, owner, secret and the one before it, as they are compared. Nothing of them is written down."""
    return [
        Service(
            name,
            role,
            peppers.digest(secret.reveal()),
            peppers.newest_id,
            0,
            0,
            peppers.digest(older.reveal()) if older is not None else None,
            _ALWAYS_MS if older is not None else 0,
            owner,
        )
        for name, role, owner, secret, older in named
    ]


def _service(row: Sequence[Any]) -> Service:
    name, role, digest, pepper_id, created, rotated, older, until, owner = row
    kept = None if older is None else bytes(older)
    return Service(name, role, bytes(digest), pepper_id, created, rotated, kept, until, owner)
