"""What a parent and its processes say to each other: small frames over a pair of sockets.

A process says that it is alive every second, and when it is ready. The end of the channel is the end of the other side:
a process whose parent is gone stops, and a parent need not be told that a process has ended.
"""

import asyncio
import json
import socket
from collections.abc import Callable
from enum import IntEnum
from typing import Any, cast

from gateway.adapters.interprocess.frames import FrameReader, frame

BEAT_SECONDS = 1.0


class Word(IntEnum):
    """What is said. The first ones by a process, the others by its parent."""

    ALIVE = 1
    READY = 2
    ASKED = 3  # the keeper, for an operator: `reload` or `restart`
    RELOADED = 4
    RELOAD = 16
    OUTCOME = 17
    LEAVE = 18
    """A worker is replaced: serve what is under way and whoever still comes on an idle connection."""
    STOP = 19


def written(word: Word, contents: Any = None) -> bytes:
    """One message."""
    return frame(word, json.dumps(contents).encode())  # type: ignore[arg-type]


class Messages:
    """Reads messages out of what arrives."""

    def __init__(self) -> None:
        self._reader = FrameReader()

    def feed(self, data: bytes) -> list[tuple[Word, Any]]:
        return [(Word(kind), json.loads(contents)) for kind, contents in self._reader.feed(data)]


class ToParent(asyncio.Protocol):
    """A process's end. `told` hears every message; `orphaned` is called when the parent is gone."""

    def __init__(self, told: Callable[[Word, Any], None], orphaned: Callable[[], None]) -> None:
        self._told = told
        self._orphaned = orphaned
        self._messages = Messages()
        self._transport: asyncio.Transport | None = None
        self._beat: asyncio.TimerHandle | None = None

    async def open(self, channel: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: self, channel)
        self._alive()

    def say(self, word: Word, contents: Any = None) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(written(word, contents))

    def close(self) -> None:
        if self._beat is not None:
            self._beat.cancel()
        if self._transport is not None:
            self._transport.close()

    def _alive(self) -> None:
        self.say(Word.ALIVE)
        self._beat = asyncio.get_running_loop().call_later(BEAT_SECONDS, self._alive)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        for word, contents in self._messages.feed(data):
            self._told(word, contents)

    def connection_lost(self, error: Exception | None) -> None:
        self._orphaned()
