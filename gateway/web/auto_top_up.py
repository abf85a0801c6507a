"""Auto top-up as its holder sees it: `/-/api/v1/auto-top-up` for programs, and the form in the wallet.

Unlike paying, this is for the holder alone: whoever asks has to present the account's token, and a form the mark of our
own page.
"""

from typing import Any

from aiohttp import web

from gateway.core.auto_top_ups import Ceilings, Rule
from gateway.core.callers import Caller
from gateway.core.indented import indented
from gateway.core.refusals import BadRequest
from gateway.flows.check_out import CheckOut
from gateway.flows.replenish import Replenish
from gateway.ports import HolderPages, Ledger
from gateway.web.answers import OwnAnswer
from gateway.web.templates import Templates
from gateway.web.visitors import Visitors, read_json, text_of

REASONS = {
    "declined": "The card was declined.",
    "authentication_required": "The bank wants to see you: pay once more with a card that is saved.",
    "card_removed": "The card is not kept any more.",
    "refused": "The payment was refused.",
    "taken_back": "A payment went back to the payer.",
    "other_currency": "It was made in another currency: say again how much.",
    "day_ceiling": "The most of a day is reached.",
    "month_ceiling": "The most of a month is reached.",
}


class AutoPlace:
    """The handlers of auto top-up. Without a `replenish` there is none, and they are not reached.

    The provider's `portal` shows who saved the card: to whoever has the account's token, if the operator wants it.
    """

    def __init__(
        self,
        visitors: Visitors,
        replenish: Replenish | None,
        check_out: CheckOut,
        ledger: Ledger,
        templates: Templates,
        portal: HolderPages | None,
    ) -> None:
        self._portal = portal
        self._templates = templates
        self._visitors = visitors
        self._replenish = replenish
        self._check_out = check_out
        self._ledger = ledger

    @property
    def offered(self) -> bool:
        return self._replenish is not None

    @property
    def _auto(self) -> Replenish:
        assert self._replenish is not None, "its addresses are there only if it is offered"
        return self._replenish

    async def tell(self, request: web.Request) -> web.StreamResponse:
        """`GET`: how it stands."""
        caller = await self._visitors.holder(request)
        return _json(self._told(await self._auto.stands(caller.account)))

    async def want(self, request: web.Request) -> web.StreamResponse:
        """`PUT {"threshold", "amount", "per_day"?, "per_month"?, "new_card"?}`: make it, change it, resume it.

        Where there is no card yet, or a new one is wanted, `card_url` is where it can be saved.
        """
        content = await read_json(request, "threshold", "amount", "per_day", "per_month", "new_card")
        caller = await self._visitors.holder(request)
        wish = self._check_out.wish(text_of(content, "threshold"), text_of(content, "amount"))
        new_card = content.get("new_card", False)
        if not isinstance(new_card, bool):
            raise BadRequest("new_card: true or false was expected")
        ceilings = self._ceilings(content)
        if ceilings is not None and ceilings.day < wish.amount:
            raise BadRequest(f"amount: at most {ceilings.day}, which is per_day")
        if not await self._ledger.funded(caller.account, wish.amount.currency):
            raise BadRequest("nothing was paid into this account yet; begin with a top-up that asks for auto_top_up")
        rule = await self._auto.want(caller.account, wish, ceilings)
        told = self._told((rule, rule.paused))
        if rule.card is None or new_card:
            told["card_url"] = await self._card_url(caller, rule, request)
        return _json(told)

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """`DELETE`: switch it off. The card is forgotten here."""
        caller = await self._visitors.holder(request)
        await self._auto.stop(caller.account)
        return _json(self._told(None))

    async def change(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/wallet/auto-top-up`: the form in the wallet. Back to the wallet, or on to where a card is saved."""
        caller = await self._visitors.holder(request)
        fields = await self._visitors.form(request, caller)
        if fields.get("action") == "off":
            await self._auto.stop(caller.account)
            return _back()
        wish = self._check_out.wish(fields.get("threshold", ""), fields.get("amount", ""))
        if not await self._ledger.funded(caller.account, wish.amount.currency):
            raise BadRequest("nothing was paid into this wallet yet; add credit first")
        rule = await self._auto.want(caller.account, wish)
        if rule.card is not None and fields.get("action") != "card":
            return _back()
        url = await self._card_url(caller, rule, request)
        return self._onward(url)

    async def portal(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/wallet/portal`: on to the provider's own page about cards and receipts."""
        caller = await self._visitors.holder(request)
        await self._visitors.form(request, caller)
        stands = await self._auto.stands(caller.account)
        if stands is None or stands[0].customer is None or self._portal is None:
            raise BadRequest("no card was saved for this wallet")
        await self._check_out.admit(request.remote or "", caller.account)
        return self._onward(await self._portal.portal_url(stands[0].customer))

    def _onward(self, url: str) -> OwnAnswer:
        return OwnAnswer(text=self._templates.render("onward.html", url=url, amount=None), content_type="text/html")

    async def shown(self, caller: Caller) -> dict[str, Any]:
        """What the wallet shows of it. Raises RecordsUnavailable."""
        stands = await self._auto.stands(caller.account)
        rule, reason = stands or (None, None)
        return {
            "rule": rule,
            "reason": REASONS.get(reason or "", ""),
            "portal": self._portal is not None and rule is not None and rule.customer is not None,
            "mark": self._visitors.mark(caller),
            "ceilings": self._auto.ceilings,
        }

    async def _card_url(self, caller: Caller, rule: Rule, request: web.Request) -> str:
        reference, key = self._check_out.reference(caller), request.headers.get("Idempotency-Key")
        order = await self._check_out.begin(
            reference, None, holder=caller.account, wish=rule.wish, key=key, peer=request.remote or ""
        )
        assert order.url is not None, "an order that was begun can be paid"
        return order.url

    def _ceilings(self, content: dict[str, Any]) -> Ceilings | None:
        if "per_day" not in content and "per_month" not in content:
            return None
        most = self._auto.ceilings
        day, month = (
            self._check_out.ceiling(text_of(content, name), name) if name in content else bound
            for name, bound in (("per_day", most.day), ("per_month", most.month))
        )
        for name, chosen, bound in (("per_day", day, most.day), ("per_month", month, most.month)):
            if bound < chosen:
                raise BadRequest(f"{name}: at most {bound}")
        return Ceilings(day, month)

    def _told(self, stands: tuple[Rule, str | None] | None) -> dict[str, Any]:
        if stands is None:
            most = self._auto.ceilings
            return {"state": "off", "per_day_max": str(most.day), "per_month_max": str(most.month)}
        rule, reason = stands
        return {
            "state": rule.state,
            "reason": reason,
            "threshold": str(rule.wish.threshold),
            "amount": str(rule.wish.amount),
            "per_day": str(rule.ceilings.day),
            "per_month": str(rule.ceilings.month),
            "card": rule.card.label if rule.card else None,
        }


def _back() -> OwnAnswer:
    return OwnAnswer(status=303, headers={"Location": "/-/wallet"})


def _json(content: dict[str, Any]) -> OwnAnswer:
    return OwnAnswer(text=indented(content), content_type="application/json")
