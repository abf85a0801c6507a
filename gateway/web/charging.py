"""Charges by agreement, where programs talk: saving a method, charging a fee, and what was charged.

`POST /-/api/v1/stripe/create-customer-setup` is a signed-in person's own, by their session. `charge-commission` is for
services in the role for it. `GET …/transactions` and `…/{id}` show a person their own, and services and operators all.
Another's is not there, and looks like one that never was. `GET /-/stripe/confirm` leads a person to their bank: who
has that link may confirm the one payment that it names, to which its person has agreed, and nothing else.
"""

import json
from typing import Any

from aiohttp import web

from gateway.core.charges import Charge, ChargeTerms, read_wish, told
from gateway.core.indented import indented
from gateway.core.limits import Rate
from gateway.core.operators import Operators, bearer
from gateway.core.refusals import BadRequest, BodyTooLarge, NoRoute, RateLimited, TokenOutOfScope, UnknownToken
from gateway.core.services import Api, ServiceCaller
from gateway.flows.agree import Agree
from gateway.flows.charge import ChargeByAgreement
from gateway.flows.know_services import KnowServices
from gateway.flows.stay import Stays, is_session
from gateway.ports import Guesses, RateLimits
from gateway.web.answers import OwnAnswer
from gateway.web.guard import Handler
from gateway.web.visitors import Visitors

BELOW = "/-/api/v1/stripe/"
OLDER_BELOW = "/api/v1/stripe/"
SETUP, COMMISSION, TRANSACTIONS, TRANSACTION = (
    "create-customer-setup",
    "charge-commission",
    "transactions",
    "transactions/{id}",
)
OLDER_PATHS = (SETUP, COMMISSION, TRANSACTIONS, TRANSACTION)
_BODY_BYTES_MAX = 16 * 1024
_SETUPS = Rate(60, 3600, "60/hour")
_CONFIRMS = Rate(30, 3600, "30/hour")
_PAGE, _PAGE_MAX = 20, 100


class ChargingPlace:
    """The handlers."""

    def __init__(
        self,
        *,
        visitors: Visitors,
        stays: Stays,
        services: KnowServices,
        agree: Agree,
        charge: ChargeByAgreement,
        terms: ChargeTerms,
        guesses: Guesses,
        limits: RateLimits,
        operators: Operators,
        publishable_key: str | None,
        back: str,
    ) -> None:
        self._visitors = visitors
        self._stays = stays
        self._services = services
        self._agree = agree
        self._charge = charge
        self._terms = terms
        self._guesses = guesses
        self._limits = limits
        self._operators = operators
        self._publishable_key = publishable_key
        self._back = back

    def addresses(self) -> dict[str, tuple[str, Handler]]:
        """By their paths, with the method."""
        return {
            SETUP: ("POST", self.set_up),
            COMMISSION: ("POST", self.commission),
            TRANSACTIONS: ("GET", self.transactions),
            TRANSACTION: ("GET", self.transaction),
        }

    async def set_up(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/api/v1/stripe/create-customer-setup`.

        Raises UnknownToken, TokenOutOfScope, BadRequest, RateLimited, PaymentServiceUnavailable.
        """
        user = await self._person(request)
        said = await _said(request)
        hosted = said.pop("hosted", False)
        if said or not isinstance(hosted, bool):
            raise BadRequest("hosted: true or false was expected, and nothing else")
        await self._admit(_SETUPS, f"setup {user}")
        begun = await self._agree.begin(user, hosted=hosted)
        content = {
            "customer_id": begun.customer,
            "setup_intent_id": begun.setup.id,
            "client_secret": begun.setup.client_secret,
            "publishable_key": self._publishable_key,
            "has_method": begun.has_method,
        }
        return _json(content | ({"url": begun.page} if hosted else {}))

    async def commission(self, request: web.Request) -> web.StreamResponse:
        """`POST /-/api/v1/stripe/charge-commission`.

        Raises UnknownToken, TokenOutOfScope, BadRequest, and what charging raises.
        """
        service = await self._service(request, "charge-commission")
        if service is None:
            raise UnknownToken()
        try:
            wish = read_wish(await _said(request), self._terms.currency)
        except ValueError as wrong:
            raise BadRequest(str(wrong)) from None
        return _json(self._told(await self._charge.charge(wish, service.actor)))

    async def transactions(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/api/v1/stripe/transactions`. Raises UnknownToken, TokenOutOfScope, BadRequest."""
        user = await self._whose(request)
        query = dict(request.query)
        count, after = _count(query.pop("limit", str(_PAGE))), query.pop("after", None)
        if user is None:
            user = query.pop("user_id", None)
        if query:
            raise BadRequest(f"{min(query)[:60]}: this is not known here")
        page = await self._charge.page(user, after, count + 1)
        shown = [self._told(one) for one in page[:count]]
        return _json({"transactions": shown, "has_more": len(page) > count})

    async def transaction(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/api/v1/stripe/transactions/{id}`. Raises UnknownToken, TokenOutOfScope, NoRoute."""
        user = await self._whose(request)
        found = await self._charge.find(request.match_info.get("id") or request.path.rpartition("/")[2])
        if user is not None and found.user != user:
            raise NoRoute()
        return _json(self._told(found))

    async def confirm(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/stripe/confirm`: on to the bank. A look ahead (`HEAD`) begins nothing.

        Raises NoRoute, RateLimited, PaymentServiceUnavailable.
        """
        if request.method != "GET":
            return OwnAnswer(status=204)
        await self._admit(_CONFIRMS, f"confirm {request.remote or ''}")
        to = await self._charge.confirm_page(request.query.get("charge", "")[:300], self._back)
        return OwnAnswer(status=303, headers={"Location": to, "Cache-Control": "no-store"})

    # --- who ----------------------------------------------------------------------------------------------------------

    async def _person(self, request: web.Request) -> str:
        """Who is signed in. Raises UnknownToken, TokenOutOfScope."""
        caller = await self._visitors.holder(request)
        user = await self._stays.user_of(caller) if is_session(caller) else None
        if user is None:
            raise TokenOutOfScope()
        return user.id

    async def _service(self, request: web.Request, api: Api) -> ServiceCaller | None:
        """The service that asks; None if nobody's token of that kind is shown. Raises TokenOutOfScope, UnknownToken."""
        shown = request.headers.get("Authorization", "")
        peer = request.remote or ""
        self._guesses.check(peer)
        known = self._services.known(shown, api)
        if known is None and _is_jwt(shown):
            await self._guesses.failed(peer)
            raise UnknownToken()
        return known

    async def _whose(self, request: web.Request) -> str | None:
        """Whose transactions may be seen; None for all. Raises UnknownToken, TokenOutOfScope."""
        if await self._service(request, "transactions") is not None:
            return None
        if self._operators.rank(bearer(request.headers.get("Authorization", ""))) == "operator":
            return None
        return await self._person(request)

    async def _admit(self, rate: Rate, subject: str) -> None:
        window = await self._limits.hit(rate, f"-/charging {subject}")
        if not window.allowed:
            raise RateLimited(policy=rate.text, retry_after_seconds=max(1, window.reset_seconds))

    def _told(self, charge: Charge) -> dict[str, Any]:
        return told(charge, self._charge.link(charge) if charge.state == "pending" else None)


def _is_jwt(authorization: str) -> bool:
    return authorization[:7].lower() == "bearer " and authorization[7:10] == "eyJ" and authorization.count(".") == 2


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= _PAGE_MAX):
        raise BadRequest(f"limit: 1 to {_PAGE_MAX} was expected")
    return int(text)


async def _said(request: web.Request) -> dict[str, Any]:
    """A JSON object, or nothing at all. Raises BadRequest, BodyTooLarge."""
    body = await request.content.read(_BODY_BYTES_MAX + 1)
    while not request.content.at_eof() and len(body) <= _BODY_BYTES_MAX:
        body += await request.content.read(_BODY_BYTES_MAX + 1)
    if len(body) > _BODY_BYTES_MAX:
        raise BodyTooLarge(limit_bytes=_BODY_BYTES_MAX)
    try:
        said = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise BadRequest("a JSON object was expected")
    return said


def _json(content: dict[str, Any]) -> OwnAnswer:
    text = indented(content)
    return OwnAnswer(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})
