"""Who began a checkout elsewhere says the code that its payer was shown, with the token that it was begun with.

Guessing is hopeless (80 bits) and counted all the same.
"""

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.indented import indented
from gateway.core.limits import Rate, network
from gateway.core.refusals import RateLimited
from gateway.flows.log_in import LogIn
from gateway.ports import RateLimits
from gateway.web.answers import OwnAnswer
from gateway.web.visitors import Visitors, read_json, text_of


class CodePlace:
    """The handlers of codes."""

    def __init__(self, visitors: Visitors, log_in: LogIn, limits: RateLimits, tries: Rate) -> None:
        self._visitors = visitors
        self._log_in = log_in
        self._limits = limits
        self._tries = tries

    async def enter(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/wallet/code`: from the wallet's form."""
        caller = await self._visitors.holder(request)
        fields = await self._visitors.form(request, caller)
        await self._say(request, caller, fields.get("code", ""))
        return OwnAnswer(status=303, headers={"Location": "/-/wallet"})

    async def tell(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/api/v1/codes`: `{"code"}`; the wallets are one some seconds later."""
        content = await read_json(request, "code")
        caller = await self._visitors.holder(request)
        await self._say(request, caller, text_of(content, "code"))
        told = indented({"account": caller.account, "accepted": True})
        return OwnAnswer(status=202, text=told, content_type="application/json")

    async def _say(self, request: web.Request, caller: Caller, code: str) -> None:
        window = await self._limits.hit(self._tries, f"-/codes {network(request.remote or '')}")
        if not window.allowed:
            raise RateLimited(policy=self._tries.text, retry_after_seconds=max(1, window.reset_seconds))
        await self._log_in.say(caller, code)
