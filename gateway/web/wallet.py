"""The wallet: what this browser or program has, what it used and paid, and what it can do about it.

Everything is of whoever shows the token: no address here takes an account's name, so nobody can ask for another's. A
payment's receipt is looked up in the books first, and is the holder's or is not there.
"""

import csv
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from aiohttp import web

from gateway.core.callers import Caller
from gateway.core.grants import tag_of
from gateway.core.limits import Rate
from gateway.core.money import Money
from gateway.core.refusals import (
    BadRequest,
    LedgerUnavailable,
    NoRoute,
    PaymentServiceUnavailable,
    RateLimited,
    RecordsUnavailable,
)
from gateway.core.routes import RouteTable
from gateway.core.sign_ins import Provider
from gateway.core.statements import COLUMNS, DAY_MS, History, Period, columns
from gateway.flows.hand_out import HandOut
from gateway.flows.statement import HISTORY_DAYS, LINES_MAX, LookBack, TooManyLines
from gateway.flows.stay import is_session
from gateway.flows.top_up import TopUp
from gateway.ports import (
    BooksRefused,
    BooksSlow,
    Clock,
    CreditLines,
    Frozen,
    HolderPages,
    Ledger,
    RateLimits,
    Roots,
    StoreFailed,
)
from gateway.web import chart
from gateway.web.answers import OwnAnswer
from gateway.web.auto_top_up import AutoPlace
from gateway.web.cookies import Checkout, Cookies
from gateway.web.pages import again
from gateway.web.subscriptions import SubscriptionPlace
from gateway.web.templates import Templates
from gateway.web.visitors import Visitors

_STATEMENTS = Rate(10, 60, "10/minute")
"""How often one account may have a statement or a receipt made."""


class WalletPlace:
    """The handlers of the wallet."""

    def __init__(
        self,
        *,
        templates: Templates,
        cookies: Cookies,
        visitors: Visitors,
        top_up: TopUp,
        price: Money,
        ledger: Ledger,
        look_back: LookBack,
        lines: CreditLines,
        provider: HolderPages | None,
        limits: RateLimits,
        frozen: Frozen,
        clock: Clock,
        routes: Callable[[], RouteTable],
        auto: AutoPlace,
        subscriptions: SubscriptionPlace,
        codes: bool,
        roots: Roots,
        hand_out: HandOut,
        sign_ins: Sequence[Provider],
    ) -> None:
        self._sign_ins = sign_ins
        self._hand_out = hand_out
        self._roots = roots
        self._codes = codes
        self._templates = templates
        self._cookies = cookies
        self._visitors = visitors
        self._top_up = top_up
        self._price = price
        self._ledger = ledger
        self._look_back = look_back
        self._lines = lines
        self._provider = provider
        self._limits = limits
        self._frozen = frozen
        self._clock = clock
        self._routes = routes
        self._auto = auto
        self._subscriptions = subscriptions

    async def show(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/wallet`: the balance of this browser, a way to add to it, what was used, and what things cost."""
        try:
            caller = await self._visitors.seer(request)
            holder = caller if caller and not caller.is_viewer else None
            balance = await self._ledger.balance(caller.account, self._price.currency) if caller else None
            auto = await self._auto.shown(holder) if holder and self._auto.offered else None
            subscribed = await self._subscriptions.shown(holder) if holder and self._subscriptions.offered else None
        except (LedgerUnavailable, RecordsUnavailable):
            return again(self._templates, request, "Your balance cannot be read just now")
        payer = caller or self._visitors.callers.fresh()
        try:
            payment_url = await self._top_up.payment_url(payer)
        except PaymentServiceUnavailable:
            payment_url = None
        history = await self._history(caller) if caller else None
        answer = self._page(
            balance=balance,
            account=payer.account,
            frozen=self._frozen.holds(payer.account),
            payment_url=payment_url,
            top_up=self._price,
            payer_chooses=self._top_up.payer_chooses,
            routes=self._routes().listed,
            auto=auto,
            subscribed=subscribed,
            mark=self._visitors.mark(holder) if holder and self._codes else None,
            history=history,
            bars=chart.bars(history.days) if history else (),
            receipts=self._provider is not None and holder is not None,
            viewer=caller is not None and caller.is_viewer,
            leave=self._visitors.mark(caller) if caller else None,
            sign_ins=self._sign_ins,
            back="",
            signed_in=is_session(caller),
        )
        if payment_url and payer.fresh:
            self._cookies.set_token(answer, payer.fresh)
            self._cookies.set_checkout(answer, payer.token_digest, Checkout(None, payer.fresh))
        return answer

    async def _history(self, caller: Caller) -> History | None:
        """None when it cannot be read in time: a wallet without its past is better than none."""
        try:
            return await self._look_back.history(caller.account, self._price.currency)
        except (BooksSlow, BooksRefused):
            return None

    async def statement(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/wallet/statement.csv?from=&to=&by=&token=`: whole, or refused; of one token, or of all.

        Who may not see all of the account has the statement of its own token, and of those that came of it.
        """
        caller = await self._visitors.bearer(request)
        tokens = await self._tokens(caller, request.query.get("token"))
        by = request.query.get("by", "hour" if tokens is None else "request")
        if by not in ("hour", "request"):
            raise BadRequest("by: hour or request was expected")
        if tokens is not None and by != "request":
            raise BadRequest("by: request was expected; hours are told of the whole account only")
        period = self._period(request)
        await self._admit(caller)
        try:
            found = await self._look_back.lines(caller.account, period, by_request=by == "request", tokens=tokens)
        except (BooksSlow, TooManyLines):
            raise BadRequest(
                f"this is more than {LINES_MAX:,} lines, or too much to read at once; ask for less"
            ) from None
        except BooksRefused:
            raise LedgerUnavailable() from None
        table = io.StringIO()
        writer = csv.DictWriter(table, COLUMNS)
        writer.writeheader()
        writer.writerows(map(columns, found))
        named = f'attachment; filename="statement-{_date(self._clock.now_ms())}.csv"'
        return OwnAnswer(text=table.getvalue(), content_type="text/csv", headers={"Content-Disposition": named})

    async def _tokens(self, caller: Caller, id: str | None) -> frozenset[int] | None:
        """By which tags the records of a token name it and what came of it; None for all that there are.

        Raises NoSuchToken, UnknownToken.
        """
        if id is None and (caller.is_viewer or not caller.is_narrowed):
            return None
        by = "" if caller.is_viewer else caller.token_id
        shown = await self._hand_out.below(caller.account, by, id or caller.token_id)
        return frozenset(tag_of(one.grant.id) for one in shown)

    def _period(self, request: web.Request) -> Period:
        tomorrow = (self._clock.now_ms() // DAY_MS + 1) * DAY_MS
        return period_of(request, tomorrow - HISTORY_DAYS * DAY_MS, tomorrow)

    async def receipt(self, request: web.Request) -> web.StreamResponse:
        """`GET /-/wallet/receipt?payment=`: to the provider's receipt of a payment into this wallet."""
        caller, payment = await self._visitors.holder(request), request.query.get("payment", "")
        await self._admit(caller)
        try:
            line = await self._lines.credit_of(f"stripe:{payment}")
        except StoreFailed:
            raise LedgerUnavailable() from None
        if line is None or self._roots.root(line.account) != caller.account or self._provider is None:
            raise NoRoute()
        url = await self._provider.receipt_url(payment)
        if url is None:
            raise NoRoute()
        return OwnAnswer(status=303, headers={"Location": url})

    async def _admit(self, caller: Caller) -> None:
        window = await self._limits.hit(_STATEMENTS, f"statements {caller.account}")
        if not window.allowed:
            raise RateLimited(policy=_STATEMENTS.text, retry_after_seconds=max(1, window.reset_seconds))

    def _page(self, **values: object) -> OwnAnswer:
        return OwnAnswer(text=self._templates.render("wallet.html", **values), content_type="text/html")


def period_of(request: web.Request, begin_ms: int, end_ms: int) -> Period:
    """`?from=&to=`, or else these. Raises BadRequest, also if the one is not before the other."""
    period = Period(day_of(request, "from", begin_ms), day_of(request, "to", end_ms))
    if period.begin_ms >= period.end_ms:
        raise BadRequest("from: a day before that of `to` was expected")
    return period


def day_of(request: web.Request, name: str, otherwise: int) -> int:
    """The beginning of a day, in milliseconds. Raises BadRequest."""
    text = request.query.get(name)
    if text is None:
        return otherwise
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise BadRequest(f"{name}: a day such as 2026-11-01 was expected") from None


def _date(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"
