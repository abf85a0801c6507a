"""What a person sees: the wallet, and the page after a payment. No JavaScript; a page that waits refreshes itself.

The page after a payment never logs anyone in: it shows the balance of the account that *this* browser's token opens,
and only if the payment was for that account. Whoever opens somebody else's return address learns nothing.
"""

from aiohttp import web

from gateway.core import tokens
from gateway.core.callers import Caller
from gateway.core.money import Money
from gateway.core.payments import Payment
from gateway.core.refusals import LedgerUnavailable, PaymentServiceUnavailable, RecordsUnavailable
from gateway.core.routes import RouteTable
from gateway.flows.identify import Callers
from gateway.flows.top_up import TopUp
from gateway.ports import Ledger
from gateway.web.answers import OwnAnswer
from gateway.web.cookies import Cookies
from gateway.web.templates import Templates, stylesheet

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
        routes: RouteTable,
        token_header: str,
    ) -> None:
        self._templates = templates
        self._cookies = cookies
        self._callers = callers
        self._top_up = top_up
        self._price = price
        self._ledger = ledger
        self._routes = routes
        self._token_header = token_header
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
            payment_url = await self._top_up.payment_url(caller or (caller := self._callers.fresh()))
        except (LedgerUnavailable, RecordsUnavailable):
            return self._wait("Your balance cannot be read just now", "This page tries again by itself.")
        except PaymentServiceUnavailable:
            payment_url = None
        answer = self._page(
            "wallet.html",
            balance=balance,
            account=caller.account if caller else "",
            payment_url=payment_url,
            top_up=self._price,
            routes=self._routes.routes,
        )
        if caller and caller.fresh and payment_url:
            self._cookies.set_token(answer, caller.fresh)
        return answer

    async def paid(self, request: web.Request) -> web.StreamResponse:
        """Where the provider sends a browser back to. Credits the payment if the webhook has not yet."""
        try:
            caller = await self._caller(request)
            found = await self._top_up.fulfil_session(request.query.get("session_id", ""))
        except (PaymentServiceUnavailable, LedgerUnavailable, RecordsUnavailable):
            return self._wait("Your payment is on its way", "This page looks again by itself.")
        if found is None:
            return self._say("There is no such payment", "Nothing was charged.", status=404)
        outcome, payment = found
        if outcome == "pending":
            return self._wait("Your payment is on its way", "It counts as soon as your bank confirms it.")
        if not self._is_for(payment, caller):
            return self._say("The payment arrived", "It was credited to the wallet it was for.")
        return await self._thank(payment, caller, self._cookies.address(request.cookies))

    async def _thank(self, payment: Payment, caller: Caller | None, address: str | None) -> OwnAnswer:
        assert caller is not None
        balance = await self._ledger.balance(caller.account, payment.amount.currency)
        return self._page(
            "paid.html",
            done=True,
            balance=balance.available,
            paid=payment.amount,
            next_address=address,
            refresh_seconds=_BACK_SECONDS if address else None,
        )

    def _is_for(self, payment: Payment, caller: Caller | None) -> bool:
        reference = self._top_up.reference(payment)
        return reference is not None and caller is not None and reference.account == caller.account

    async def _caller(self, request: web.Request) -> Caller | None:
        """Whoever this browser or program is, by the same rules as on a route."""
        for credential in tokens.candidates(
            request.headers, request.cookies, header=self._token_header, cookie_names=self._cookies.names[:1]
        ):
            caller = await self._callers.known(credential.value)
            if caller is not None:
                return caller
        return None

    def _wait(self, heading: str, detail: str) -> OwnAnswer:
        return self._say(heading, detail, refresh_seconds=_WAIT_SECONDS)

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
