"""Subscriptions as their holder sees them: `/-/api/v1/subscriptions` for programs, and the forms in the wallet.

Anybody may subscribe for an account, as anybody may pay into it: then the provider knows the payer, who need not be
the holder. So the address of an unpaid invoice, which shows whom it is for, is told only where the operator says that
the two are the same (`stripe.customer_portal`), and so is the way to the provider's own page; the message to the
operator always has it.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.indented import indented
from gateway.core.keyring import NotOurs, UnknownKey
from gateway.core.plans import Plan, Subscription
from gateway.core.refusals import BadRequest, NoSuchSubscription
from gateway.flows.check_out import CheckOut
from gateway.flows.subscribe import Subscribe
from gateway.ports import HolderPages
from gateway.web.answers import OwnAnswer
from gateway.web.templates import Templates
from gateway.web.visitors import Visitors, read_form, read_json, text_of

STATES = {
    "trial": "In its trial.",
    "active": "Paid.",
    "unpaid": "The last payment failed, and is tried again.",
    "paused": "Paused.",
    "waiting": "The first payment has not arrived.",
}


class SubscriptionPlace:
    """The handlers of subscriptions. Without plans there are none, and they are not reached."""

    def __init__(
        self,
        visitors: Visitors,
        subscribe: Subscribe | None,
        check_out: CheckOut,
        templates: Templates,
        *,
        portal: HolderPages | None,
        look: Callable[[web.Request], Awaitable[web.StreamResponse]] | None,
    ) -> None:
        self._look = look
        self._visitors = visitors
        self._subscribe = subscribe
        self._check_out = check_out
        self._templates = templates
        self._portal = portal

    @property
    def offered(self) -> bool:
        return self._subscribe is not None and bool(self._check_out.plans)

    @property
    def _all(self) -> Subscribe:
        assert self._subscribe is not None, "its addresses are there only if it is offered"
        return self._subscribe

    async def tell(self, request: web.Request) -> web.StreamResponse:
        """`GET`: what is sold, and what this account has; with `?email=`, an operator's look."""
        if "email" in request.query:
            if self._look is None:
                raise BadRequest("email: addresses are known only where there are licences; see `licences`")
            return await self._look(request)
        caller = await self._visitors.program(request)
        held = [await self._told(one) for one in await self._all.of(caller.account)] if caller else []
        return _json({"plans": [_plan(plan) for plan in self._check_out.plans], "subscriptions": held})

    async def begin(self, request: web.Request) -> web.StreamResponse:
        """`POST {"plan"}`: where it can be subscribed to."""
        content = await read_json(request, "plan")
        plan = self._check_out.plan(text_of(content, "plan"))
        caller = await self._visitors.program(request) or self._visitors.callers.fresh()
        order = await self._check_out.begin(
            self._check_out.reference(caller),
            plan.costs,
            holder=caller.account,
            plan=plan,
            key=request.headers.get("Idempotency-Key"),
            peer=request.remote or "",
        )
        told = {"account": order.account, "plan": _plan(plan), "payment_url": order.url}
        if caller.fresh is not None:
            told["access_token"] = caller.fresh.reveal()
        return _json(told, status=201)

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """`DELETE /-/api/v1/subscriptions/ID`: it ends with the period that is paid."""
        caller = await self._visitors.holder(request)
        await self._cancel(caller, request.match_info["id"], request)
        return _json({"id": request.match_info["id"], "ends_with_its_period": True})

    async def choose(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/subscribe`: the form beside the amounts. On to the provider."""
        fields = await read_form(request)
        plan, caller = self._check_out.plan(fields.get("plan", "")), await self._visitors.known(request)
        try:
            order = await self._check_out.begin(
                fields.get("for", ""),
                plan.costs,
                holder=caller.account if caller else None,
                plan=plan,
                key=f"{fields['key']} {plan.name}" if fields.get("key") else None,
                peer=request.remote or "",
            )
        except (NotOurs, UnknownKey):
            raise BadRequest("this address is not complete; open it again from where you came from") from None
        text = self._templates.render("onward.html", url=order.url, amount=plan.costs)
        return OwnAnswer(text=text, content_type="text/html")

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/wallet/subscription`: the form in the wallet."""
        caller = await self._visitors.holder(request)
        fields = await self._visitors.form(request, caller)
        await self._cancel(caller, fields.get("id", ""), request)
        return OwnAnswer(status=303, headers={"Location": "/-/wallet"})

    async def portal(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/wallet/subscription/portal`: on to the provider's own page about it: invoices, the card, its end."""
        caller = await self._visitors.holder(request)
        fields = await self._visitors.form(request, caller)
        id = fields.get("id", "")
        one = next((one for one in await self._all.of(caller.account) if one.id == id), None)
        if self._portal is None:
            raise BadRequest("the provider's own page is not linked here")
        if one is None:
            raise NoSuchSubscription()
        await self._check_out.admit(request.remote or "", caller.account)
        url = await self._portal.portal_url(one.customer)
        return OwnAnswer(text=self._templates.render("onward.html", url=url, amount=None), content_type="text/html")

    async def _cancel(self, caller: Caller, id: str, request: web.Request) -> None:
        await self._check_out.admit(request.remote or "", caller.account)
        await self._all.cancel(caller.account, id)

    async def shown(self, caller: Caller) -> dict[str, Any] | None:
        """What the wallet shows of it; None if there is nothing. Raises RecordsUnavailable."""
        held = [await self._told(one) for one in await self._all.of(caller.account)]
        if not held:
            return None
        portal = self._portal is not None
        return {"mark": self._visitors.mark(caller), "held": held, "states": STATES, "portal": portal}

    async def _told(self, one: Subscription) -> dict[str, Any]:
        plan = next((plan for plan in self._check_out.plans if one.price in plan.prices), None)
        told: dict[str, Any] = {
            "id": one.id,
            "plan": plan.name if plan else None,
            "state": one.state,
            "period_ends": datetime.fromtimestamp(one.ends_ms / 1000, UTC).isoformat().replace("+00:00", "Z"),
            "ends_with_its_period": one.leaves,
        }
        if self._portal is not None:
            told["unpaid"] = await self._all.unpaid_of(one)
        return told


def _plan(plan: Plan) -> dict[str, str]:
    return {"name": plan.name, "costs": str(plan.costs), "every": plan.every, "grants": str(plan.grants)}


def _json(content: dict[str, Any], *, status: int = 200) -> OwnAnswer:
    return OwnAnswer(status=status, text=indented(content), content_type="application/json")
