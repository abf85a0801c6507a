"""The reverse proxy that one writes with aiohttp in an afternoon: a `ClientSession`, a `StreamResponse`, a loop.

Naive but fair: one session for all requests, connections kept open on both sides, bodies streamed, nothing inflated,
no access log, uvloop. It knows no prices, no tokens and no limits.

    python -m tests.bench.naive PORT UPSTREAM_PORT
"""

import asyncio
import sys
from collections.abc import Mapping

from aiohttp import ClientSession, DummyCookieJar, web
from multidict import CIMultiDict

from tests.bench.loop import runner

_HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailer transfer-encoding upgrade".split()
)


class NaiveProxy:
    """Passes every request on and its answer back."""

    def __init__(self, session: ClientSession, upstream: str) -> None:
        self._session = session
        self._upstream = upstream

    async def handle(self, request: web.Request) -> web.StreamResponse:
        async with self._session.request(
            request.method,
            self._upstream + request.raw_path,
            headers=_passed_on(request.headers),
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as found:
            answer = web.StreamResponse(status=found.status, reason=found.reason, headers=_passed_on(found.headers))
            await answer.prepare(request)
            async for chunk in found.content.iter_any():
                await answer.write(chunk)
            await answer.write_eof()
            return answer


def _passed_on(fields: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in fields.items() if name.lower() not in _HOP_BY_HOP)


async def _serve(port: int, upstream: str) -> None:
    async with ClientSession(auto_decompress=False, cookie_jar=DummyCookieJar()) as session:
        app = web.Application()
        app.router.add_route("*", "/{target:.*}", NaiveProxy(session, upstream).handle)
        running = web.AppRunner(app, access_log=None, auto_decompress=False)
        await running.setup()
        await web.TCPSite(running, "127.0.0.1", port, backlog=1024).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with runner() as loop:
        loop.run(_serve(int(sys.argv[1]), f"http://127.0.0.1:{sys.argv[2]}"))
