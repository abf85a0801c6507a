"""The contenders that one builds by hand: nginx with Lua (`handmade.lua`) and Redis.

They do what a priced route with a limit does: they take the token from `Authorization`, hash it with a key (nginx's own
`ngx.hmac_sha1`; the gateway takes HMAC-SHA256), count a fixed window, take the price without ever overdrawing, and pass
the request on without the token. Redis writes each change to its file and syncs it once a second, so that a crash loses
a second; it shares the contender's core. Both have books, too: they must have lost exactly what was served.

There are two, because how Redis is asked makes half as much again: *plain* uses the usual library over TCP, a counter
for the window and a script for the money; *tuned* has one script for both, a Unix socket, and no library.

    apt-get install libnginx-mod-http-lua lua-nginx-redis redis-server
"""

import hmac
import shutil
import socket
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import nginx
from tests.bench.processes import BenchFailed, Child, Processes, free_port

MISSING = (
    "nginx with Lua and Redis is left out: it takes nginx's Lua module, its library for Redis, and a Redis, such as"
    " `apt-get install libnginx-mod-http-lua lua-nginx-redis redis-server`."
)


@dataclass(frozen=True, slots=True)
class Way:
    """One of the ways to ask Redis: a row of the table, and the module that does it."""

    name: str
    title: str
    module: str


PLAIN = Way("handmade", "nginx + Lua + Redis, with a limit", "handmade_plain")
TUNED = Way("tuned", "the same, tuned: one script, Unix socket", "handmade_tuned")
WAYS = (PLAIN, TUNED)

_PRICE_MICROS = 1_000
_BALANCE_MICROS = 10**12
_LIMIT = 1_000_000
_WINDOW_SECONDS = 60
_PEPPER = "of the bench"
_SOCKET = "redis.sock"
_MODULES = ("ndk_http_module", "ngx_http_lua_module")
_LIBRARY = tuple(
    folder / name
    for folder in (Path("/usr/share/lua/5.1"), Path("/usr/local/share/lua/5.1"), Path("/usr/local/openresty/lualib"))
    for name in ("nginx/redis.lua", "resty/redis.lua")
)

_PLACES = """
    lua_package_path "{folder}/?.lua;;";
    lua_socket_log_errors off;
    init_by_lua_block {{
        handmade = require("handmade")
        handmade.configure({{
            way = "{way}", redis = "unix:{socket}", port = {redis_port}, pepper = "{pepper}",
            price_micros = {price}, limit = {limit}, window_seconds = {seconds},
        }})
    }}
"""

_MORE = """
            access_by_lua_block { handmade.access() }
            proxy_set_header Authorization "";
"""


def version() -> str | None:
    """Redis' own; None where something is missing."""
    if _lua() is None or (redis := _redis()) is None or not any(map(Path.exists, _LIBRARY)):
        return None
    said = subprocess.run([redis, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    return next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), said.strip())


class Handmade:
    """nginx and Redis, running, and accounts with money for these tokens."""

    def __init__(self, processes: Processes, way: Way, *, upstream_port: int, tokens: Sequence[str]) -> None:
        lua, redis = _lua(), _redis()
        if lua is None or redis is None:
            raise BenchFailed(MISSING)
        self.port = free_port()
        self._redis_port = free_port()
        folder = processes.home / f"redis-{way.name}"
        folder.mkdir()
        self.redis = processes.start(
            folder.name, _redis_command(redis, folder, self._redis_port), on=processes.pins.contender
        )
        self.redis.wait_for(self._redis_port)
        self._accounts = [f"balance:{_digest(token)}" for token in tokens]
        self._ask(("SET", account, str(_BALANCE_MICROS)) for account in self._accounts)
        places = _PLACES.format(
            folder=Path(__file__).parent, way=way.module, socket=folder / _SOCKET, redis_port=self._redis_port,
            pepper=_PEPPER, price=_PRICE_MICROS, limit=_LIMIT, seconds=_WINDOW_SECONDS,
        )  # fmt: skip
        places += nginx.proxying(port=self.port, upstream=upstream_port, more=_MORE)
        self.nginx: Child = processes.start(
            way.name,
            nginx.command(lua[0], processes.home, way.name, places, load=lua[1]),
            on=processes.pins.contender,
        )
        self.nginx.wait_for(self.port)

    def prove(self, served: int) -> None:
        """The accounts must have lost the price of each request that was served. Raises BenchFailed."""
        left = sum(int(balance) for balance in self._ask(("GET", account) for account in self._accounts))
        spent = len(self._accounts) * _BALANCE_MICROS - left
        if spent != served * _PRICE_MICROS:
            raise BenchFailed(
                f"nginx, Lua and Redis served {served} requests for {served * _PRICE_MICROS} micros, but {spent} are"
                " gone from the accounts in Redis"
            )

    def _ask(self, commands: Iterable[Sequence[str]]) -> list[bytes]:
        """All of them at once, and a plain answer to each."""
        asked = list(commands)
        with socket.create_connection(("127.0.0.1", self._redis_port), timeout=10) as connection:
            connection.sendall(b"".join(map(_encoded, asked)))
            with connection.makefile("rb") as answers:
                return [_plain(answers.readline(), answers.readline) for _ in asked]


def _lua() -> tuple[str, tuple[Path, ...]] | None:
    program = nginx.program()
    load = nginx.modules(program, *_MODULES) if program else ()
    return (program, load) if program and load else None


def _redis() -> str | None:
    return shutil.which("redis-server") or shutil.which("valkey-server")


def _redis_command(program: str, folder: Path, port: int) -> list[str]:
    options = {
        "bind": "127.0.0.1",
        "port": str(port),
        "unixsocket": str(folder / _SOCKET),
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }
    return [program, *(word for name, value in options.items() for word in (f"--{name}", value))]


def _digest(token: str) -> str:
    return b64encode(hmac.digest(_PEPPER.encode(), token.encode(), "sha1")).decode()


def _encoded(words: Sequence[str]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)


def _plain(line: bytes, readline: Callable[[], bytes]) -> bytes:
    """An answer that is a word or a text."""
    if line.startswith(b"+"):
        return line[1:].strip()
    if line.startswith(b"$") and not line.startswith(b"$-"):
        return readline().strip()
    raise BenchFailed(f"Redis answered {line!r}")
