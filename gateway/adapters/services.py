"""Services, in the records of either kind. Implements `ports.ServiceBook`."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.core.services import Service

Ask = Callable[..., Awaitable[Sequence[Any]]]
_COLUMNS = "name, role, digest, pepper_id, created, rotated, older, older_until"
_ADD = f"""INSERT INTO service ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING RETURNING name"""  # noqa: S608 -- columns of our own
_ROTATE = """UPDATE service SET digest = $2, pepper_id = $3, rotated = $4, older = $5, older_until = $6
WHERE name = $1 AND digest = $7 RETURNING name"""


class ServiceRecords:
    """In a database that has the table of the migration `services`."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    async def add_service(self, service: Service) -> bool:
        values = (service.name, service.role, service.digest, service.pepper_id, service.created_ms)
        more = (service.rotated_ms, service.older, service.older_until_ms)
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


def _service(row: Sequence[Any]) -> Service:
    name, role, digest, pepper_id, created, rotated, older, until = row
    kept = None if older is None else bytes(older)
    return Service(name, role, bytes(digest), pepper_id, created, rotated, kept, until)
