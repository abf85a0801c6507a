"""Choosing how much to pay: the page, and the same for programs.

Paying into an account is nobody's right to refuse, so the page needs no proof of who asks: it carries the sealed
reference of the account, as a payment link does. Sent off, the form is answered with a page that leads on to the
provider: a policy that holds forms to our own host would stop a redirect there.
"""

from collections.abc import Sequence

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.indented import indented
from gateway.core.keyring import NotOurs, UnknownKey
from gateway.core.money import Money
from gateway.core.orders import Order
from gateway.core.refusals import BadRequest, PaymentServiceUnavailable, RateLimited, RecordsUnavailable
from gateway.flows.check_out import CheckOut
from gateway.web.answers import OwnAnswer
from gateway.web.cookies import Checkout
from gateway.web.refusals import WORDS, own_fields
from gateway.web.templates import Templates
from gateway.web.visitors import Visitors, read_form, read_json, text_of

_DAY_MS = 86_400_000


class ChoosePlace:
    """Where an amount is chosen."""

    def __init__(self, templates: Templates, visitors: Visitors, check_out: CheckOut, presets: Sequence[Money]) -> None:
        self._templates = templates
        self._visitors = visitors
        self._check_out = check_out
        self._presets = presets

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/top-up`: for the account that `for` names, else for this browser's."""
        reference, caller = request.query.get("for"), None
        if not reference:
            try:
                caller = await self._visitors.known(request)
            except RecordsUnavailable:
                words = WORDS[RecordsUnavailable].detail(None)
                return self._page(reference="", problem=words, status=503)
            caller = caller or self._visitors.callers.fresh()
            reference = self._check_out.reference(caller)
        answer = self._page(reference=reference)
        if caller is not None and caller.fresh is not None:
            self._visitors.cookies.set_token(answer, caller.fresh)
            self._visitors.cookies.set_checkout(answer, caller.token_digest, Checkout(None, caller.fresh))
        return answer

    async def choose(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/top-up`: leads on to the provider, or shows the form again with what is wrong."""
        fields: dict[str, str] = {}
        try:
            fields = await read_form(request)
            order = await self._ordered(fields, await self._visitors.known(request), peer=request.remote or "")
        except (BadRequest, RateLimited, PaymentServiceUnavailable, RecordsUnavailable) as refusal:
            words = refusal.why if isinstance(refusal, BadRequest) else WORDS[type(refusal)].detail(refusal)
            answer = self._page(reference=fields.get("for", ""), typed=fields, problem=words, status=refusal.status)
            answer.headers.update(own_fields(refusal))
            return answer
        return OwnAnswer(
            text=self._templates.render("onward.html", url=order.url, amount=order.amount), content_type="text/html"
        )

    async def _ordered(self, fields: dict[str, str], caller: Caller | None, *, peer: str) -> Order:
        amount = self._check_out.amount(fields.get("other", "").strip() or fields.get("amount", ""))
        wish = None
        if fields.get("auto"):
            wish = self._check_out.wish(fields.get("threshold", ""), str(amount))
        holder, key = caller.account if caller else None, fields.get("key") or None
        reference = fields.get("for") or (self._check_out.reference(caller) if caller else "")
        try:
            return await self._check_out.begin(reference, amount, holder=holder, wish=wish, key=key, peer=peer)
        except (NotOurs, UnknownKey):
            raise BadRequest("this address is not complete; open it again from where you came from") from None

    async def order(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/api/v1/top-ups`: `{"amount", "auto_top_up": {"threshold", "amount"}?}`."""
        content = await read_json(request, "amount", "auto_top_up")
        caller = await self._visitors.program(request) or self._visitors.callers.fresh()
        amount, wish = self._check_out.amount(text_of(content, "amount")), None
        wanted = content.get("auto_top_up")
        if wanted is not None:
            if not isinstance(wanted, dict):
                raise BadRequest("auto_top_up: an object was expected")
            wish = self._check_out.wish(text_of(wanted, "threshold"), text_of(wanted, "amount"))
        key, reference = request.headers.get("Idempotency-Key"), self._check_out.reference(caller)
        order = await self._check_out.begin(
            reference, amount, holder=caller.account, wish=wish, key=key, peer=request.remote or ""
        )
        told = {
            "account": order.account,
            "amount": {"amount": amount.number, "currency": amount.currency},
            "payment_url": order.url,
            "expires_at": (order.created_ms + _DAY_MS) // 1000,
        }
        if caller.fresh is not None:
            told["access_token"] = caller.fresh.reveal()
        return OwnAnswer(status=201, text=indented(told), content_type="application/json")

    def _page(
        self, *, reference: str, typed: dict[str, str] | None = None, problem: str = "", status: int = 200
    ) -> OwnAnswer:
        check_out = self._check_out
        text = self._templates.render(
            "choose.html",
            reference=reference,
            presets=self._presets,
            least=check_out.least,
            most=check_out.most,
            typed=typed or {},
            key=(typed or {}).get("key") or check_out.new_key(),
            saves_cards=check_out.saves_cards,
            plans=check_out.plans,
            problem=problem,
        )
        return OwnAnswer(status=status, text=text, content_type="text/html")
