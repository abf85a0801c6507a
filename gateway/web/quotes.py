"""What a request would cost, and what one did cost: `/-/api/v1/quote` and `/-/api/v1/requests/{id}`.

A quote takes the steps that a request takes up to its hold, and ends there: no money is set aside, no limit counts,
nobody's upstream is asked. A request is explained to whoever has a token of the account that paid for it; to everybody
else it is not there, whether it exists or not.
"""

from asyncio import IncompleteReadError
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.ids import RequestId
from gateway.core.indented import indented
from gateway.core.limits import Rate, network
from gateway.core.pricing import LOOKED_AT_BYTES_MAX
from gateway.core.quotes import quote, read_length
from gateway.core.refusals import BadRequest, LedgerUnavailable, RateLimited, UnknownRequest
from gateway.core.routes import RouteTable
from gateway.flows.count_calls import CountCalls
from gateway.flows.statement import LookBack
from gateway.ports import BooksRefused, BooksSlow, Frozen, Ledger, RateLimits, Roots
from gateway.web.answers import OwnAnswer
from gateway.web.explaining import told_quote, told_request
from gateway.web.visitors import Visitors

_QUOTES = Rate(120, 60, "120/minute")
"""How often one account that has paid, or one address, may ask for quotes."""
_REQUESTS = Rate(30, 60, "30/minute")
"""How often one account may have a request looked up in the books."""


class QuotePlace:
    """The handlers."""

    def __init__(
        self,
        *,
        visitors: Visitors,
        routes: Callable[[], RouteTable],
        ledger: Ledger,
        look_back: LookBack,
        limits: RateLimits,
        frozen: Frozen,
        roots: Roots,
        plans: Callable[[str], Collection[str]],
        calls: CountCalls,
        currency: str,
        public_url: str,
    ) -> None:
        self._visitors = visitors
        self._routes = routes
        self._ledger = ledger
        self._look_back = look_back
        self._limits = limits
        self._frozen = frozen
        self._roots = roots
        self._plans = plans
        self._calls = calls
        self._currency = currency
        self._host = urlsplit(public_url).netloc

    async def quote(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/api/v1/quote?method=&url=&content_length=`, or `POST` with the body that would be sent."""
        url, method = request.query.get("url"), request.query.get("method", request.method)
        if not url:
            raise BadRequest("url: a path such as /forecast/oslo was expected, or the whole address")
        caller = await self._visitors.program(request)
        paid = caller is not None and (caller.on_record or await self._ledger.funded(caller.account, self._currency))
        who = caller.account if caller is not None and paid else network(request.remote or "")
        await self._admit(_QUOTES, f"quotes {who}")
        length, body = await _body(request, looks=paid)
        plans = self._plans(caller.account) if caller is not None else ()
        ours = (request.host, self._host)
        found = quote(self._routes(), method, url, hosts_of_ours=ours, plans=plans, length=length, body=body)
        if found.steps and caller is not None and paid:
            made = await self._calls.made(found.route, caller.account)
            found = found if made is None else found.at_step(made)
        told = told_quote(found, paid=paid)
        told["caller"] = await self._standing(caller, found.held.micros) if caller is not None else None
        return _json(told)

    async def _standing(self, caller: Caller, held_micros: int) -> dict[str, object]:
        balance = await self._ledger.balance(caller.account, self._currency)
        return {
            "account": caller.account,
            "balance": str(balance.available),
            "covers_it": balance.available.micros >= held_micros,
            "frozen": self._frozen.holds(caller.account),
        }

    async def request(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/api/v1/requests/{id}`."""
        caller = await self._visitors.program(request)
        if caller is None:
            raise UnknownRequest()
        await self._admit(_REQUESTS, f"requests {caller.account}")
        try:
            id = RequestId.parse(request.match_info["id"])
            found = await self._look_back.explained(id, self._roots.names(caller.account))
        except ValueError:
            raise UnknownRequest() from None
        except (BooksSlow, BooksRefused):
            raise LedgerUnavailable() from None
        if found is None:
            raise UnknownRequest()
        now = next((route for route in self._routes().routes if route.name == found.route), None)
        return _json(told_request(found, now))

    async def _admit(self, rate: Rate, subject: str) -> None:
        window = await self._limits.hit(rate, subject)
        if not window.allowed:
            raise RateLimited(policy=rate.text, retry_after_seconds=max(1, window.reset_seconds))


async def _body(request: web.Request, *, looks: bool) -> tuple[int | None, bytes | None]:
    """How long the body would be, and what it would say: as far as it would be looked at. Raises BadRequest."""
    if request.method != "POST":
        return read_length(request.query.get("content_length")), None
    length = request.content_length
    coded = request.headers.get("Content-Encoding", "identity").lower() != "identity"
    if length is None or length > LOOKED_AT_BYTES_MAX or coded or not looks:
        return length, None
    try:
        return length, await request.content.readexactly(length)
    except IncompleteReadError:
        raise BadRequest("its body broke off") from None


def _json(content: dict[str, object]) -> OwnAnswer:
    return OwnAnswer(text=indented(content), content_type="application/json")
