"""An upstream whose answers are streams of a model's words, which say at their end how many there were.

`GET /N` for the length of the stream is the stream, each event in a chunk of its own; for any other number a body of
that many bytes; `GET /asked/N` says how often `/N` was asked.

    python -m tests.bench.used PORT
"""

import asyncio
import sys
from collections import Counter
from typing import ClassVar

from tests.bench.canned import Canned, answer_with
from tests.bench.loop import runner

WORDS = 1000
_WORD = b'data: {"id":"c-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word"}}]}\n\n'
_LAST = (
    b'data: {"id":"c-1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":%d}}\n\n' % WORDS,
    b"data: [DONE]\n\n",
)
_EVENTS = [*[_WORD] * WORDS, *_LAST]
STREAM = b"".join(_EVENTS)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_ANSWER = _HEAD + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in _EVENTS) + b"0\r\n\r\n"


class Used(Canned):
    """One connection."""

    asked: ClassVar[Counter[bytes]] = Counter()

    def answer(self, request: bytes) -> bytes:
        above, _, name = request.split(b" ", 2)[1].rpartition(b"/")
        if above == b"/asked":
            return answer_with(b"%d" % self.asked[name])
        self.asked[name] += 1
        return _ANSWER if name == b"%d" % len(STREAM) else super().answer(request)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Used, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    with runner() as loop:
        loop.run(_serve(int(sys.argv[1])))
