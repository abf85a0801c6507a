"""Licences for programs and pages: begun, issued after a checkout, renewed, and restored on another device.

An application may be served from another origin than ours. Those on the list of `licences.origins` may call the
addresses for programs, and be returned to after a checkout: with a code behind `#`, which no server and no log is
told, good once and for ten minutes, for which the application gets the licence.

Who comes back with somebody else's session gets nothing: a checkout begins at `GO_PATH`, which sets the sealed cookie
of this very checkout, and only the browser that has it is given a code or a licence.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from gateway.core import licences
from gateway.core.cors import Cors
from gateway.core.indented import indented
from gateway.core.keyring import KEY_ID_CHARS, Keyring, NotOurs, UnknownKey
from gateway.core.licences import Held, LicenceWish
from gateway.core.limits import Rate, network
from gateway.core.refusals import (
    BadRequest,
    LedgerUnavailable,
    PaymentServiceUnavailable,
    RateLimited,
    RecordsUnavailable,
    TokenOutOfScope,
    UnknownToken,
)
from gateway.flows.check_out import CheckOut
from gateway.flows.entitle import Entitle
from gateway.flows.restore import Restore
from gateway.flows.top_up import TopUp
from gateway.ports import Clock, Guesses, Randomness, RateLimits
from gateway.web.answers import OwnAnswer
from gateway.web.cookies import Checkout
from gateway.web.guard import Handler
from gateway.web.pages import again
from gateway.web.templates import Templates
from gateway.web.visitors import Visitors, read_json, text_of

GO_PATH = "/-/subscribe/go"
_BEGUN = "licence checkout"
_BEGUN_MS = 86_400_000
_URL_CHARS_MAX = 1000
_MODULE = Path(__file__).parent / "licence" / "farebox-licence.js"
_MODULE_KEPT = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}


class EntitlementPlace:
    """The handlers of licences."""

    def __init__(
        self,
        *,
        entitle: Entitle,
        restore: Restore,
        visitors: Visitors,
        check_out: CheckOut,
        top_up: TopUp,
        templates: Templates,
        guesses: Guesses,
        limits: RateLimits,
        looks: Rate,
        keyring: Keyring,
        clock: Clock,
        randomness: Randomness,
        origins: frozenset[str],
        public_url: str,
    ) -> None:
        self._entitle = entitle
        self._restore = restore
        self._visitors = visitors
        self._check_out = check_out
        self._top_up = top_up
        self._templates = templates
        self._guesses = guesses
        self._limits = limits
        self._looks = looks
        self._keyring = keyring
        self._clock = clock
        self._randomness = randomness
        self._origins = origins
        self._public_url = public_url

    def addresses(self) -> dict[str, Handler]:
        """What programs and pages of listed origins call, by `POST`."""
        return {
            "/-/api/v1/subscribe": self.subscribe,
            "/-/api/v1/entitlement": self.restore,
            "/-/api/v1/entitlement/exchange": self.exchange,
            "/-/api/v1/entitlement/refresh": self.refresh,
        }

    # --- for programs -------------------------------------------------------------------------------------------------

    async def subscribe(self, request: web.Request) -> web.StreamResponse:
        """`POST {"plan", "email", "return_to"?}`: where it can be subscribed to, with this address."""
        content = await read_json(request, "plan", "email", "return_to")
        plan = self._check_out.plan(text_of(content, "plan"))
        if plan.price not in self._entitle.terms.prices:
            raise BadRequest(f"plan: {plan.name} comes without a licence")
        email = licences.address(text_of(content, "email"))
        if email is None:
            raise BadRequest("email: an e-mail address was expected")
        back = self._back(text_of(content, "return_to")) if "return_to" in content else None
        caller = await self._visitors.program(request) or self._visitors.callers.fresh()
        if caller.is_narrowed:
            raise TokenOutOfScope()
        order = await self._check_out.begin(
            self._check_out.reference(caller),
            plan.costs,
            holder=caller.account,
            plan=plan,
            key=request.headers.get("Idempotency-Key"),
            licence=LicenceWish(email, back),
            peer=request.remote or "",
        )
        told = {"account": order.account, "payment_url": self._way(caller.token_digest, order.url or "")}
        if caller.fresh is not None:
            told["access_token"] = caller.fresh.reveal()
        return _json(told, status=201)

    async def restore(self, request: web.Request) -> web.StreamResponse:
        """`POST {"email"}`: a code is sent, if there is a licence; or the licence, where no proof is asked for."""
        email = text_of(await read_json(request, "email"), "email")
        if self._restore.proof == "none":
            held = await self._restore.at_once(email, request.remote or "")
            return await self._given(held, "restored by its address")
        await self._restore.ask(email, request.remote or "")
        detail = "If there is a licence of this address, a code is on its way to it. It is good for ten minutes."
        return _json({"proof": "code", "detail": detail}, status=202)

    async def exchange(self, request: web.Request) -> web.StreamResponse:
        """`POST {"code"}`: the licence that it is for."""
        code = text_of(await read_json(request, "code"), "code")
        await self._look(request, "licence codes")
        return await self._given(await self._restore.said(code), "by a code")

    async def refresh(self, request: web.Request) -> web.StreamResponse:
        """`POST {"license"}`: a new one, that says how it stands now."""
        licence = text_of(await read_json(request, "license"), "license")
        peer = request.remote or ""
        self._guesses.check(peer)
        try:
            renewed, held = await self._entitle.refresh(licence)
        except UnknownToken:
            await self._guesses.failed(peer)
            raise
        return self._told(renewed, held)

    async def _given(self, held: Held, why: str) -> OwnAnswer:
        return self._told(await self._entitle.issue(held, why), held)

    def _told(self, licence: str, held: Held) -> OwnAnswer:
        return _json({"license": licence, "user": licences.user(held, self._entitle.terms)})

    # --- for browsers -------------------------------------------------------------------------------------------------

    async def go(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/subscribe/go?to=…`: this browser sets out for the payment page, and is known when it comes back."""
        digest, url = self._opened(request.query.get("to", ""))
        answer = OwnAnswer(status=303, headers={"Location": url})
        self._visitors.cookies.set_checkout(answer, digest, Checkout(None, None))
        return answer

    async def licensed(self, request: web.Request) -> web.StreamResponse:
        """Where the provider sends a browser back to that subscribed. Acts if the webhook has not yet."""
        await self._look(request, "paid")
        session = request.query.get("session_id", "")
        try:
            await self._top_up.fulfil_session(session)
            came = await self._entitle.came_back(session)
            if came is None:
                return self._say("There is no such payment", "Nothing was charged.", status=404)
            reference, customer = came
            if self._visitors.cookies.checkout(request.cookies, reference.token_digest) is None:
                return self._say("The payment arrived", "Ask for the licence where you want it, by its e-mail address.")
            answer = await self._welcome(request, customer)
        except (PaymentServiceUnavailable, LedgerUnavailable, RecordsUnavailable):
            return again(self._templates, request, "Your payment is on its way")
        self._visitors.cookies.end_checkout(answer, reference.token_digest)
        return answer

    async def _welcome(self, request: web.Request, customer: str) -> OwnAnswer:
        """Back to the application with a code; where none is named, the licence itself."""
        if "to" in request.query:
            back = self._back(request.query["to"])
            code = await self._restore.new_code(customer)
            return OwnAnswer(status=303, headers={"Location": f"{back}#licence_code={code}"})
        licence, _ = await self._entitle.licence_of(customer, "after its checkout")
        text = self._templates.render("licensed.html", licence=licence)
        return OwnAnswer(text=text, content_type="text/html")

    async def module(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/licence.js`."""
        return OwnAnswer(text=_MODULE.read_text(), content_type="text/javascript", headers=_MODULE_KEPT)

    # --- how ----------------------------------------------------------------------------------------------------------

    async def _look(self, request: web.Request, what: str) -> None:
        window = await self._limits.hit(self._looks, f"-/{what} {network(request.remote or '')}")
        if not window.allowed:
            raise RateLimited(policy=self._looks.text, retry_after_seconds=max(1, window.reset_seconds))

    def _back(self, url: str) -> str:
        """An address to return to, without what stands behind its `#`. Raises BadRequest for one of another site."""
        with suppress(ValueError):
            parts = urlsplit(url)
            whole = len(url) <= _URL_CHARS_MAX and url.isascii() and url.isprintable() and "\\" not in url
            if whole and " " not in url and f"{parts.scheme}://{parts.netloc}" in self._origins:
                return url.partition("#")[0]
        raise BadRequest("return_to: an address of one of the sites that licences.origins lists was expected")

    def _way(self, digest: bytes, url: str) -> str:
        content = {"digest": digest.hex(), "url": url, "until": self._clock.now_ms() + _BEGUN_MS}
        key_id, sealed = self._keyring.seal(_BEGUN, json.dumps(content).encode(), nonce=self._randomness.bytes(12))
        return f"{self._public_url}{GO_PATH}?to={key_id}{urlsafe_b64encode(sealed).decode().rstrip('=')}"

    def _opened(self, text: str) -> tuple[bytes, str]:
        body = text[KEY_ID_CHARS:]
        with suppress(ValueError, NotOurs, UnknownKey):
            sealed = urlsafe_b64decode(body + "=" * (-len(body) % 4))
            content = json.loads(self._keyring.open(_BEGUN, text[:KEY_ID_CHARS], sealed))
            if content["until"] > self._clock.now_ms():
                return bytes.fromhex(content["digest"]), str(content["url"])
        raise BadRequest("this address is not complete, or too old; begin again")

    def _say(self, heading: str, detail: str, *, status: int = 200) -> OwnAnswer:
        text = self._templates.render("told.html", heading=heading, detail=detail, refresh=None, again=None)
        return OwnAnswer(status=status, text=text, content_type="text/html")


def licence_cors(origins: frozenset[str], others: Cors | None) -> Cors:
    """Which sites' pages may call: those of licences, and those that may call everything for programs."""
    return Cors(
        origins=origins | (others.origins if others is not None else frozenset()),
        methods=("POST",),
        headers=("Content-Type", "Idempotency-Key"),
        exposed=("Gateway-Error", "Retry-After"),
        max_age_seconds=600,
        credentials=False,
    )


def _json(content: dict[str, Any], *, status: int = 200) -> OwnAnswer:
    return OwnAnswer(status=status, text=indented(content), content_type="application/json")
