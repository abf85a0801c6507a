"""An account's tokens, for whoever has one: `/-/api/v1/tokens`, `/-/rotate-token` and `/-/me`.

What a token may see and do here follows from what it is (`flows/hand_out.py`). A token of another account, and one that
the caller may not know of, is not there. A secret is in the one answer that made it and never again.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.grant_wishes import MEMBERS
from gateway.core.indented import indented
from gateway.core.limits import Rate
from gateway.core.refusals import BadRequest, PaymentServiceUnavailable, RateLimited, TokenConflict
from gateway.flows.hand_out import HandOut
from gateway.ports import Clock, Ledger, Made, RateLimits
from gateway.web.answers import OwnAnswer
from gateway.web.told_tokens import SpentOfCaps, told, told_made
from gateway.web.visitors import Visitors, read_json

_MAKING = Rate(10, 60, "10/minute")
"""How often an account may have a token made, changed or rotated."""

PayLink = Callable[[Caller], Awaitable[str | None]]
Email = Callable[[str], Awaitable[str | None]]


class TokenPlace:
    """The handlers for programs."""

    def __init__(
        self,
        *,
        visitors: Visitors,
        hand_out: HandOut,
        ledger: Ledger,
        limits: RateLimits,
        clock: Clock,
        currency: str,
        named: Callable[[], Sequence[str]],
        payment_url: PayLink,
        email_masked: Email,
        spent: SpentOfCaps,
    ) -> None:
        self._spent = spent
        self._visitors = visitors
        self._hand_out = hand_out
        self._ledger = ledger
        self._limits = limits
        self._clock = clock
        self._currency = currency
        self._named = named
        self._payment_url = payment_url
        self._email_masked = email_masked

    async def all(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/api/v1/tokens`: those that the caller may know of, oldest first."""
        caller = await self._visitors.bearer(request)
        return _json({"tokens": await self.held(caller)})

    async def one(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/api/v1/tokens/{id}`."""
        caller = await self._visitors.bearer(request)
        shown = await self._hand_out.find(caller.account, caller.token_id, request.match_info["id"])
        return _json(told(shown, self._clock.now_ms(), await self._spent.of(shown.grant)))

    async def create(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/api/v1/tokens {"name", "routes", "methods", "expires", "limit", "caps", "parent"}`, all optional."""
        content = await read_json(request, *MEMBERS, "parent")
        made = await self.made(await self._visitors.bearer(request), content)
        return _json(told_made(made, self._clock.now_ms()), status=201)

    async def made(self, caller: Caller, content: dict[str, Any]) -> Made:
        """A new token of whoever asks."""
        await self.admit(caller)
        return await self._hand_out.create(caller.account, caller.token_id, content)

    async def change(self, request: web.Request) -> web.StreamResponse:
        """`PATCH /-/api/v1/tokens/{id}`: another name, or less than it may do now."""
        content = await read_json(request, *MEMBERS)
        caller = await self._visitors.bearer(request)
        await self.admit(caller)
        shown = await self._hand_out.change(caller.account, caller.token_id, request.match_info["id"], content)
        return _json(told(shown, self._clock.now_ms(), await self._spent.of(shown.grant)))

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        """`DELETE /-/api/v1/tokens/{id}`."""
        caller = await self._visitors.bearer(request)
        self.keep_outside(caller, request.match_info["id"])
        await self._hand_out.revoke(caller.account, caller.token_id, request.match_info["id"])
        shown = {"id": request.match_info["id"], "state": "revoked"}
        return _json(shown)

    async def rotate(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/api/v1/tokens/{id}/rotate`."""
        caller = await self._visitors.bearer(request)
        self.keep_outside(caller, request.match_info["id"])
        await self.admit(caller)
        made = await self._hand_out.rotate(caller.account, caller.token_id, request.match_info["id"])
        return self._rotated(request, made, own=made.grant.id == caller.token_id)

    async def rotate_own(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/rotate-token`: another secret for the token that is presented; five at once get the same one."""
        caller = await self._visitors.bearer(request)
        self.keep_outside(caller, caller.token_id)
        await self.admit(caller)
        return self._rotated(request, await self._hand_out.rotate_own(caller), own=True)

    async def me(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/me`."""
        caller = await self._visitors.bearer(request)
        balance = await self._ledger.balance(caller.account, self._currency)
        credits = {unit: str((await self._ledger.balance(caller.account, unit)).available) for unit in self._named()}
        try:
            payment_url = await self._payment_url(caller)
        except PaymentServiceUnavailable:
            payment_url = None
        return _json(
            {
                "account": caller.account,
                "balance": str(balance.available),
                "currency": self._currency,
                "credits": credits,
                "payment_url": payment_url,
                "email_masked": None if caller.is_narrowed else await self._email_masked(caller.account),
                "tokens": await self.held(caller),
            }
        )

    def keep_outside(self, caller: Caller, id: str) -> None:
        """Who is vouched for elsewhere has no token here that could be another, or end. Raises TokenConflict."""
        if caller.is_outside and id == caller.token_id:
            raise TokenConflict("it stands for how you signed in, and your provider sees to that")

    async def admit(self, caller: Caller) -> None:
        """Whoever has paid may change something, not too often. Raises BadRequest, RateLimited."""
        if not caller.on_record and not await self._ledger.funded(caller.account, self._currency):
            raise BadRequest("nothing was paid into this account yet; its token cannot be changed, nor have others")
        window = await self._limits.hit(_MAKING, f"-/tokens {caller.account}")
        if not window.allowed:
            raise RateLimited(policy=_MAKING.text, retry_after_seconds=max(1, window.reset_seconds))

    async def held(self, caller: Caller) -> list[dict[str, Any]]:
        """All that the caller may know of. Raises UnknownToken."""
        now_ms = self._clock.now_ms()
        shown = await self._hand_out.held(caller.account, caller.token_id)
        return [told(one, now_ms, None if one.is_over else await self._spent.of(one.grant)) for one in shown]

    def _rotated(self, request: web.Request, made: Made, *, own: bool) -> OwnAnswer:
        answer = _json(told_made(made, self._clock.now_ms()))
        if own and self._visitors.came_by_cookie(request):
            self._visitors.cookies.set_token(answer, made.secret)
        return answer


def _json(content: dict[str, Any], *, status: int = 200) -> OwnAnswer:
    return OwnAnswer(status=status, text=indented(content), content_type="application/json")
