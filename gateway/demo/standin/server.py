"""The stand-in as a server: one object to start, to point a Stripe client at, and to steer from a test.

It listens on the loopback and nowhere else, and takes no live key: whatever is typed into it, no money can move
and no real account can be reached. What it did is open to inspection (`events`, `sessions`, `journal`,
`attempts`), and waiting for it is waiting for an event, never for time to pass (`settled`).
"""

from __future__ import annotations

import asyncio
import copy
import ipaddress
import random
import secrets
import socket
import string
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from gateway.demo.standin import (
    banking,
    cards,
    catalogue,
    checkout,
    connect,
    control,
    intents,
    onboarding,
    portal,
    returns,
    sessions,
    subscriptions,
    till,
    transfers,
    webhooks,
)
from gateway.demo.standin.api import LIVE_KEYS, TEST_KEYS, Api, Parameters, encode
from gateway.demo.standin.errors import ApiError, no_such, outage, unrecognized
from gateway.demo.standin.store import Connected, Json, Movement, World
from gateway.demo.standin.till import PaymentRefused, Tender
from gateway.demo.standin.webhooks import Attempt, Endpoint, Tampering, Webhooks

ALPHABET = string.ascii_letters + string.digits
BODY_BYTES_MAX = 1024 * 1024
OBJECTS_MAX = 10_000
EVENTS_MAX = 10_000
KEYS_MAX = 10_000

Method = Literal["card", "link", "later"]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def random_token(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


class StandIn:
    """A Stripe of one's own, for tests and demos.

    `parameters` says what Stripe knows about an address (see `shapes.py`); without it only what is played is
    checked.
    """

    def __init__(
        self,
        *,
        api_key: str,
        parameters: Parameters | None = None,
        webhooks: Sequence[Endpoint] = (),
        host: str = "127.0.0.1",
        business: str = "Demo shop",
        now: Callable[[], float] = time.time,
        token: Callable[[int], str] = random_token,
        retry_delays_seconds: Sequence[float] = webhooks.RETRY_DELAYS_SECONDS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        shuffler: random.Random | None = None,
        objects_max: int = OBJECTS_MAX,
        events_max: int = EVENTS_MAX,
    ) -> None:
        if api_key.startswith(LIVE_KEYS):
            raise ValueError("the stand-in takes no live keys")
        if not api_key.startswith(TEST_KEYS):
            raise ValueError("the API key of the stand-in starts with sk_test_ or rk_test_")
        if not _is_loopback(host):
            raise ValueError("the stand-in listens on the loopback only")
        self._host = host
        self._secret = api_key
        self._webhooks = Webhooks(
            webhooks,
            now=now,
            delays_seconds=retry_delays_seconds,
            sleep=sleep,
            shuffler=shuffler or random.SystemRandom(),
        )
        self._world = World(
            now=now, token=token, ring=self._webhooks.ring, objects_max=objects_max, events_max=events_max
        )
        self._api = Api(self._world, api_key, parameters, KEYS_MAX)
        self._checkout = checkout.Checkout(self._world, api_key, business)
        self._runner: web.AppRunner | None = None

    async def start(self, port: int = 0) -> None:
        """Listen. With port 0 the system chooses one; `url` tells which."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_in_shape])
        app.add_routes(self._api.routes())
        app.add_routes(self._checkout.routes())
        app.add_routes(portal.routes(self._world, self._checkout.message))
        app.add_routes(banking.routes(self._world, self._checkout.message, self._checkout.page))
        app.add_routes(onboarding.routes(self._world, self._checkout.message, self._checkout.page))
        app.add_routes(control.routes(self))
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, port), family=family)
        chosen = listener.getsockname()[1]
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await self._webhooks.start()
        await web.SockSite(self._runner, listener).start()
        self._world.origin = f"http://[{self._host}]:{chosen}" if ":" in self._host else f"http://{self._host}:{chosen}"

    async def stop(self) -> None:
        """Stop listening and forget what is under way. What has happened can still be looked at."""
        self._api.gate.set()
        await self._webhooks.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """The base address, without a slash at its end."""
        if not self._world.origin:
            raise RuntimeError("the stand-in has not been started")
        return self._world.origin

    @property
    def events(self) -> list[Json]:
        """Every event, oldest first."""
        return copy.deepcopy(list(self._world.shelf("event")))

    @property
    def thin_events(self) -> list[Json]:
        """Every event of the second API, oldest first."""
        return copy.deepcopy(list(self._world.shelf("v2.core.event")))

    @property
    def sessions(self) -> list[Json]:
        """Every checkout session, oldest first."""
        return copy.deepcopy(list(self._world.shelf("checkout.session")))

    @property
    def payment_intents(self) -> list[Json]:
        """Every payment intent, oldest first."""
        return copy.deepcopy(list(self._world.shelf("payment_intent")))

    @property
    def journal(self) -> list[Movement]:
        """Money that moved, oldest first."""
        return list(self._world.journal)

    @property
    def attempts(self) -> list[Attempt]:
        """Every request to a webhook endpoint, oldest first."""
        return list(self._webhooks.attempts)

    @property
    def held(self) -> list[str]:
        """The ids of the events that are kept back."""
        return self._webhooks.held

    @property
    def pending(self) -> int:
        """How many deliveries are under way or wait to be repeated."""
        return self._webhooks.pending

    def add_endpoint(self, endpoint: Endpoint) -> None:
        self._webhooks.endpoints.append(endpoint)

    def open(self, link: str, *, client_reference_id: str | None = None) -> Json:
        """Visit a payment link (its id, or its address with a query) and return the session that it opens."""
        parts = urlsplit(link)
        found = self._world.get("payment_link", parts.path.rpartition("/")[2], "payment_link")
        query = dict(reversed(parse_qsl(parts.query)))
        if client_reference_id is not None:
            query["client_reference_id"] = client_reference_id
        if not sessions.link_is_open(found):
            raise PaymentRefused("closed", "This payment link is no longer active.")
        return copy.deepcopy(sessions.open_from_link(self._world, found, query))

    def pay(
        self,
        link: str,
        *,
        client_reference_id: str | None = None,
        method: Method = "card",
        card: str = checkout.TEST_CARD,
        email: str = checkout.TEST_EMAIL,
        amount: int | None = None,
    ) -> Json:
        """Pay as a buyer would, without a browser, and return the complete session.

        `link` is the id or address of a payment link or of a checkout session. `amount` is for prices that let
        the buyer choose. Raises `BadCard`, `PaymentDeclined` or `PaymentRefused`, and `ApiError` when there is no
        such link.
        """
        id = urlsplit(link).path.rpartition("/")[2]
        if not id.startswith("cs_"):
            id = self.open(link, client_reference_id=client_reference_id)["id"]
        session = self._world.get("checkout.session", id, "session")
        tender = self._tender(session, method, card, email)
        return copy.deepcopy(till.pay(self._world, session, tender, amount, self._secret))

    def settle(self, session_id: str, *, succeed: bool = True) -> Json:
        """Let the payment of a session that settles later arrive, or fail."""
        session = self._world.get("checkout.session", session_id, "session")
        return copy.deepcopy(till.settle(self._world, session, succeed))

    def refund(self, session_id: str, amount: int | None = None, *, later: bool = False) -> Json:
        """Refund a session, whole or in part. `later`: the refund stays pending until `settle_refund`."""
        params = {} if amount is None else {"amount": amount}
        status = "pending" if later else "succeeded"
        return copy.deepcopy(returns.refund(self._world, self._charge(session_id), params, status))

    def settle_refund(self, refund_id: str, *, succeed: bool = True) -> Json:
        """Let a refund arrive, or fail; one that had arrived may still fail."""
        made = self._world.get("refund", refund_id, "refund")
        return copy.deepcopy(returns.settle_refund(self._world, made, succeed))

    def dispute(self, session_id: str, amount: int | None = None, *, inquiry: bool = False) -> Json:
        """The payer of a session disputes it, whole or in part."""
        return copy.deepcopy(returns.dispute(self._world, self._charge(session_id), amount, inquiry))

    def close_dispute(self, dispute_id: str, *, won: bool) -> Json:
        """Let the bank decide a dispute."""
        made = self._world.get("dispute", dispute_id, "dispute")
        return copy.deepcopy(returns.close_dispute(self._world, made, won))

    def warn(self, session_id: str) -> Json:
        """The issuer of the card that paid a session warns of fraud."""
        return copy.deepcopy(returns.warn(self._world, self._charge(session_id)))

    def _charge(self, session_id: str) -> Json:
        if session_id.startswith("pi_"):
            intent = self._world.get("payment_intent", session_id, "payment_intent")
            return self._world.get("charge", intent["latest_charge"] or "", "payment_intent", 404)
        kind = "invoice" if session_id.startswith("in_") else "checkout.session"
        return returns.charge_of(self._world, self._world.get(kind, session_id, "session"))

    def expire_due(self) -> None:
        """Expire the sessions whose time is over. Every request does this by itself."""
        sessions.expire_due(self._world)

    async def settled(self) -> None:
        """Return when no delivery is under way or waits to be repeated. What is kept back does not count."""
        await self._webhooks.settled()

    def deliver_again(self, event_id: str, *, times: int = 1) -> None:
        """Deliver an event again, `times` times at once."""
        self._webhooks.deliver(self._event(event_id), times)

    def hold(self, types: Collection[str] | None = None) -> None:
        """Keep events back from now on: all, or those of the given types."""
        self._webhooks.hold(types)

    def release(self, order: str | Sequence[str] = "created") -> list[str]:
        """Deliver what was kept back, one after the other, and keep nothing back any more. Returns the order."""
        return self._webhooks.release(order)

    def drop(self, event_id: str) -> bool:
        """Never deliver an event that is kept back or being repeated. False when it is neither."""
        return self._webhooks.drop(event_id)

    def drop_next(self, count: int = 1, types: Collection[str] | None = None) -> None:
        """Never deliver the next events (of the given types). They can still be listed through the API."""
        self._webhooks.drop_next(count, types)

    async def tamper(self, event_id: str, how: Tampering) -> list[int | None]:
        """Send a copy of an event that must not be believed. Returns the status of each endpoint."""
        return await self._webhooks.tamper(self._event(event_id), how)

    def recurring_price(self, id: str, amount: int, *, currency: str = "usd", interval: str = "month") -> Json:
        """Put a price of this id on sale, as its seller would in the dashboard."""
        every = {"interval": interval}
        about = {"currency": currency, "unit_amount": amount, "recurring": every, "product_data": {"name": id}}
        made = catalogue.create_price(self._world, about)
        self._world.forget(made)
        made["id"] = id
        return copy.deepcopy(self._world.keep(made))

    @property
    def subscriptions(self) -> list[Json]:
        """Every subscription, oldest first."""
        return copy.deepcopy(list(self._world.shelf("subscription")))

    @property
    def invoices(self) -> list[Json]:
        """Every invoice, oldest first."""
        return copy.deepcopy(list(self._world.shelf("invoice")))

    def checkout_of(self, price_id: str, client_reference_id: str, metadata: dict[str, str]) -> str:
        """A checkout of a subscription with this metadata, as a seller's program makes it. Returns its address."""
        asked = {
            "mode": "subscription",
            "line_items": [{"price": price_id}],
            "client_reference_id": client_reference_id,
            "subscription_data": {"metadata": metadata},
            "success_url": self.url,
        }
        return str(sessions.create(self._world, asked)["url"])

    def invoices_of(self, subscription_id: str) -> list[str]:
        """The ids of its invoices, oldest first."""
        named = ((one["id"], one["parent"]["subscription_details"]) for one in self._world.shelf("invoice"))
        return [id for id, details in named if details["subscription"] == subscription_id]

    def end(self, subscription_id: str) -> Json:
        """A subscription ends at once."""
        return copy.deepcopy(subscriptions.cancel(self._world, subscription_id, {}))

    def advance(self, days: float) -> list[Json]:
        """Move the clock of subscriptions: what is due is renewed or ends. Returns the new invoices."""
        return copy.deepcopy(subscriptions.advance(self._world, int(days * subscriptions.DAY_SECONDS)))

    def coupon(self, off_percent: int) -> None:
        """From now on so much is taken off every invoice of a subscription."""
        self._world.off_percent = off_percent

    def change_plan(self, subscription_id: str, price_id: str, *, part: int) -> Json:
        """Another price in the middle of a period, with `part` percent of it left. Returns the invoice of it."""
        made, price = self._world.get("subscription", subscription_id), self._world.get("price", price_id)
        return copy.deepcopy(subscriptions.change(self._world, made, price, part))

    def add_to_next_invoice(self, subscription_id: str, price_id: str, *, times: int) -> None:
        """So many lines more of another price on the invoice of the next period."""
        made, price = self._world.get("subscription", subscription_id), self._world.get("price", price_id)
        subscriptions.add_item(self._world, made, price, times)

    def pay_invoice(self, invoice_id: str) -> Json:
        """Its payer pays an open invoice after all."""
        return copy.deepcopy(subscriptions.pay_invoice(self._world, self._world.get("invoice", invoice_id)))

    @property
    def accounts(self) -> list[Connected]:
        """Every account that was made for somebody else, oldest first."""
        return copy.deepcopy(list(self._world.connected.values()))

    def set_account(self, id: str, **how: Any) -> None:
        """It stands otherwise: `due` (numbers of requirements), `verifying`, `rejected`; and that is told."""
        account = connect.account_of(self._world, id)
        for name, value in how.items():
            setattr(account, name, value)
        connect.tell(self._world, account)

    def give_what_is_due(self, id: str) -> None:
        """Its owner gives everything that is due, as on the page that an account link leads to."""
        account = connect.account_of(self._world, id)
        connect.give(self._world, account, account.due)

    def deauthorise(self, id: str) -> None:
        """Its owner disconnects it from this account."""
        connect.deauthorise(self._world, connect.account_of(self._world, id))

    def close_account(self, id: str) -> None:
        """A connected account is over."""
        connect.close(self._world, connect.account_of(self._world, id))

    def enable_connect(self, enabled: bool) -> None:
        """Whether this account may make accounts for others."""
        self._world.connects = enabled

    def fail_requests(self, count: int, status: int, *, only_writes: bool = False) -> None:
        """Answer the next API requests with 429 or 500, and do nothing that they ask for."""
        self._api.failing, self._api.fails_with, self._api.only_writes = count, status, only_writes

    def connect(self, account: str, *, transfers: bool = True) -> None:
        """From now on money can be sent to this account, or not any more."""
        self._world.destinations[account] = transfers

    def take_fees(self, basis_points: int, fixed: int) -> None:
        """From now on so much is kept of every payment."""
        self._world.fees = basis_points, fixed

    @property
    def transfers(self) -> list[Json]:
        """Every transfer, oldest first."""
        return copy.deepcopy(list(self._world.shelf("transfer")))

    @property
    def balance(self) -> dict[str, int]:
        """What is there by currency, after fees."""
        return dict(self._world.balance)

    def reverse(self, transfer_id: str, amount: int | None = None) -> Json:
        """Fetch a transfer back in the dashboard, whole or in part."""
        return copy.deepcopy(transfers.reverse(self._world, transfer_id, {} if amount is None else {"amount": amount}))

    def send_on(self, account: str, amount: int, *, currency: str = "usd", succeed: bool = True) -> Json:
        """A connected account is paid out to its bank, or that fails."""
        return copy.deepcopy(transfers.send_on(self._world, account, amount, currency, succeed))

    def forget_keys(self) -> None:
        """A day has passed since every idempotency key was used: a call that comes again is a new one."""
        self._api.forget_keys()

    def update_card(self, method_id: str) -> Json:
        """The issuer sends a new card, and the network tells Stripe of it: payments with it succeed from now on."""
        method = self._world.get("payment_method", method_id, "payment_method")
        method["card"].update(exp_year=method["card"]["exp_year"] + 3, last4="4242")
        self._world.numbers[method_id] = "4242424242424242"
        self._world.emit("payment_method.automatically_updated", method)
        return copy.deepcopy(method)

    def save_method(self, setup_intent: str, number: str = "4242424242424242", *, authenticate: bool = True) -> Json:
        """What a page of the platform's does with a setup intent: a card is typed, and its bank asked if it wants."""
        card = cards.read(number, "12/34", "123", self._world.now())
        intent = self._world.get("setup_intent", setup_intent)
        made = intents.save(self._world, intent, card, self._secret, authenticate=authenticate)
        return copy.deepcopy(made)

    def detach_method(self, method: str) -> None:
        """Its owner takes it back, on a page of Stripe's."""
        intents.detach(self._world, method, {})

    def set_number(self, method: str, number: str) -> None:
        """From now on the bank says to this method what it says to that test card."""
        self._world.numbers[method] = number

    def shelf(self, kind: str) -> list[Json]:
        """Everything of a kind, oldest first."""
        return copy.deepcopy(list(self._world.shelf(kind)))

    def cut_answers(self, count: int = 1, *, only_writes: bool = False) -> None:
        """Do what the next API requests ask for, and break the connection before the answer."""
        self._api.cuts, self._api.only_writes = count, only_writes

    def hold_requests(self, *, only_writes: bool = False) -> None:
        """Let API requests wait for `release_requests`, as if Stripe were slow."""
        self._api.only_writes = only_writes
        self._api.gate.clear()

    def release_requests(self) -> None:
        self._api.gate.set()

    async def requests_waiting(self, count: int = 1) -> None:
        """Return when so many API requests are waiting."""
        while self._api.waiting < count:
            self._api.arrived.clear()
            await self._api.arrived.wait()

    def _event(self, id: str) -> Json:
        event = self._world.shelf("event").get(id) or self._world.shelf("v2.core.event").get(id)
        if event is None:
            raise no_such("event", id[:100])
        return event

    def _tender(self, session: Json, method: Method, card: str, email: str) -> Tender:
        if method == "link":
            return Tender(email)
        if method == "later":
            return Tender(email, later=sessions.LATER.get(session["currency"], "none"))
        cvc = "1234" if card.startswith(("34", "37")) else checkout.TEST_CVC
        return Tender(email, cards.read(card, checkout.TEST_EXPIRY, cvc, self._world.now()))


@web.middleware
async def _in_shape(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong outside `/v1`, the answer has Stripe's shape and tells nothing of the inside."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        error = unrecognized(request.method, request.path)
    except web.HTTPException as refused:
        error = ApiError(refused.status, f"The request was refused: {refused.reason}.")
    except ApiError as refusal:
        error = refusal
    except Exception:
        webhooks.log.exception("the stand-in failed to answer")
        error = outage()
    return web.Response(status=error.status, body=encode(error.body()), content_type="application/json")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
