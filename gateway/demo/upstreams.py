"""Three toy upstreams: a weather service, an echo, and a stream that looks like a language model's.

They are real servers on the loopback; the demo and the tests run the same ones. Each counts what it was asked, so that
a test can compare what an upstream saw with what the gateway charged.
"""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

_WORDS = "Rain is likely in the west , while the coast stays dry until the evening .".split()


class ToyUpstream:
    """One server with one handler for every path."""

    def __init__(self, name: str, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        self.name = name
        self.calls = 0
        self._handler = handler
        self._runner: web.AppRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> None:
        """Listen; on any free port when the wanted one is taken."""
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self._count)
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False, handler_cancellation=True)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", port).start()
        except OSError:
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _count(self, request: web.Request) -> web.StreamResponse:
        self.calls += 1
        return await self._handler(request)


async def weather(request: web.Request) -> web.StreamResponse:
    """`/CITY`: invented weather, the same for the same city. `/fail` answers 500, `/gone` 404."""
    city = request.path.strip("/") or "somewhere"
    if city == "fail":
        return web.json_response({"error": "the barometer fell off the wall"}, status=500)
    if city == "gone":
        return web.json_response({"error": "no such city"}, status=404)
    seed = hashlib.sha256(city.encode()).digest()
    return web.json_response(
        {
            "city": city,
            "celsius": seed[0] % 35,
            "wind_kmh": seed[1] % 60,
            "sky": ("clear", "cloudy", "rain")[seed[2] % 3],
        }
    )


async def echo(request: web.Request) -> web.StreamResponse:
    """What arrived: the request line, the fields, and how many bytes of body with which digest."""
    digest, size = hashlib.sha256(), 0
    async for chunk in request.content.iter_any():
        digest.update(chunk)
        size += len(chunk)
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "fields": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers],
            "body_bytes": size,
            "body_sha256": digest.hexdigest(),
        }
    )


async def language_model(request: web.Request) -> web.StreamResponse:
    """Server-sent events in the shape that chat completions have, a word at a time, with usage at the end."""
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await answer.prepare(request)
    for word in _WORDS:
        delta = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word + " "}}]}
        await answer.write(f"data: {json.dumps(delta)}\n\n".encode())
        await asyncio.sleep(0.03)
    usage = {"prompt_tokens": 9, "completion_tokens": len(_WORDS), "total_tokens": 9 + len(_WORDS)}
    done = {"object": "chat.completion.chunk", "choices": [], "usage": usage}
    await answer.write(f"data: {json.dumps(done)}\n\ndata: [DONE]\n\n".encode())
    return answer


def all_three() -> list[ToyUpstream]:
    return [ToyUpstream("weather", weather), ToyUpstream("echo", echo), ToyUpstream("llm", language_model)]
