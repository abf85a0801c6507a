"""A copy of the books and the records, as they are at one moment, by PostgreSQL's own `pg_dump`.

It reads one snapshot, while hosts write. Beside it goes the head of this host's chain, read before, so that the head
lags behind the copy and never leads it. The folder is complete or it is not there.

What `pg_dump` is told is seen by everybody on the machine, so the password goes into its environment. A server's whole
cluster, with its log, for a restore to any moment, is what `pg_basebackup` and an archive are for; this is for one
gateway's tables, to be put into any database.
"""

import asyncio
import hashlib
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from gateway.adapters.postgres.sessions import PROBLEMS, Address
from gateway.ports import BackupRefused, CopiedFile, KeptFile

PROGRAM = "pg_dump"
FILE = "gateway.dump"
SUMS = "SHA256SUMS"
_WORDS_MAX = 400


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied: the tables of one schema, and the head of a host's chain if it has one."""

    folder: Path
    schema: str
    files: tuple[CopiedFile, ...]
    seconds: float


async def back_up(address: Address, folder: Path, *, head: KeptFile) -> Backup:
    """Copy into a new folder. Raises BackupRefused."""
    begun = time.monotonic()
    partial = folder.with_name(f"{folder.name}.partial")
    for there in (folder, partial):
        if there.exists() or there.is_symlink():
            raise BackupRefused(f"{there} exists, and a backup writes over nothing: name a new folder")
    schema = await _schema(address)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir(mode=0o700)
        try:
            if (text := head.read()) is not None:
                _write(partial / Path(head.name).name, text)
            await _dump(address, schema, partial / FILE)
            files = _sum_up(partial)
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial)
            raise
        _sync(folder.parent)
    except OSError as error:
        raise BackupRefused(f"{error}; nothing was kept") from error
    return Backup(folder, schema, files, time.monotonic() - begun)


async def _schema(address: Address) -> str:
    """Where the tables are."""
    try:
        connection = await address.connect("backup")
        try:
            if await connection.fetchval("SELECT to_regclass('batch') IS NULL"):
                raise BackupRefused(f"{address.name} holds no books")
            return str(await connection.fetchval("SELECT current_schema()"))
        finally:
            await connection.close(timeout=1)
    except PROBLEMS as error:
        raise BackupRefused(address.told(error)) from error


async def _dump(address: Address, schema: str, to: Path) -> None:
    dsn, environ = address.for_programs()
    arguments = ["--format=custom", "--no-owner", "--no-privileges", "--no-password", f"--schema={_quoted(schema)}"]
    program = shutil.which(PROGRAM)
    if program is None:
        command = " ".join([PROGRAM, *arguments, f"--file={FILE}", f"'{dsn}'"])
        raise BackupRefused(
            f"{PROGRAM} is not on this machine (Debian: apt install postgresql-client). On one that has it: {command}"
        )
    _write(to, b"")  # readable by its owner only, from its first byte on
    dumping = await asyncio.create_subprocess_exec(
        program, *arguments, f"--file={to}", dsn, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE, env={**os.environ, **environ},
    )  # fmt: skip
    try:
        _, said = await dumping.communicate()
    except BaseException:
        dumping.kill()
        await dumping.wait()
        raise
    if dumping.returncode:
        words = " ".join(said.decode(errors="replace").split())[:_WORDS_MAX]
        raise BackupRefused(f"{words or f'{PROGRAM} failed'}; nothing was kept")
    _sync(to)


def _quoted(schema: str) -> str:
    """As a pattern that names exactly this one."""
    return '"' + schema.replace('"', '""') + '"'


def _sum_up(folder: Path) -> tuple[CopiedFile, ...]:
    files = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            files.append(CopiedFile(path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()))
    _write(folder / SUMS, "".join(f"{file.sha256}  {file.name}\n" for file in files).encode())
    _sync(folder)
    return tuple(files)


def _write(path: Path, contents: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(contents)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
