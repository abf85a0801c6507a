"""Connections to PostgreSQL: bounded in time, durable in what they commit, silent about their address.

The address may hold a password, so nothing that is said of a failure quotes it: messages name the host and the
database, and otherwise only what the server itself said. Every statement is bounded twice: by the server, which ends
what takes too long, and by us, because a server that stands still, or is behind a broken network, bounds nothing.

`synchronous_commit` is raised to `on` where it is less: an acknowledged commit is on disk (and, with a synchronous
standby, on its disk too). An operator's `remote_apply` stays.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import asyncpg

from gateway.core.secrets import Secret

T = TypeVar("T")
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

FENCED = "GW001"
DISORDER = "GW002"
PROBLEMS = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError, EOFError)
"""Whatever may come of asking a server."""

_OF_PROGRAMS = frozenset(
    "host port dbname user passfile service connect_timeout sslmode sslrootcert sslcert sslkey sslcrl"
    " ssl_min_protocol_version ssl_max_protocol_version target_session_attrs krbsrvname gsslib".split()
)
"""What may stand in an address for every program; what else stands there are settings of ours for the server."""
_ASKED_SECONDS = 2.0
_RETRY_SECONDS = 0.2
_MISSED_SECONDS = 1.0
_DURABLE = """SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long things may take, in seconds."""

    connect: float = 3.0
    statement: float = 4.0
    """By the server."""
    answer: float = 5.0
    """By us: what is not answered by then is taken for lost."""


class Address:
    """Where the database is. `password` stands in for one that the address does not have."""

    def __init__(self, dsn: Secret, *, password: Secret | None = None, bounds: Bounds | None = None) -> None:
        self._dsn = dsn
        self._password = password
        self.bounds = bounds or Bounds()
        self.name = _name(dsn.reveal())

    async def connect(self, purpose: str) -> Connection:
        """A connection of our own. Raises one of PROBLEMS."""
        async with asyncio.timeout(self.bounds.connect):
            connection: Connection = await asyncpg.connect(self._dsn.reveal(), **self._options(purpose))
        try:
            async with asyncio.timeout(self.bounds.connect):
                await _make_durable(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def pool(self, purpose: str, *, connections_max: int) -> "asyncpg.Pool[asyncpg.Record]":
        """So many connections at most, taken one statement at a time. Raises one of PROBLEMS."""
        async with asyncio.timeout(self.bounds.connect):
            return await asyncpg.create_pool(
                self._dsn.reveal(),
                min_size=1,
                max_size=connections_max,
                command_timeout=self.bounds.answer,
                init=_make_durable,
                **self._options(purpose),
            )

    def _options(self, purpose: str) -> dict[str, Any]:
        bounds = self.bounds
        password = {"password": self._password.reveal()} if self._password is not None else {}
        return {
            **password,
            "timeout": bounds.connect,
            "server_settings": {
                "application_name": f"gateway {purpose}"[:63],
                "statement_timeout": f"{int(bounds.statement * 1000)}",
                "lock_timeout": f"{int(bounds.statement * 1000)}",
                "idle_in_transaction_session_timeout": f"{int(bounds.answer * 1000)}",
                "default_transaction_isolation": "read committed",
                "jit": "off",
            },
        }

    def for_programs(self) -> tuple[str, dict[str, str]]:
        """The address as PostgreSQL's own programs take it, without a password, and the environment that has it."""
        parts = urlsplit(self._dsn.reveal())
        user, _, host = parts.netloc.rpartition("@")
        name, _, given = user.partition(":")
        query = dict(parse_qsl(parts.query))
        password = self._password.reveal() if self._password is not None else query.get("password", unquote(given))
        kept = urlencode({name: value for name, value in query.items() if name in _OF_PROGRAMS})
        address = f"{parts.scheme}://{f'{name}@' if name else ''}{host}{parts.path}{'?' if kept else ''}{kept}"
        return address, {"PGPASSWORD": password} if password else {}

    def told(self, error: BaseException) -> str:
        """What is said of a failure: who, and what the server says, and never the address."""
        if isinstance(error, asyncpg.PostgresError):
            words = str(error).splitlines()[0] if str(error) else type(error).__name__
        elif isinstance(error, TimeoutError):
            words = "it does not answer"
        elif isinstance(error, OSError):
            words = (error.strerror or type(error).__name__).lower()
        else:
            words = type(error).__name__
        return f"{self.name}: {words}"


class Session:
    """One connection, one thing at a time. What is not answered in time takes the connection with it."""

    def __init__(self, address: Address, purpose: str) -> None:
        self._address = address
        self._purpose = purpose
        self.connection: Connection | None = None

    async def connect(self) -> Connection:
        """A new connection in place of the old one. Raises one of PROBLEMS."""
        self.drop()
        self.connection = await self._address.connect(self._purpose)
        return self.connection

    def drop(self) -> None:
        """Let go at once, whatever is under way."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.terminate()

    async def do(self, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
        """Raises one of PROBLEMS. Not cancelled with its caller: a statement that was sent is waited for."""
        connection = self.connection
        if connection is None or connection.is_closed():
            raise asyncpg.InterfaceError("there is no connection")
        task = asyncio.get_running_loop().create_task(work(connection))
        done, _ = await asyncio.wait([task], timeout=self._address.bounds.answer)
        if not done:
            connection.terminate()  # no cancel request: it would wait for the same server
            await asyncio.wait([task], timeout=1)
            task.cancel()
            raise TimeoutError
        return task.result()

    async def close(self) -> None:
        """Say goodbye, briefly."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        try:
            await connection.close(timeout=1)
        except PROBLEMS:
            connection.terminate()


class Ear:
    """Listens on a channel, and goes on listening. `heard` is called with each message.

    That its connection ends it hears at once. One that says nothing may be one that hears nothing, so it is asked now
    and then.
    """

    def __init__(self, address: Address, purpose: str, *, channel: str, heard: Callable[[str], None]) -> None:
        self._address = address
        self._session = Session(address, purpose)
        self._channel = channel
        self._heard = heard
        self._task: asyncio.Task[None] | None = None
        self._cut = asyncio.Event()
        self.missed: Callable[[], None] = lambda: None
        """Called when it listens again after it could not: something may have been said meanwhile.

        And now and then while it cannot, for those who can do something else than listen.
        """

    async def open(self) -> None:
        """Listen. Raises one of PROBLEMS if that cannot be begun."""
        await self._listen()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="listen to the database")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._session.close()

    def doubt(self) -> None:
        """Something may have been missed: listen anew, at once."""
        self._cut.set()

    async def _listen(self) -> None:
        connection = await self._session.connect()
        self._cut.clear()
        connection.add_termination_listener(self._ended)
        await self._session.do(lambda found: found.add_listener(self._channel, self._take))

    def _ended(self, connection: object) -> None:
        if connection is self._session.connection:
            self._cut.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        told_until = 0.0
        while True:
            cut = await self._is_cut()
            try:
                if cut:
                    await self._listen()
                    self.missed()
                else:
                    await self._session.do(_is_there)
            except PROBLEMS:
                self._session.drop()
                self._cut.set()
                if loop.time() >= told_until:
                    told_until = loop.time() + _MISSED_SECONDS
                    self.missed()
                if cut:
                    await asyncio.sleep(_RETRY_SECONDS)

    async def _is_cut(self) -> bool:
        """Whether it is known to hear nothing; else as soon as it is known, or in a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_ASKED_SECONDS):
                await self._cut.wait()
        return self._cut.is_set()

    def _take(self, connection: object, pid: int, channel: str, message: object) -> None:
        self._heard(str(message))


async def _make_durable(connection: Connection) -> None:
    await connection.execute(_DURABLE)


async def _is_there(connection: Connection) -> None:
    await connection.execute("SELECT 1")


def _name(dsn: str) -> str:
    """Host and database: what may be said of an address."""
    try:
        parts = urlsplit(dsn)
        host = parts.netloc.rpartition("@")[2]
        return unquote(f"postgresql://{host}{parts.path}")
    except ValueError:
        return "postgresql"
