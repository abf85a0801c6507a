"""Schema changes: numbered .sql files, each applied once, in order, under a lock that all hosts share.

A file that was applied is never edited afterwards: its checksum is kept, and a difference is refused, because nobody
could say any more what the tables look like. All that are missing are one transaction; hosts that start together wait
for the first of them, and then find nothing missing.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from gateway.adapters.postgres.sessions import Connection

_TABLE = """CREATE TABLE IF NOT EXISTS {table} (
    number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL)"""


class MigrationRefused(Exception):
    """The database was made by another version of the gateway; the message says which file disagrees."""


async def apply(connection: Connection, folder: str) -> list[str]:
    """Bring a schema up to date; the files that were applied. Raises MigrationRefused.

    Where nothing is missing nothing is written, so that who serves need not be allowed to make tables.
    """
    if not (await pending(connection, folder))[1]:
        return []
    table = f"migration_{folder}"
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '60s'")
            await connection.execute("SET LOCAL statement_timeout = '600s'")
            await connection.execute(f"SELECT pg_advisory_xact_lock(hashtext('{table} ' || current_schema()))")
            await connection.execute(_TABLE.format(table=table))
            missing = _missing(await _known(connection, table), folder)
            for number, name, text in missing:
                await connection.execute(text)
                insert = f"INSERT INTO {table} VALUES ($1, $2, $3)"  # noqa: S608 -- a name of ours
                await connection.execute(insert, number, name, _checksum(text))
    except asyncpg.InsufficientPrivilegeError as error:
        raise MigrationRefused(
            f"the tables must be brought up to date, and this login may not do that ({error.message}): `gateway db"
            " migrate` with the login of their owner"
        ) from error
    return [name for _, name, _ in missing]


async def pending(connection: Connection, folder: str) -> tuple[int, list[str]]:
    """The newest migration that was applied, 0 if none was; and the files that are missing. Raises MigrationRefused."""
    table = f"migration_{folder}"
    if await connection.fetchval("SELECT to_regclass($1)", table) is None:
        return 0, [name for _, name, _ in _files(folder)]
    known = await _known(connection, table)
    newest = max(known, default=0)
    return newest, [name for _, name, _ in _missing(known, folder)]


async def _known(connection: Connection, table: str) -> dict[int, tuple[str, str]]:
    rows = await connection.fetch(f"SELECT number, name, checksum FROM {table}")  # noqa: S608 -- a name of ours
    return {row["number"]: (row["name"], row["checksum"]) for row in rows}


def _missing(known: dict[int, tuple[str, str]], folder: str) -> list[tuple[int, str, str]]:
    """The files that were not applied yet, once it is sure that those which were are the ones we have."""
    missing = []
    for number, name, text in _files(folder):
        if number not in known:
            missing.append((number, name, text))
        elif known.pop(number)[1] != _checksum(text):
            raise MigrationRefused(f"migration {name} was changed after it had been applied")
    if known:
        newest = known[max(known)][0]
        raise MigrationRefused(
            f"the database has migration {newest}, which this version does not know: use a newer gateway"
        )
    return missing


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _files(folder: str) -> Iterator[tuple[int, str, str]]:
    for file in sorted((Path(__file__).parent / folder).iterdir()):
        if file.name.endswith(".sql"):
            yield int(file.name.partition("_")[0]), file.name, file.read_text()
