"""What a person sees: the wallet, and the page after a payment. No JavaScript; a page that waits refreshes itself.

The page after a payment never logs anyone in: it shows a balance only to the browser whose token the payment was for,
or that has the sealed cookie of this very checkout. Whoever opens somebody else's return address learns nothing.
"""

from collections.abc import Callable

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.limits import Rate, network
from gateway.core.money import Money
from gateway.core.payments import PARKED, Payment
from gateway.core.references import Reference
from gateway.core.refusals import LedgerUnavailable, PaymentServiceUnavailable, RecordsUnavailable
from gateway.core.routes import RouteTable
from gateway.flows.identify import Callers
from gateway.flows.top_up import TopUp
from gateway.ports import Ledger, RateLimits
from gateway.web.answers import OwnAnswer
from gateway.web.auto_top_up import AutoPlace
from gateway.web.cookies import Checkout, Cookies
from gateway.web.templates import Templates, stylesheet
from gateway.web.visitors import Visitors

_WAIT_SECONDS = 2
_BACK_SECONDS = 4


class Pages:
    """Our pages for callers."""

    def __init__(
        self,
        *,
        templates: Templates,
        cookies: Cookies,
        callers: Callers,
        top_up: TopUp,
        price: Money,
        ledger: Ledger,
        limits: RateLimits,
        looks: Rate,
        routes: Callable[[], RouteTable],
        visitors: Visitors,
        auto: AutoPlace,
    ) -> None:
        self._templates = templates
        self._cookies = cookies
        self._callers = callers
        self._top_up = top_up
        self._price = price
        self._ledger = ledger
        self._limits = limits
        self._looks = looks  # how often one address may have the provider asked about a payment
        self._routes = routes
        self._visitors = visitors
        self._auto = auto
        self._stylesheet = stylesheet()

    async def style(self, request: web.Request) -> web.StreamResponse:
        return OwnAnswer(
            text=self._stylesheet, content_type="text/css", headers={"Cache-Control": "public, max-age=300"}
        )

    async def wallet(self, request: web.Request) -> web.StreamResponse:
        """The balance of this browser, a way to add to it, and what things cost."""
        try:
            caller = await self._caller(request)
            balance = await self._ledger.balance(caller.account, self._price.currency) if caller else None
            auto = await self._auto.shown(caller) if caller and self._auto.offered else None
        except (LedgerUnavailable, RecordsUnavailable):
            return self._wait("Your balance cannot be read just now", "This page tries again by itself.")
        payer = caller or self._callers.fresh()
        try:
            payment_url = await self._top_up.payment_url(payer)
        except PaymentServiceUnavailable:
            payment_url = None
        answer = self._page(
            "wallet.html",
            balance=balance,
            account=payer.account,
            payment_url=payment_url,
            top_up=self._price,
            routes=self._routes().routes,
            auto=auto,
        )
        if payment_url and payer.fresh:
            self._cookies.set_token(answer, payer.fresh)
            self._cookies.set_checkout(answer, payer.token_digest, Checkout(None, payer.fresh))
        return answer

    async def paid(self, request: web.Request) -> web.StreamResponse:
        """Where the provider sends a browser back to. Credits the payment if the webhook has not yet."""
        try:
            window = await self._limits.hit(self._looks, f"-/paid {network(request.remote or '')}")
            found = await self._top_up.fulfil_session(request.query.get("session_id", "")) if window.allowed else None
            caller = await self._caller(request)
        except (PaymentServiceUnavailable, LedgerUnavailable, RecordsUnavailable):
            return self._wait("Your payment is on its way", "This page looks again by itself.")
        if not window.allowed:
            return self._wait("One moment", "This page looks again by itself.", seconds=window.reset_seconds + 1)
        if found is None:
            return self._say("There is no such payment", "Nothing was charged.", status=404)
        outcome, payment = found
        if outcome == "pending":
            return self._wait("Your payment is on its way", "It counts as soon as your bank confirms it.")
        reference = self._top_up.reference(payment)
        if outcome in PARKED or reference is None:
            why = PARKED.get(outcome, "")
            return self._say("Your payment arrived and could not be credited", f"Ask the operator for it: {why}.")
        return await self._welcome_back(request, caller, payment, reference)

    async def _welcome_back(
        self, request: web.Request, caller: Caller | None, payment: Payment, reference: Reference
    ) -> OwnAnswer:
        """Thank who paid. The browser that set out gets its token back, unless it has another with money by now."""
        checkout = self._cookies.checkout(request.cookies, reference.token_digest)
        is_for_caller = caller is not None and caller.account == reference.account
        found_again = checkout.token if checkout else None
        if not is_for_caller and (found_again is None or await self._has_money(caller)):
            return self._say("The payment arrived", "It was credited to the wallet that it was for.")
        balance = await self._ledger.balance(reference.account, payment.amount.currency)
        address = checkout.address if checkout else None
        answer = self._page(
            "paid.html",
            done=True,
            balance=balance.available,
            paid=payment.amount,
            next_address=address,
            refresh_seconds=_BACK_SECONDS if address else None,
        )
        if not is_for_caller and found_again is not None:
            self._cookies.set_token(answer, found_again)
        self._cookies.end_checkout(answer, reference.token_digest)
        return answer

    async def _has_money(self, caller: Caller | None) -> bool:
        if caller is None:
            return False
        balance = await self._ledger.balance(caller.account, self._price.currency)
        return bool(balance.available or balance.held)

    async def _caller(self, request: web.Request) -> Caller | None:
        return await self._visitors.known(request)

    def _wait(self, heading: str, detail: str, *, seconds: int = _WAIT_SECONDS) -> OwnAnswer:
        return self._say(heading, detail, refresh_seconds=seconds)

    def _say(self, heading: str, detail: str, *, status: int = 200, refresh_seconds: int | None = None) -> OwnAnswer:
        return self._page(
            "paid.html",
            status=status,
            done=False,
            heading=heading,
            detail=detail,
            refresh_seconds=refresh_seconds,
            next_address=None,
        )

    def _page(self, template: str, *, status: int = 200, **values: object) -> OwnAnswer:
        return OwnAnswer(status=status, text=self._templates.render(template, **values), content_type="text/html")
