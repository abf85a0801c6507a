"""A refusal as a page, as problem+json, or as a redirect to a payment link.

This is the one module that chooses the words. Programs get `application/problem+json` (RFC 9457) with a stable `code`
and `"charged": false`; a person's navigation gets a page, or, when all that is missing is money, a `303` straight to
the payment link. Never `307` or `308`: a browser would send the caller's body on to the payment page.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from shlex import quote
from typing import Any, NamedTuple
from urllib.parse import quote_plus

from gateway.core import refusals as no
from gateway.core.compat import Compat, balance
from gateway.core.headers import prefers_html
from gateway.core.indented import indented
from gateway.core.mcp import Call
from gateway.core.money import Money
from gateway.core.oauth import challenge_field
from gateway.core.refusals import PaymentRequired, Refusal
from gateway.core.routes import Route
from gateway.core.sign_ins import Provider
from gateway.ports import Exchange
from gateway.web.answers import OwnAnswer
from gateway.web.cookies import Checkout, Cookies
from gateway.web.templates import Templates

_CHALLENGES: dict[type[Refusal], str] = {
    no.AuthorizationRequired: "",
    no.UnknownToken: "invalid_token",
    no.TokenOutOfScope: "insufficient_scope",
}
"""What a client of OAuth is told (RFC 6750, section 3.1)."""
_SAID_IN_THE_CALL = (no.PaymentRequired, no.CapReached, no.PriceTooHigh, no.AccountFrozen, no.RateLimited)
"""What a client of MCP is told as the answer to its call: what a person can do something about, or time."""
_NO_STORE = {"Cache-Control": "no-store"}


class Words(NamedTuple):
    """What a refusal is called, and what may be done about it."""

    title: str
    detail: Callable[[Any], str]


WORDS: dict[type[Refusal], Words] = {
    no.BadTarget: Words("The address cannot be served", lambda r: f"Refused because {r.why}."),
    no.AmbiguousTarget: Words(
        "The address can be read in two ways",
        lambda r: "Its spelling could mean two routes. Write it without doubled or encoded slashes and semicolons.",
    ),
    no.BadRequest: Words("The request cannot be served", lambda r: f"Refused because {r.why}."),
    no.UnknownToken: Words(
        "The access token is not valid",
        lambda r: "It was not made here, has expired, or was revoked. Send the request without it to get a new one.",
    ),
    no.NoLicence: Words(
        "There is no licence",
        lambda r: "The code was used before, is older than ten minutes, or is not ours; ask for a new one.",
    ),
    no.IdentityRequired: Words(
        "Sign in first",
        lambda r: (
            "This address is only for who is signed in. Send a token of the identity provider that has not expired; "
            "nothing was charged."
        ),
    ),
    no.AuthorizationRequired: Words(
        "Authorize first",
        lambda r: (
            "This address is for programs that a person has allowed to spend: by OAuth, as WWW-Authenticate says. Or "
            "send the token of a wallet. Nothing was charged."
        ),
    ),
    no.PaymentRequired: Words(
        "Payment required",
        lambda r: (
            f"This request costs up to {r.price} and the balance is {r.balance}. "
            + (
                "Pay at payment_url, then repeat the request with the same token."
                if r.payment_url
                else f"No subscription adds {r.price.currency}; ask the operator for some."
                if r.price.named
                else "No way to pay is configured here; ask the operator for credit."
            )
        ),
    ),
    no.AccountFrozen: Words(
        "The account is frozen",
        lambda r: f"Its money stays and nothing was charged. Ask the operator, and name the account: {r.account}",
    ),
    no.ChargeConflict: Words(
        "This refund was charged with other terms",
        lambda r: f"Refund {r.refund} was charged before, of another person or amount. Nothing was charged again.",
    ),
    no.ChargeTooLarge: Words(
        "The fee is too large", lambda r: f"One fee is {r.maximum} at most here. Nothing was charged."
    ),
    no.NoMethodSaved: Words(
        "Nothing is saved that could be charged", lambda _: "The person saves a payment method first."
    ),
    no.CapReached: Words(
        "The spending cap is reached",
        lambda r: (
            f"This request costs up to {r.price}, and of {_cap(r)} {r.left} is left. Paying does not change that. "
            + (f"It begins anew at {_moment(r.resets_ms)}." if r.resets_ms is not None else "It does not begin anew.")
        ),
    ),
    no.OriginRefused: Words(
        "This site may not call here", lambda r: "The operator has not listed it. Nothing was done or charged."
    ),
    no.CountryRefused: Words(
        "No payments are taken from here",
        lambda r: "The operator takes none from the country of this address. Nothing was charged.",
    ),
    no.NoRoute: Words("Not found", lambda r: "No route of this gateway has this address."),
    no.TokenInQuery: Words(
        "A token does not belong in an address",
        lambda r: "Addresses are logged and passed on. Send it in a header; and rotate it, for it may be known by now.",
    ),
    no.CrossSite: Words(
        "Another site sent this",
        lambda r: "Nothing was done. Open the page here, and do it there, if it was you.",
    ),
    no.TokenOutOfScope: Words(
        "This token is not for that",
        lambda r: "It is good, but it was made for other routes or methods, or may not do this for its account.",
    ),
    no.SignInRefused: Words(
        "You are not signed in", lambda r: f"Refused because {r.why}. Nothing was changed; begin again."
    ),
    no.SignInUnavailable: Words(
        "The sign-in cannot be finished just now",
        lambda r: "The provider did not answer as it should. Nothing was changed; begin again in a moment.",
    ),
    no.NotConnected: Words(
        "This needs your consent at a provider",
        lambda r: (
            f"It is done in your name there. Sign in, and open /-/auth/{r.provider}/start in a browser. "
            "Nothing was charged."
        ),
    ),
    no.NoSuchSubscription: Words(
        "There is no such subscription", lambda r: "Your account has no subscription of this id."
    ),
    no.NoSuchToken: Words("There is no such token", lambda r: "No token that you may know of has this id."),
    no.TokenConflict: Words("That token is not what it was", lambda r: f"Refused because {r.why}."),
    no.EditConflict: Words(
        "It was changed in between", lambda r: "Look at it again, then change what is there now. Nothing was changed."
    ),
    no.EditBlind: Words(
        "Say what you change", lambda r: "Send the ETag of what you looked at in If-Match. Nothing was changed."
    ),
    no.RoutesRefused: Words(
        "These routes cannot be served", lambda r: "Nothing was changed. " + " ".join(f"{one}." for one in r.mistakes)
    ),
    no.UnknownRequest: Words(
        "There is no such request of yours",
        lambda r: (
            "The books hold nothing of it. That is so of a request that was free, a free call of a quota, too, or that "
            "was refused before anything was set aside; of one that was charged a moment ago or too long ago; and of "
            "one that is not of this token's account. Nothing was charged for asking."
        ),
    ),
    no.MethodNotAllowed: Words(
        "Method not allowed",
        lambda r: (
            f"This address takes {', '.join(r.allowed)}." if r.allowed else "This gateway does not serve this method."
        ),
    ),
    no.KeyInFlight: Words(
        "The same request is under way",
        lambda r: "Another one with this Idempotency-Key is not answered yet. Ask again; nothing is charged twice.",
    ),
    no.OutcomeUnknown: Words(
        "It is not known whether this was done",
        lambda r: (
            f"Request {r.original} with this Idempotency-Key may have reached the upstream and its answer was lost. "
            "It was not charged and is not sent again: find out what became of it, then ask with another key."
        ),
    ),
    no.AnswerNotKept: Words(
        "The answer to this was not kept",
        lambda r: (
            f"Request {r.original} with this Idempotency-Key was answered, too large or as a stream. It is not sent or "
            "charged again; ask with another key to buy another answer."
        ),
    ),
    no.KeyReused: Words(
        "The Idempotency-Key belongs to another request",
        lambda r: "It was used with another method, address or body. Use a new key for a new request.",
    ),
    no.KeyedBodyRefused: Words(
        "The body cannot be compared",
        lambda r: (
            f"With an Idempotency-Key a body has at most {r.limit_bytes} bytes. Send less, or send it without the key."
        ),
    ),
    no.PriceTooHigh: Words(
        "The price is higher than the request allows",
        lambda r: f"This request costs up to {r.price}, its Gateway-Max-Price is {r.limit}. Nothing was charged.",
    ),
    no.HeadTooSlow: Words("The request stopped coming", lambda r: "Nothing was charged; send it again."),
    no.BodyTooSlow: Words("The body stopped coming", lambda r: "Nothing was charged; send it again."),
    no.BodyTooLarge: Words("The body is too large", lambda r: f"A request body may have {r.limit_bytes} bytes."),
    no.TargetTooLong: Words("The address is too long", lambda r: f"It may have {r.limit_bytes} bytes."),
    no.HeadTooLarge: Words(
        "The header fields are too large",
        lambda r: (
            f"Together they may have {r.limit_bytes} bytes."
            if r.limit_fields is None
            else f"There may be {r.limit_fields} of them."
        ),
    ),
    no.RateLimited: Words(
        "Too many requests",
        lambda r: f"The limit is {r.policy}. Try again in {r.retry_after_seconds} s; nothing was charged.",
    ),
    no.LimitsUnavailable: Words(
        "Requests cannot be counted", lambda r: "This route is closed until they can. Nothing was charged; try again."
    ),
    no.UpstreamFailed: Words(
        "The upstream failed", lambda r: "It could not be reached or broke off. Nothing was charged."
    ),
    no.UpstreamTimedOut: Words("The upstream timed out", lambda r: "It did not answer in time. Nothing was charged."),
    no.UpstreamBusy: Words(
        "The upstream is busy", lambda r: "As many requests as it takes are under way. Nothing was charged; try again."
    ),
    no.GatewayBusy: Words(
        "The gateway is busy", lambda r: "As many callers are connected as may be. Nothing was charged; try again."
    ),
    no.UpstreamUnavailable: Words(
        "The upstream is not available",
        lambda r: f"It failed a moment ago. Try again in {r.retry_after_seconds} s; nothing was charged.",
    ),
    no.LedgerUnavailable: Words(
        "Paid requests are paused", lambda r: "The ledger cannot be written just now. Nothing was charged; try again."
    ),
    no.RecordsUnavailable: Words(
        "The gateway is not ready", lambda r: "Its records cannot be read just now. Nothing was charged; try again."
    ),
    no.IdentityUnavailable: Words(
        "Nobody can be recognised just now",
        lambda r: "The keys of the identity provider cannot be had. Nothing was charged; try again.",
    ),
    no.PaymentServiceUnavailable: Words(
        "Payment service temporarily unavailable", lambda r: "The payment page cannot be reached just now. Try again."
    ),
    no.WebhookRefused: Words("The webhook was refused", lambda r: f"Refused because {r.why}."),
}


def problem(refusal: Refusal, request_id: str | None = None) -> dict[str, Any]:
    """The body of a refusal for programs."""
    words = WORDS[type(refusal)]
    body: dict[str, Any] = {
        "type": f"urn:farebox:error:{refusal.code}",
        "title": words.title,
        "status": refusal.status,
        "detail": words.detail(refusal),
        "code": refusal.code,
        "charged": False,
    }
    if request_id:
        body["request_id"] = request_id
    if isinstance(refusal, no.RateLimited):
        body["policy"] = refusal.policy
        body["violated-policies"] = list(refusal.violated)
    if isinstance(refusal, no.RoutesRefused):
        body["mistakes"] = list(refusal.mistakes)
    if isinstance(refusal, no.OutcomeUnknown | no.AnswerNotKept):
        body["original_request_id"] = refusal.original
    if isinstance(refusal, PaymentRequired | no.PriceTooHigh | no.CapReached):
        body["price"] = {"amount": refusal.price.number, "currency": refusal.price.currency}
    if isinstance(refusal, no.CapReached):
        amount, cap = refusal.cap.amount, refusal.cap
        body["cap"] = {"node": cap.node, "per": cap.period, "amount": amount.number, "currency": amount.currency}
        body["left"] = {"amount": refusal.left.number, "currency": refusal.left.currency}
        body["resets_at"] = None if refusal.resets_ms is None else _moment(refusal.resets_ms)
    if isinstance(refusal, PaymentRequired):
        body["balance"] = {"amount": refusal.balance.number, "currency": refusal.balance.currency}
        body["account"] = refusal.account
        if refusal.payment_url:
            body["payment_url"] = refusal.payment_url
        if refusal.auto_top_up:
            stands = refusal.auto_top_up
            body["auto_top_up"] = {"state": stands.state, "reason": stands.reason, "url": stands.url}
        if refusal.access_token:
            body["access_token"] = refusal.access_token.reveal()
    return body


def _cap(refusal: no.CapReached) -> str:
    cap = refusal.cap
    return f"the {cap.amount} " + ("in all" if cap.period == "total" else f"a {cap.period}") + f" of {cap.node}"


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def own_fields(refusal: Refusal) -> dict[str, str]:
    """The header fields that a refusal of this kind brings along."""
    fields = {"Gateway-Error": refusal.code, **_NO_STORE}
    retry_after = getattr(refusal, "retry_after_seconds", None)
    if retry_after is not None:
        fields["Retry-After"] = str(retry_after)
    if isinstance(refusal, no.MethodNotAllowed) and refusal.allowed:
        fields["Allow"] = ", ".join(refusal.allowed)
    if refusal.status == 401:
        fields["WWW-Authenticate"] = 'Bearer error="invalid_token"'
    return fields


def as_problem(refusal: Refusal, request_id: str | None = None) -> OwnAnswer:
    """A refusal for a program."""
    named = {"Gateway-Request-Id": request_id} if request_id else {}
    return OwnAnswer(
        status=refusal.status,
        text=indented(problem(refusal, request_id)),
        content_type="application/problem+json",
        headers={**own_fields(refusal), **named},
    )


class Refusals:
    """Answers refused requests."""

    def __init__(
        self,
        *,
        templates: Templates,
        cookies: Cookies,
        public_url: str = "",
        presets: Sequence[Money] = (),
        recognises: bool = False,
        header: str = "Authorization",
        compat: Collection[Compat] = (),
        sign_ins: Sequence[Provider] = (),
    ) -> None:
        self.sign_ins = sign_ins
        """Through whom a page offers to sign in."""
        self._compat = compat
        self._templates = templates
        self._cookies = cookies
        self._public_url = public_url
        self._presets = presets
        self._recognises = recognises
        self._header = header

    def tell(self, refusal: Refusal, headers: Mapping[str, str], request_id: str) -> OwnAnswer:
        """The answer at an address of our own: a page for a person, JSON for a program."""
        if prefers_html(headers):
            return self._page("refused.html", refusal, request_id)
        return as_problem(refusal, request_id)

    def answer(self, refusal: Refusal, exchange: Exchange, route: Route | None) -> OwnAnswer:
        """The answer for this exchange: JSON, a page, or a redirect to where one can pay."""
        request_id = str(exchange.id)
        if exchange.call is not None and exchange.call.id is not None and isinstance(refusal, _SAID_IN_THE_CALL):
            answer = self._as_call(refusal, exchange.call, request_id)
        elif not prefers_html(exchange.headers):
            answer = as_problem(refusal, request_id)
        elif isinstance(refusal, PaymentRequired):
            answer = self._ask_to_pay(refusal, exchange, route)
        else:
            answer = self._page("refused.html", refusal, request_id)
        for name, value in exchange.fields:
            answer.headers[name] = value
        if route is not None and route.resource and type(refusal) in _CHALLENGES:
            error = _CHALLENGES[type(refusal)]
            answer.headers["WWW-Authenticate"] = challenge_field(self._public_url, route.resource, route.name, error)
        if self._compat and isinstance(refusal, PaymentRequired):
            answer.headers.update(balance(refusal.balance))
            if refusal.payment_url:
                answer.headers["x-payment-link"] = refusal.payment_url
        return answer

    def _as_call(self, refusal: Refusal, call: Call, request_id: str) -> OwnAnswer:
        """An error of JSON-RPC, by which a client of MCP lives on: with another status, many take the server for gone.

        The status is the error's code. The message is for a model to read, so it says where to pay.
        """
        told = problem(refusal, request_id) | {"manage_url": f"{self._public_url}/-/wallet/tokens"}
        message = f"{told['title']}. {told['detail']}"
        if url := told.get("payment_url"):
            message += f" payment_url: {url}"
        error = {"code": refusal.status, "message": message, "data": told}
        text = indented({"jsonrpc": "2.0", "id": call.id, "error": error})
        named = {**own_fields(refusal), "Gateway-Request-Id": request_id}
        return OwnAnswer(status=200, text=text, content_type="application/json", headers=named)

    def _ask_to_pay(self, refusal: PaymentRequired, exchange: Exchange, route: Route | None) -> OwnAnswer:
        wants_page = route is not None and route.unpaid == "page"
        if refusal.payment_url and exchange.method in ("GET", "HEAD") and not wants_page:
            answer = OwnAnswer(status=303, headers={**own_fields(refusal), "Location": refusal.payment_url})
        else:
            answer = self._page(
                "paywall.html",
                refusal,
                str(exchange.id),
                route=route,
                presets=self._presets,
                recognises=self._recognises,
                command=self._command(exchange),
                header=self._header,
                sign_ins=self.sign_ins,
                back=quote_plus(exchange.target) if exchange.method == "GET" else "",
            )
        if refusal.access_token:
            self._cookies.set_token(answer, refusal.access_token)
        if refusal.payment_url:
            address = exchange.target if exchange.method == "GET" else None
            self._cookies.set_checkout(answer, refusal.token_digest, Checkout(address, refusal.access_token))
        return answer

    def _command(self, exchange: Exchange) -> str:
        """What a program would be typed to ask for this, for any shell."""
        address = self._public_url + exchange.target if exchange.target.startswith("/") else exchange.target
        asked = "" if exchange.method == "GET" else f" -X {quote(exchange.method)}"
        return f"curl -i{asked} {quote(address)}"

    def _page(self, template: str, refusal: Refusal, request_id: str, **more: Any) -> OwnAnswer:
        words = WORDS[type(refusal)]
        text = self._templates.render(
            template, title=words.title, detail=words.detail(refusal), refusal=refusal, request_id=request_id, **more
        )
        return OwnAnswer(status=refusal.status, text=text, content_type="text/html", headers=own_fields(refusal))
