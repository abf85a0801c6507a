"""The hosted pages: a payment link, the checkout, and what comes after, in plain HTML without a script.

Opening a payment link makes a session and sends the browser to it. The checkout offers the ways to pay that the
session allows; a declined card or a slip of the pen brings the same page back with a sentence and what was typed.
A session pays once: whoever posts again is told so, and nothing moves.

Every page forbids scripts, frames and foreign content. A browser holds the whole chain of redirects after a form
against `form-action`, so the origin of the success address is named there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
from aiohttp import web

from gateway.demo.standin import cards, currencies, sessions, till
from gateway.demo.standin.cards import BadCard
from gateway.demo.standin.store import Json, World
from gateway.demo.standin.till import PaymentDeclined, PaymentRefused, Tender

HERE = Path(__file__).parent

TEST_CARD = "4242 4242 4242 4242"
TEST_EXPIRY = "12 / 34"
TEST_CVC = "123"
TEST_EMAIL = "buyer@example.com"

VERBS = {"donate": "Donate", "book": "Book"}
LATER_LABELS = {"konbini": "Konbini", "boleto": "Boleto", "oxxo": "OXXO"}
FORM_FIELDS = ("email", "number", "expiry", "cvc", "amount")


class Checkout:
    """`/pay/…` and `/checkout/…` of the stand-in."""

    def __init__(self, world: World, secret: str, business: str) -> None:
        self._world = world
        self._secret = secret
        self._business = business
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def routes(self) -> list[web.AbstractRouteDef]:
        # A HEAD that opened a session would let every link preview make one.
        return [
            web.get("/", self._front, allow_head=False),
            web.get("/pay/{id}", self._link, allow_head=False),
            web.get("/checkout/{id}", self._show, allow_head=False),
            web.post("/checkout/{id}", self._pay),
            web.get("/checkout/{id}/paid", self._paid, allow_head=False),
            web.get("/checkout/{id}/cancelled", self._cancelled, allow_head=False),
            web.get("/standin.css", self._stylesheet),
        ]

    async def _front(self, request: web.Request) -> web.Response:
        text = "It answers the API under /v1 and shows checkout pages. It has no account of yours and no money."
        return self.message(200, "A stand-in for Stripe", text)

    async def _stylesheet(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(HERE / "static" / "standin.css", headers={"Cache-Control": "max-age=60"})

    async def _link(self, request: web.Request) -> web.Response:
        link = self._world.shelf("payment_link").get(request.match_info["id"])
        if link is None:
            return self.message(404, "There is no such payment link", "Check the address, or ask for a new link.")
        if not sessions.link_is_open(link):
            text = link["inactive_message"] or "The seller has turned it off. Ask for a new one."
            return self.message(410, "This payment link is deactivated", text)
        session = sessions.open_from_link(self._world, link, request.query)
        return _see_other(session["url"])

    async def _show(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if session is None:
            return self._no_such()
        if session["status"] != "open":
            return self._closed(session, 200)
        return self._form(session, 200, {}, None)

    async def _pay(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if session is None:
            return self._no_such()
        form = await request.post()
        typed = {name: str(form.get(name, ""))[:254] for name in FORM_FIELDS}
        try:
            tender = self._tender(session, str(form.get("method", "card")), typed)
            till.pay(self._world, session, tender, self._amount(session, typed["amount"]), self._secret)
        except BadCard as problem:
            return self._form(session, 400, typed, problem.message, problem.field)
        except PaymentDeclined as decline:
            return self._form(session, 402, typed, decline.message, "number")
        except PaymentRefused as refusal:
            if refusal.reason in ("amount", "method"):
                return self._form(session, 400, typed, refusal.message, refusal.reason)
            return self._closed(session, 409, refusal.message)
        return _see_other(sessions.destination(session) or f"{self._world.origin}/checkout/{session['id']}/paid")

    async def _paid(self, request: web.Request) -> web.Response:
        session = self._session(request)
        if session is None or session["status"] != "complete":
            return self._no_such()
        return self._closed(session, 200)

    async def _cancelled(self, request: web.Request) -> web.Response:
        return self.message(200, "Nothing was charged", "You may close this page.")

    def _session(self, request: web.Request) -> Json | None:
        sessions.expire_due(self._world)
        return self._world.shelf("checkout.session").get(request.match_info["id"])

    def _tender(self, session: Json, method: str, typed: Mapping[str, str]) -> Tender:
        if session["status"] != "open":
            return Tender(email="")
        email = till.fixed_email(self._world, session) or typed["email"].strip()
        if not sessions.valid_email(email):
            raise BadCard("email", "Your e-mail address is incomplete.")
        if method == "link":
            return Tender(email)
        if method == "later":
            return Tender(email, later=sessions.LATER.get(session["currency"], "none"))
        return Tender(email, cards.read(typed["number"], typed["expiry"], typed["cvc"], self._world.now()))

    def _amount(self, session: Json, text: str) -> int | None:
        if session["status"] != "open" or sessions.custom_amount(self._world, session) is None:
            return None
        amount = currencies.typed(text, session["currency"])
        if amount is None:
            raise PaymentRefused("amount", f"Enter an amount such as {self._example(session)}.")
        return amount

    def _example(self, session: Json) -> str:
        bounds = sessions.custom_amount(self._world, session) or {}
        currency = session["currency"]
        return currencies.figure(bounds.get("preset") or sessions.least(bounds, currency), currency)

    def _form(
        self, session: Json, status: int, typed: Mapping[str, str], problem: str | None, field: str | None = None
    ) -> web.Response:
        world, currency = self._world, session["currency"]
        fixed = till.fixed_email(world, session)
        prefilled = world.prefilled.get(session["id"], {}).get("email", TEST_EMAIL)
        start = {"number": TEST_CARD, "expiry": TEST_EXPIRY, "cvc": TEST_CVC, "email": fixed or prefilled}
        bounds = sessions.custom_amount(world, session)
        if bounds is not None:
            start["amount"] = self._example(session)
        methods = session["payment_method_types"]
        later = sessions.LATER.get(currency)
        return self.page(
            "checkout.html",
            status,
            allowed=session["success_url"],
            session=session,
            business=self._business,
            items=[_shown_item(item, self._description(item)) for item in world.items[session["id"]]],
            total=None if bounds is not None else _shown_total(session),
            bounds=bounds and _shown_bounds(bounds, currency),
            currency=currency.upper(),
            values={**start, **{name: value for name, value in typed.items() if value}},
            email_is_fixed=fixed is not None,
            methods=[name for name in ("card", "link") if name in methods],
            later=LATER_LABELS.get(later, "Bank debit") if later and later in methods else None,
            verb="Save card" if session["mode"] == "setup" else VERBS.get(session["submit_type"], "Pay"),
            note=(session["custom_text"]["submit"] or {}).get("message"),
            problem=problem,
            field=field,
            back=session["cancel_url"] or f"/checkout/{session['id']}/cancelled",
        )

    def _description(self, item: Json) -> str | None:
        product = self._world.shelf("product").get(item["price"]["product"])
        return product["description"] if product else None

    def _closed(self, session: Json, status: int, text: str | None = None) -> web.Response:
        if session["status"] == "expired":
            text = text or "Go back to where you came from to start again. Nothing was charged."
            return self.message(status, "This checkout has expired", text)
        if session["status"] == "open":
            return self.message(status, "This payment link is deactivated", text or "")
        if session["mode"] == "setup":
            return self.message(status, "Thank you: the card is saved", text or self._confirmation(session), paid=True)
        shown = _shown_total(session)
        if session["payment_status"] == "paid":
            title, told = f"Thank you: {shown} paid", self._confirmation(session)
        else:
            title, told = f"Thank you: {shown} is on its way", "The bank will confirm it later."
        return self.message(status, title, text or told, paid=True)

    def _confirmation(self, session: Json) -> str:
        link = self._world.shelf("payment_link").get(session["payment_link"] or "")
        after = link["after_completion"] if link else {}
        message = (after.get("hosted_confirmation") or {}).get("custom_message")
        return message or "You may close this page."

    def _no_such(self) -> web.Response:
        return self.message(404, "There is no such checkout", "It may have been started with another stand-in.")

    def message(
        self, status: int, title: str, text: str, *, paid: bool = False, back: str | None = None
    ) -> web.Response:
        """A page that says something."""
        return self.page("message.html", status, title=title, text=text, paid=paid, back=back)

    def page(self, name: str, status: int, *, allowed: str | None = None, **values: Any) -> web.Response:
        """A page whose form may lead to where `allowed` is."""
        html = self._templates.get_template(name).render(values)
        headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": _policy(allowed),
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return web.Response(text=html, status=status, content_type="text/html", headers=headers)


def _policy(destination: str | None) -> str:
    targets = "'self'"
    if destination:
        parts = urlsplit(destination)
        targets += f" {parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    return (
        "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        f"form-action {targets}"
    )  # fmt: skip


def _see_other(url: str) -> web.Response:
    return web.Response(status=303, headers={"Location": url, "Cache-Control": "no-store"})


def _shown_item(item: Json, description: str | None) -> Json:
    currency = item["currency"]
    custom = item["price"]["custom_unit_amount"] is not None
    return {
        "name": item["description"],
        "description": description,
        "quantity": item["quantity"],
        "each": None if custom else currencies.shown(item["price"]["unit_amount"], currency),
        "total": None if custom else currencies.shown(item["amount_total"], currency),
    }


def _shown_total(session: Json) -> str | None:
    """None where only a card is saved."""
    if session["mode"] == "setup":
        return None
    return currencies.shown(session["amount_total"], session["currency"])


def _shown_bounds(bounds: Json, currency: str) -> str:
    low = currencies.shown(sessions.least(bounds, currency), currency)
    if bounds["maximum"] is None:
        return f"{low} or more"
    return f"{low} to {currencies.shown(sessions.most(bounds), currency)}"
