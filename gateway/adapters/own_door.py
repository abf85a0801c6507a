"""Comes to the gateway's own door, as any caller would: over the socket that it listens on. Implements `ports.Door`.

What is asked this way is admitted, priced, held and settled by the same road as everything else, and nothing has to
be like it.
"""

import socket
from collections.abc import Mapping

import aiohttp
from yarl import URL

from gateway.ports import Door, Seen

_SECONDS_MAX = 30.0
SHOWN_BYTES_MAX = 65_536


def door_at(listening: socket.socket, *, tls: bool, host: str) -> Door:
    """The door of a gateway that listens there, and is called `host` by its callers."""
    return SocketDoor(listening.family, listening.getsockname(), tls=tls, host=host)


class SocketDoor:
    """`ssl` is not verified: it is a socket of this machine, and our own."""

    def __init__(self, family: int, address: object, *, tls: bool, host: str) -> None:
        self._address = address
        self._is_unix = family == socket.AF_UNIX
        self._tls = tls
        self._host = host

    async def ask(self, method: str, target: str, fields: Mapping[str, str], body: bytes) -> Seen | None:
        connector: aiohttp.BaseConnector
        if self._is_unix:
            connector, place = aiohttp.UnixConnector(str(self._address)), "localhost"
        else:
            assert isinstance(self._address, tuple)  # as every socket but a unix one says
            named, port = str(self._address[0]), int(self._address[1])
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(named, named)  # noqa: S104 -- read, not bound
            connector, place = aiohttp.TCPConnector(ssl=False), f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        scheme = "https" if self._tls else "http"
        timeout = aiohttp.ClientTimeout(total=_SECONDS_MAX)
        url = URL(f"{scheme}://{place}{target}", encoded=True)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=True) as session,
                session.request(
                    method, url, headers={**fields, "Host": self._host}, data=body or None, allow_redirects=False
                ) as answer,
            ):
                content = bytearray()
                async for chunk in answer.content.iter_any():
                    content += chunk
                    if len(content) > SHOWN_BYTES_MAX:
                        break
                heads = tuple((name, value) for name, value in answer.headers.items())
                return Seen(answer.status, heads, bytes(content[:SHOWN_BYTES_MAX]), len(content) > SHOWN_BYTES_MAX)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None
