"""A person enters a wallet with a token that they were given, and leaves it: `/-/wallet/enter`, `/-/wallet/leave`.

A browser that pays has its token by that. A member of a shared wallet is handed one, and types it in here once. Only
what we made is taken, so nobody chooses a token; a form of another site is refused as on every address, so nobody is
made to enter a stranger's wallet; and what is not good counts as a guess, wherever it is tried.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.refusals import UnknownToken
from gateway.core.secrets import Secret
from gateway.web.answers import OwnAnswer
from gateway.web.refusals import WORDS
from gateway.web.templates import Templates
from gateway.web.visitors import Visitors, read_form

_WALLET = "/-/wallet"


class EntrancePlace:
    """The handlers."""

    def __init__(self, templates: Templates, visitors: Visitors, end: Callable[[Caller], Awaitable[None]]) -> None:
        self._end = end
        self._templates = templates
        self._visitors = visitors

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/wallet/enter`: the form."""
        return self._page(problem=None)

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/wallet/enter`: from now on this browser shows that wallet. Raises RateLimited."""
        token = (await read_form(request)).get("token", "").strip()
        caller = await self._visitors.callers.known(token, request.remote or "")
        if caller is None:
            return self._page(problem=WORDS[UnknownToken].title)
        answer = OwnAnswer(status=303, headers={"Location": _WALLET if _sees_all(caller) else f"{_WALLET}/tokens"})
        self._visitors.cookies.set_token(answer, Secret(token))
        return answer

    async def leave(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/wallet/leave`: this browser forgets its token, which is as good as before; a session is over.

        Raises UnknownToken.
        """
        caller = await self._visitors.bearer(request)
        await self._visitors.form(request, caller)
        await self._end(caller)
        answer = OwnAnswer(status=303, headers={"Location": f"{_WALLET}/enter"})
        self._visitors.cookies.drop_token(answer)
        return answer

    def _page(self, *, problem: str | None) -> OwnAnswer:
        text = self._templates.render("enter.html", problem=problem)
        return OwnAnswer(status=401 if problem else 200, text=text, content_type="text/html")


def _sees_all(caller: Caller) -> bool:
    return caller.is_viewer or not caller.is_narrowed
