"""What a person sees after a payment. No JavaScript; a page that waits refreshes itself, for some minutes.

The page after a payment never logs anyone in: it shows a balance only to the browser whose token the payment was for,
or that has the sealed cookie of this very checkout. Whoever opens somebody else's return address learns nothing.
"""

import hashlib
from urllib.parse import urlencode

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.limits import Rate, network
from gateway.core.money import Money
from gateway.core.payments import PARKED, Payment
from gateway.core.references import Reference
from gateway.core.refusals import LedgerUnavailable, PaymentServiceUnavailable, RecordsUnavailable
from gateway.core.secrets import Secret
from gateway.flows.log_in import LogIn, Welcome, Who
from gateway.flows.top_up import TopUp
from gateway.ports import Ledger, RateLimits, Roots
from gateway.web.answers import OwnAnswer
from gateway.web.cookies import Checkout, Cookies
from gateway.web.templates import Templates, stylesheet
from gateway.web.visitors import Visitors

_SOON_SECONDS, _LATER_SECONDS = 2, 15
_SOON, _LOOKS_MAX = 10, 30
"""A page looks again ten times soon, and twenty times later: five minutes in all."""
_LOOK = "look"
_BACK_SECONDS = 4
_JOINING_SECONDS = 6
"""By when an old wallet is found, as a rule: the grace of `flows/log_in.py`, and a second for each of two looks."""


class Pages:
    """Our pages for callers."""

    def __init__(
        self,
        *,
        templates: Templates,
        cookies: Cookies,
        top_up: TopUp,
        price: Money,
        ledger: Ledger,
        limits: RateLimits,
        looks: Rate,
        visitors: Visitors,
        roots: Roots,
        log_in: LogIn | None,
    ) -> None:
        self._log_in = log_in
        self._roots = roots
        self._templates = templates
        self._cookies = cookies
        self._top_up = top_up
        self._price = price
        self._ledger = ledger
        self._limits = limits
        self._looks = looks  # how often one address may have the provider asked about a payment
        self._visitors = visitors
        self._stylesheet = stylesheet()

    async def style(self, request: web.Request) -> web.StreamResponse:
        return OwnAnswer(
            text=self._stylesheet, content_type="text/css", headers={"Cache-Control": "public, max-age=300"}
        )

    async def paid(self, request: web.Request) -> web.StreamResponse:
        """Where the provider sends a browser back to. Credits the payment if the webhook has not yet."""
        try:
            window = await self._limits.hit(self._looks, f"-/paid {network(request.remote or '')}")
            found = await self._top_up.fulfil_session(request.query.get("session_id", "")) if window.allowed else None
            if found is None and window.allowed and self._log_in is not None:
                await self._log_in.came_early(request.query.get("session_id", ""))
            caller = await self._caller(request)
        except (PaymentServiceUnavailable, LedgerUnavailable, RecordsUnavailable):
            return again(self._templates, request, "Your payment is on its way")
        if not window.allowed:
            return again(self._templates, request, "One moment", seconds=window.reset_seconds + 1)
        if found is None:
            return self._say("There is no such payment", "Nothing was charged.", status=404)
        outcome, payment = found
        if outcome == "pending":
            return again(
                self._templates, request, "Your payment is on its way", "It counts as soon as your bank confirms it."
            )
        reference = self._top_up.reference(payment)
        if outcome in PARKED or reference is None:
            why = PARKED.get(outcome, "")
            return self._say("Your payment arrived and could not be credited", f"Ask the operator for it: {why}.")
        try:
            return await self._welcome_back(request, caller, payment, reference)
        except (PaymentServiceUnavailable, LedgerUnavailable, RecordsUnavailable):
            return again(self._templates, request, "Your payment arrived")

    async def _welcome_back(
        self, request: web.Request, caller: Caller | None, payment: Payment, reference: Reference
    ) -> OwnAnswer:
        """Thank who paid. The browser that set out gets its token back, unless it has another with money by now."""
        checkout = self._cookies.checkout(request.cookies, reference.token_digest)
        account = self._roots.root(reference.account)
        is_for_caller = caller is not None and caller.account == account
        found_again = checkout.token if checkout else None
        who: Who = "own" if checkout else "holder" if is_for_caller else "stranger"
        welcome = await self._recognised(request, payment, reference, who)
        if welcome.code is not None:
            return self._with_code(payment, welcome.code)
        if not is_for_caller and (found_again is None or await self._has_money(caller)):
            return self._say("The payment arrived", "It was credited to the wallet that it was for.")
        balance = await self._ledger.balance(account, payment.amount.currency)
        address = checkout.address if checkout else None
        answer = self._page(
            "paid.html",
            balance=balance.available,
            paid=payment.amount,
            next_address=address,
            welcome=welcome,
            refresh=_refresh(request, welcome, address),
        )
        if not is_for_caller and found_again is not None:
            self._cookies.set_token(answer, found_again)
        if not welcome.joining:
            self._cookies.end_checkout(answer, reference.token_digest)
        return answer

    async def _recognised(self, request: web.Request, payment: Payment, reference: Reference, who: Who) -> Welcome:
        if self._log_in is None:
            return Welcome()
        shown = self._cookies.checkout(request.cookies, _shown_code(payment))
        code = shown.token.reveal() if shown and shown.token else None
        try:
            return await self._log_in.came_back(payment, reference, who, code)
        except PaymentServiceUnavailable:
            return Welcome()  # a key that may not read who paid must not hide that the payment arrived

    def _with_code(self, payment: Payment, code: str) -> OwnAnswer:
        """The payment was for a wallet elsewhere: what is to be said there, to have this payer's wallet."""
        answer = self._page("code.html", paid=payment.amount, code=code)
        self._cookies.set_checkout(answer, _shown_code(payment), Checkout(None, Secret(code)))
        return answer

    async def _has_money(self, caller: Caller | None) -> bool:
        if caller is None:
            return False
        balance = await self._ledger.balance(caller.account, self._price.currency)
        return bool(balance.available or balance.held)

    async def _caller(self, request: web.Request) -> Caller | None:
        return await self._visitors.known(request)

    def _say(self, heading: str, detail: str, *, status: int = 200) -> OwnAnswer:
        return _told(self._templates, heading, detail, status=status)

    def _page(self, template: str, **values: object) -> OwnAnswer:
        return OwnAnswer(text=self._templates.render(template, **values), content_type="text/html")


def again(
    templates: Templates,
    request: web.Request,
    heading: str,
    detail: str = "",
    *,
    seconds: int | None = None,
) -> OwnAnswer:
    """A page that looks again by itself: soon at first, then less often, and after some minutes no more."""
    looks = _looks(request)
    wait = seconds or (_SOON_SECONDS if looks < _SOON else _LATER_SECONDS)
    query = {name: value for name, value in request.query.items() if name != _LOOK}
    address = f"{request.path}?{urlencode({**query, _LOOK: looks + 1})}"
    if looks >= _LOOKS_MAX:
        return _told(templates, heading, detail, again=f"{request.path}?{urlencode(query)}")
    return _told(templates, heading, f"{detail} This page looks again by itself.".strip(), refresh=(wait, address))


def _refresh(request: web.Request, welcome: Welcome, address: str | None) -> tuple[int, str] | None:
    """Where the page goes by itself, and when: to itself, until an old wallet is found, or back."""
    looks = _looks(request)
    if welcome.joining and looks < _SOON:
        query = {name: value for name, value in request.query.items() if name != _LOOK}
        return _JOINING_SECONDS, f"{request.path}?{urlencode({**query, _LOOK: looks + 1})}"
    return (_BACK_SECONDS, address) if address else None


def _shown_code(payment: Payment) -> bytes:
    """What the cookie is named after that remembers a code which was shown."""
    return hashlib.sha256(f"code {payment.id}".encode()).digest()


def _looks(request: web.Request) -> int:
    """How often this page was looked at, as it says itself."""
    text = request.query.get(_LOOK, "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0


def _told(
    templates: Templates,
    heading: str,
    detail: str,
    *,
    status: int = 200,
    refresh: tuple[int, str] | None = None,
    again: str | None = None,
) -> OwnAnswer:
    text = templates.render("told.html", heading=heading, detail=detail, refresh=refresh, again=again)
    return OwnAnswer(status=status, text=text, content_type="text/html")
