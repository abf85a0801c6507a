"""The boundary around every handler of ours: a refusal is told in words, anything else that fails by an id alone."""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import HttpVersion11, web

from gateway.core.refusals import Refusal
from gateway.web.answers import OwnAnswer, internal_error, log_failure

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def continue_at_once(request: web.Request) -> None:
    """aiohttp's `expect_handler` for our own addresses. Its own answers other expectations, and quotes them."""
    if request.version == HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer has yet to begin


def guarded(
    handler: Handler,
    *,
    report: Callable[..., None],
    new_id: Callable[[], str],
    tell: Callable[[Refusal, Mapping[str, str], str], OwnAnswer],
) -> Handler:
    """What is no answer becomes one, with an id that says which request it was."""

    async def bounded(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Refusal as refusal:
            return tell(refusal, request.headers, new_id())
        except Exception as error:
            request_id = new_id()
            log_failure(report, request_id, error)
            return internal_error(request_id)

    return bounded
