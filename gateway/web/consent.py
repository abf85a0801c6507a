"""The page on which a person allows a program to spend from their wallet: `/-/oauth/authorize`.

Who has no wallet yet is asked to pay first, and comes back here by itself: the payment is the login. What is allowed is
read again when the form comes, from the same words that the page was made of; the form carries the mark of the token
that the page was shown to, so nobody else's browser can be made to send it. Nothing is sent anywhere before it is sure
that the client and the address of its answers belong together; until then what is wrong is told here. Nor does a
mistake send anybody to a client that they have allowed nothing: it is told here, too, with a link.

A browser follows the redirect that answers a form only where the page's policy lets it, so the policy names the place
that the answer goes to, and no other.
"""

from collections.abc import Callable, Sequence
from urllib.parse import parse_qsl, quote_plus

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.money import Money, MoneySyntax
from gateway.core.oauth import AUTHORIZE, OAuthRefused, origin_of, single
from gateway.core.refusals import BadRequest, PaymentServiceUnavailable, Refusal, TokenConflict, TokenOutOfScope
from gateway.core.routes import RouteTable
from gateway.core.sign_ins import Provider
from gateway.flows.authorize import Asked, Authorize, SentBack
from gateway.flows.top_up import TopUp
from gateway.ports import Ledger
from gateway.web.answers import SECURITY_FIELDS, OwnAnswer
from gateway.web.cookies import Checkout
from gateway.web.refusals import WORDS
from gateway.web.templates import Templates
from gateway.web.visitors import Visitors

_POLICY = "Content-Security-Policy"


class ConsentPlace:
    """The handlers for people."""

    def __init__(
        self,
        *,
        authorize: Authorize,
        templates: Templates,
        visitors: Visitors,
        top_up: TopUp,
        ledger: Ledger,
        routes: Callable[[], RouteTable],
        suggested: Money,
        asks: bool,
        sign_ins: Sequence[Provider],
    ) -> None:
        self._sign_ins = sign_ins
        self._authorize = authorize
        self._templates = templates
        self._visitors = visitors
        self._top_up = top_up
        self._ledger = ledger
        self._routes = routes
        self._suggested = suggested
        self._asks = asks

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/oauth/authorize`: what is asked, or first a way to pay."""
        try:
            asked = await self._asked(request, request.query_string)
        except SentBack as back:
            return await self._sent_back(await self._visitors.known(request), back)
        except OAuthRefused as refused:
            return self._refused(refused)
        caller = await self._visitors.known(request)
        if caller is None or not await self._has_paid(caller):
            return await self._pay_first(request, asked, caller)
        _check(caller)
        if not self._asks:
            return _to(await self._authorize.allow(caller, asked, self._suggested))
        return await self._page(caller, asked, request.query_string)

    async def decide(self, request: web.Request) -> web.StreamResponse:
        """`POST` to the same address: yes, up to so much, or no."""
        caller = await self._visitors.bearer(request)
        fields = await self._visitors.form(request, caller)
        words = fields.get("asked", "")
        try:
            asked = await self._asked(request, words)
        except SentBack as back:
            return await self._sent_back(caller, back)
        except OAuthRefused as refused:
            return self._refused(refused)
        if fields.get("decision") != "allow":
            return _to(self._authorize.denied(asked))
        _check(caller)
        if not await self._has_paid(caller):
            raise BadRequest("nothing was paid into this wallet yet")
        try:
            return _to(await self._authorize.allow(caller, asked, self._month(fields.get("month", ""))))
        except (BadRequest, TokenConflict) as refusal:
            return await self._page(caller, asked, words, typed=fields.get("month", ""), refusal=refusal)

    async def _asked(self, request: web.Request, words: str) -> Asked:
        fields = single(parse_qsl(words, keep_blank_values=True))
        return await self._authorize.ask(fields, request.remote or "")

    async def _has_paid(self, caller: Caller) -> bool:
        return caller.on_record or await self._ledger.funded(caller.account, self._suggested.currency)

    def _month(self, text: str) -> Money:
        """What was typed: `5.00`, or `5.00 usd`. Raises BadRequest."""
        currency = self._suggested.currency
        number = text.strip().lower().removesuffix(currency).strip()
        try:
            amount = Money.parse(f"{number} {currency}")
        except MoneySyntax:
            amount = None
        if amount is None or amount.micros <= 0:
            raise BadRequest(f'the limit: an amount such as "{self._suggested.number}" was expected')
        return amount

    async def _page(
        self, caller: Caller, asked: Asked, words: str, *, typed: str | None = None, refusal: Refusal | None = None
    ) -> OwnAnswer:
        balance = await self._ledger.balance(caller.account, self._suggested.currency)
        return self._answer(
            "consent.html",
            asked,
            status=refusal.status if refusal else 200,
            balance=balance.available,
            routes=[route for route in self._routes().routes if route.name in asked.scopes],
            words=words,
            typed=self._suggested.number if typed is None else typed,
            currency=self._suggested.currency,
            mark=self._visitors.mark(caller),
            problem=WORDS[type(refusal)].detail(refusal) if refusal else None,
        )

    async def _pay_first(self, request: web.Request, asked: Asked, caller: Caller | None) -> OwnAnswer:
        payer = caller or self._visitors.callers.fresh()
        try:
            payment_url = await self._top_up.payment_url(payer)
        except PaymentServiceUnavailable:
            payment_url = None
        back = quote_plus(f"{AUTHORIZE}?{request.query_string}")
        answer = self._answer("pay_first.html", asked, payment_url=payment_url, sign_ins=self._sign_ins, back=back)
        if payment_url:
            if payer.fresh:
                self._visitors.cookies.set_token(answer, payer.fresh)
            checkout = Checkout(f"{AUTHORIZE}?{request.query_string}", payer.fresh)
            self._visitors.cookies.set_checkout(answer, payer.token_digest, checkout)
        return answer

    def _answer(self, template: str, asked: Asked, *, status: int = 200, **values: object) -> OwnAnswer:
        place = origin_of(asked.redirect)
        text = self._templates.render(template, client=asked.client, place=place, **values)
        policy = SECURITY_FIELDS[_POLICY].replace("form-action 'self'", f"form-action 'self' {place}")
        fields = {_POLICY: policy, "X-Frame-Options": "DENY"}
        return OwnAnswer(status=status, text=text, content_type="text/html", headers=fields)

    async def _sent_back(self, caller: Caller | None, back: SentBack) -> OwnAnswer:
        """What is wrong goes to the client by itself only where its person knows it.

        Anybody may register an address, so a link to us would lead anybody's browser there (RFC 9700, section 4.11.2).
        """
        if not self._asks or (caller is not None and await self._authorize.is_trusted(caller, back.client)):
            return _to(back.address)
        place = origin_of(back.address)
        text = self._templates.render("sent_back.html", client=back.client, place=place, back=back)
        return OwnAnswer(status=400, text=text, content_type="text/html", headers={"X-Frame-Options": "DENY"})

    def _refused(self, refused: OAuthRefused) -> OwnAnswer:
        text = self._templates.render(
            "told.html",
            heading="This program cannot ask you",
            detail=f"Nothing was allowed. What it sent is wrong: {refused.description}.",
            refresh=None,
            again=None,
        )
        return OwnAnswer(status=400, text=text, content_type="text/html", headers={"X-Frame-Options": "DENY"})


def _check(caller: Caller) -> None:
    """Raises TokenOutOfScope for who may see the wallet, and spend nothing of it."""
    if caller.is_viewer:
        raise TokenOutOfScope()


def _to(address: str) -> OwnAnswer:
    return OwnAnswer(status=303, headers={"Location": address})
