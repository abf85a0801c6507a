"""The PostgreSQL roles that we ship: who serves fills the tables, and can do nothing else to them."""

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession
from click.testing import CliRunner

from gateway.cli import main
from gateway.demo.upstreams import ToyUpstream, weather
from tests.gateway_process import running
from tests.postgres_server import Server
from tests.stories import test_many_hosts

HOME = Path(__file__).parents[2] / "docker"
ROLES = (HOME / "postgres-roles.sql").read_text()
FORBIDDEN = (
    "DROP TABLE trail",
    "TRUNCATE batch",
    "ALTER TABLE trail DISABLE TRIGGER ALL",
    "ALTER TABLE account ADD COLUMN extra int",
    "CREATE TABLE extra (one int)",
    "DROP FUNCTION trail_stays() CASCADE",
    "SET ROLE farebox_owner",
)


@pytest.fixture
async def upstream() -> AsyncIterator[ToyUpstream]:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    yield toy
    await toy.stop()


@pytest.fixture
async def address(postgres: Server, tmp_path: Path) -> str:
    """Of a database with the roles, and with logins as the file says: `{}` is who."""
    connection = await asyncpg.connect(postgres.dsn())
    try:
        await connection.execute("CREATE DATABASE farebox")
    finally:
        await connection.close()
    dsn = f"postgresql://{{}}@127.0.0.1:{postgres.port}/farebox"
    await executes(dsn, "postgres", ROLES, "CREATE ROLE auditor LOGIN IN ROLE farebox_auditor")
    await asyncio.to_thread(make_logins, postgres, tmp_path)
    return dsn


def make_logins(postgres: Server, shared: Path) -> None:
    """As the containers do it."""
    for name in ("owner", "app"):
        (shared / name).write_text(f"made for {name}")
    said = {"PATH": f"{postgres.bin}:{os.environ['PATH']}", "PGHOST": "127.0.0.1", "PGPORT": str(postgres.port)}
    said |= {"POSTGRES_DB": "farebox", "POSTGRES_USER": "postgres", "SHARED": str(shared)}
    subprocess.run(["sh", HOME / "postgres-logins.sh"], env=said, check=True, capture_output=True)


async def executes(dsn: str, login: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn.format(login))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def types(file: Path, *words: str, code: int = 0) -> Any:
    done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--config", str(file), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code != 3 else done.output


async def test_who_serves_fills_the_tables_and_does_nothing_else_to_them(
    tmp_path: Path, upstream: ToyUpstream, address: str
) -> None:
    owner, _ = test_many_hosts.write(tmp_path, "owner", address.format("gateway_migrate"), upstream.url)
    file, settings = test_many_hosts.write(tmp_path, "one", address.format("gateway"), upstream.url)
    assert "with the login of their owner" in await types(file, "db", "migrate", code=3)
    pending = [part["files"] for part in (await types(owner, "db", "migrate", "--dry-run"))["parts"]]
    assert [part["files"] for part in (await types(owner, "db", "migrate"))["parts"]] == pending
    assert all(pending)
    assert [part["files"] for part in (await types(file, "db", "migrate"))["parts"]] == [[], []], "nothing is missing"

    [caller] = await test_many_hosts.fund(settings, "1.00 usd", count=1)
    async with running(file), ClientSession(f"http://{settings.listen[0]}:{settings.listen[1]}") as session:  # type: ignore[index]
        async with session.get("/paid/oslo", headers=caller.headers) as answer:
            assert answer.status == 200
        await types(file, "account", "freeze", caller.account, "--reason", "leaked")
    assert (await types(file, "audit", "verify"))["clean"]
    await types(file, "ledger", "fold")
    done = await types(file, "erase", "--account", caller.account, code=1)
    held = set(done["files_hold"]["not_ours"])
    assert {"token_grant", "users"} <= held, "who serves cannot make a table anew, and says so"
    assert (await types(owner, "erase", "--account", caller.account))["files_hold"] == {"not_ours": [], "in_use": []}
    for login in ("gateway", "auditor"):
        for statement in (*FORBIDDEN, *(("DELETE FROM batch",) if login == "auditor" else ())):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await executes(address, login, statement)
    auditors, _ = test_many_hosts.write(tmp_path, "auditor", address.format("auditor"), upstream.url)
    assert (await types(auditors, "audit"))["clean"]
