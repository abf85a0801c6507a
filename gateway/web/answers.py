"""What every answer of ours has in common: nothing invented by the library, nothing left open to a browser.

aiohttp adds a `Server` banner and a `Content-Type` to answers that have none. `drop_what_was_invented` is an
`on_response_prepare` signal that takes back what an answer lists as unwanted; it leaves the answers of a host
application alone.
"""

import traceback
from collections.abc import Callable
from typing import Any

from aiohttp import web

from gateway.core.answers import Answer
from gateway.core.indented import indented
from gateway.core.refusals import INTERNAL_ERROR

SECURITY_FIELDS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class OwnAnswer(web.Response):
    """An answer that the gateway itself gives."""

    unwanted = ("Server",)

    def __init__(self, *, headers: dict[str, str] | None = None, **rest: Any) -> None:
        super().__init__(headers={**SECURITY_FIELDS, **(headers or {})}, **rest)

    def plain(self) -> Answer:
        """The same without aiohttp, for another road. Whoever frames a body says its length."""
        fields = [(name, value) for name, value in self.headers.items() if name.lower() != "content-length"]
        fields += [("Set-Cookie", cookie.OutputString()) for cookie in self.cookies.values()]
        body = self.body
        assert body is None or isinstance(body, bytes | bytearray)
        return Answer(self.status, fields, bytes(body or b""))


class RelayedAnswer(web.StreamResponse):
    """An upstream's answer on its way to the caller."""

    def __init__(self, status: int, reason: str | None, fields: list[tuple[str, str]]) -> None:
        super().__init__(status=status, reason=reason)
        present = set()
        for name, value in fields:
            self.headers.add(name, value)
            present.add(name.lower())
        self.unwanted = [name for name in ("Server", "Content-Type") if name.lower() not in present]


async def drop_what_was_invented(request: web.Request, response: web.StreamResponse) -> None:
    """The signal; answers without a list of unwanted fields pass untouched."""
    for name in getattr(response, "unwanted", ()):
        response.headers.pop(name, None)


def internal_error(request_id: str) -> OwnAnswer:
    """All that a caller learns of a bug or an outage: the id under which it was logged."""
    body = {
        "type": "urn:farebox:error:internal_error",
        "title": "Something failed inside the gateway",
        "status": 500,
        "detail": "It was logged under the request id. Nothing was charged that was not answered.",
        "code": INTERNAL_ERROR,
        "charged": False,
        "request_id": request_id,
    }
    return OwnAnswer(
        status=500,
        text=indented(body),
        content_type="application/problem+json",
        headers={"Gateway-Error": INTERNAL_ERROR, "Gateway-Request-Id": request_id},
    )


def log_failure(report: Callable[..., None], request_id: str, error: Exception) -> None:
    """Where it happened, without the message: that may quote what a caller sent."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    report("failed", request_id=request_id, error=type(error).__name__, where=where)
