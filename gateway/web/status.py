"""The admin listener: is the gateway alive, is it ready, and an operator's calls.

`/livez`, `/readyz`, `/healthz`, `/metrics` and the style sheet need no credential; everything else needs the operator
token, compared in constant time; with the auditor's one may read and not change. The listener is on the loopback by
default.
"""

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from gateway.core.aliases import NOT_JOINED
from gateway.core.ids import RequestId
from gateway.core.ledger import Credit, Reversal
from gateway.core.money import Money
from gateway.core.operators import READS, Operators, bearer
from gateway.core.readiness import Check
from gateway.core.refusals import LedgerUnavailable, RecordsUnavailable
from gateway.core.trail import Act
from gateway.flows.freeze import Freezes
from gateway.ports import Clock, Desk, EntryLines, Joins, RequestUnderWay, RequestUnknown, StoreFailed, Witnesses
from gateway.web.answers import OwnAnswer
from gateway.web.by_hand import (
    Entry,
    RefTaken,
    check_account,
    credited,
    debited,
    made_before,
    manual_credit,
    manual_debit,
    purse_told,
    read_reason,
)
from gateway.web.entries import check_entry
from gateway.web.operator_calls import BODY_BYTES_MAX, read_members
from gateway.web.operator_pages import PREFIX
from gateway.web.refusals import as_problem

_OPEN = ("/livez", "/readyz", "/healthz", "/metrics", "/-/style.css")
_PAGES = f"{PREFIX}/"
"""Who may see these, they see to themselves: with a cookie, and not with a token."""
_CODES = {404: "no_route", 405: "method_not_allowed", 413: "body_too_large"}
_FOR_BROWSERS = ("/owners",)
"""What a browser may be shown, if its user knows the operators' token. Nothing that changes anything."""


class AdminPlace:
    """The handlers of the admin listener."""

    def __init__(
        self,
        *,
        ledger: Desk,
        lines: EntryLines,
        aliases: Joins,
        freezes: Freezes,
        witness: Witnesses,
        ledger_stuck: Callable[[], bool],
        operators: Operators,
        currency: str,
        reload: Callable[[], Awaitable[dict[str, Any]]],
        restart: Callable[[], Awaitable[dict[str, Any]]],
        metrics: Callable[[], Awaitable[bytes]],
        checks: Callable[[], Awaitable[Mapping[str, Check]]],
        clock: Clock,
        config: Callable[[], str | None],
        config_name: str,
    ) -> None:
        self._config = config
        self._config_name = config_name
        self._clock = clock
        self._ledger = ledger
        self._lines = lines
        self._aliases = aliases
        self._freezes = freezes
        self._witness = witness
        self._reload = reload
        self._restart = restart
        self._metrics = metrics
        self._checks = checks
        self._currency = currency
        self._ledger_stuck = ledger_stuck
        self._operators = operators

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._operators_only], client_max_size=BODY_BYTES_MAX)
        app.router.add_get("/livez", self.alive)
        app.router.add_get("/readyz", self.ready)
        app.router.add_get("/healthz", self.ready_of_each)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/accounts/{account}/balance", self.balance)
        app.router.add_post("/accounts/{account}/credit", self.credit)
        app.router.add_post("/accounts/{account}/debit", self.debit)
        app.router.add_post("/accounts/{account}/freeze", self.freeze)
        app.router.add_post("/accounts/{account}/unfreeze", self.unfreeze)
        app.router.add_post("/accounts/{account}/join", self.join)
        app.router.add_post("/requests/{request}/refund", self.refund)
        app.router.add_post("/entries", self.entry)
        app.router.add_post("/reload", self.reload)
        app.router.add_post("/restart", self.restart)
        return app

    async def alive(self, request: web.Request) -> web.StreamResponse:
        return _json({"status": "ok"})

    async def ready(self, request: web.Request) -> web.StreamResponse:
        """503 while the ledger cannot commit: paid routes are closed then, free ones go on."""
        if "verbose" in request.query:
            return await self.ready_of_each(request)
        return self._readiness({})

    async def ready_of_each(self, request: web.Request) -> web.StreamResponse:
        """The same, and how each part stands. Only the ledger decides: free routes need none of the others."""
        return self._readiness({"checks": {name: check.told() for name, check in (await self._checks()).items()}})

    def _readiness(self, more: dict[str, Any]) -> web.StreamResponse:
        stuck = self._ledger_stuck()
        told = {"status": "not ready" if stuck else "ok", "ledger": not stuck, **more}
        return _json(told, status=503 if stuck else 200)

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """What Prometheus scrapes."""
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return OwnAnswer(body=await self._metrics(), headers=headers)

    async def balance(self, request: web.Request) -> web.StreamResponse:
        """`?currency=`: of a named unit, or of what is left of another currency."""
        account, currency = request.match_info["account"], request.query.get("currency", self._currency)
        try:
            check_account(account)
            Money.parse_grant(f"1 {currency}")
            await self._aliases.look()
            balance = await self._ledger.balance(account, currency)
            if currency != self._currency and not balance.available.named and not balance.available.micros:
                raise ValueError(f"currency: this gateway's is {self._currency}, and the account has no {currency}")
        except ValueError as error:
            return _json({"code": "bad_request", "detail": str(error), "charged": False}, status=400)
        except (LedgerUnavailable, RecordsUnavailable) as refusal:
            return as_problem(refusal)
        return _json({"account": account, "available": str(balance.available), "held": str(balance.held)})

    async def credit(self, request: web.Request) -> web.StreamResponse:
        """`{"ref", "amount", "reason"}`, and `expires` or `priority` for a purse: manual credit, once per ref.

        409 if the ref is that of another amount, or of another account.
        """
        may = ("expires", "priority")
        return await self._moved(request, manual_credit, lambda credit: credited(self._ledger, credit), may)

    async def debit(self, request: web.Request) -> web.StreamResponse:
        """`{"ref", "amount", "reason"}`: manual debit, once per ref; the balance may become negative."""
        return await self._moved(request, manual_debit, lambda debit: debited(self._ledger, debit))

    async def freeze(self, request: web.Request) -> web.StreamResponse:
        """`{"reason"}`: the account may not spend. `changed` is false if it could not before."""
        return await self._set_frozen(request, self._freezes.freeze, frozen=True)

    async def unfreeze(self, request: web.Request) -> web.StreamResponse:
        """`{"reason"}`: it may spend again."""
        return await self._set_frozen(request, self._freezes.unfreeze, frozen=False)

    async def _set_frozen(
        self, request: web.Request, set: Callable[[str, str], Awaitable[bool]], *, frozen: bool
    ) -> web.StreamResponse:
        account = request.match_info["account"]
        try:
            check_account(account)
            await self._aliases.look()
            reason = read_reason((await read_members(request, "reason"))["reason"])
            await self._write(request, "account.freeze" if frozen else "account.unfreeze", account, reason)
            changed = await set(account, reason)
        except (ValueError, KeyError, TypeError) as error:
            return _json({"code": "bad_request", "detail": str(error), "charged": False}, status=400)
        except RecordsUnavailable as refusal:
            return as_problem(refusal)
        return _json({"account": account, "frozen": frozen, "changed": changed})

    async def join(self, request: web.Request) -> web.StreamResponse:
        """`{"into", "reason"}`: the account is another one from now on. 409 if that cannot be."""
        account = request.match_info["account"]
        try:
            content = await read_members(request, "into", "reason")
            into, reason = str(content["into"]), read_reason(content["reason"])
            for one in (account, into):
                check_account(one)
            await self._aliases.look()
            await self._write(request, "account.join", account, reason, into=into)
            outcome = await self._aliases.add(account, into, reason)
        except (ValueError, KeyError, TypeError) as error:
            return _json({"code": "bad_request", "detail": str(error), "charged": False}, status=400)
        except RecordsUnavailable as refusal:
            return as_problem(refusal)
        if outcome != "joined":
            return _json({"code": "not_joined", "detail": NOT_JOINED[outcome], "charged": False}, status=409)
        return _json({"account": account, "into": self._aliases.root(into), "joined": True})

    async def refund(self, request: web.Request) -> web.StreamResponse:
        """`{"reason"}`: give back what it did cost, once. 404 if the books hold nothing of it, 409 while it runs."""
        try:
            reason = read_reason((await read_members(request, "reason"))["reason"])
            id = RequestId.parse(request.match_info["request"])
            await self._aliases.look()
            await self._write(request, "request.refund", str(id), reason)
            return _json(await refunded(self._ledger, id, reason))
        except RequestUnknown as unknown:
            return _json({"code": "unknown_request", "detail": f"{unknown}: {UNKNOWN}"}, status=404)
        except RequestUnderWay as early:
            return _json({"code": "request_under_way", "detail": f"{early}: {UNDER_WAY}"}, status=409)
        except (ValueError, KeyError, TypeError) as error:
            return _json({"code": "bad_request", "detail": str(error), "charged": False}, status=400)
        except (LedgerUnavailable, RecordsUnavailable) as refusal:
            return as_problem(refusal)

    async def entry(self, request: web.Request) -> web.StreamResponse:
        """What a command about payments or payouts writes: `{"verb", "ref", "account", "amount", "kind", "reason"}`.

        Once per ref, which is that of a payment, or of a payout and its owner; `new` says whether it was this time.
        """
        try:
            entry = read_entry(await read_members(request, *_ENTRY))
            if entry.amount.currency != self._currency:
                raise ValueError(f"amount: this gateway's currency is {self._currency}")
            await self._aliases.look()
            await self._write(request, f"account.{read_verb(entry)}", entry.account, entry.reason, **entry_facts(entry))
            write = self._ledger.credit(entry) if isinstance(entry, Credit) else self._ledger.reverse(entry)
            return _json({"new": await write})
        except (ValueError, KeyError, TypeError) as error:
            return _json({"code": "bad_request", "detail": str(error), "charged": False}, status=400)
        except (LedgerUnavailable, RecordsUnavailable) as refusal:
            return as_problem(refusal)

    async def _moved(
        self,
        request: web.Request,
        read: Callable[..., Entry],
        move: Callable[[Entry], Awaitable[dict[str, Any]]],
        may: Sequence[str] = (),
    ) -> web.StreamResponse:
        try:
            content = await read_members(request, "ref", "amount", "reason", may=may)
            account = request.match_info["account"]
            await self._aliases.look()
            entry = read(account, content.pop("amount"), now_ms=self._clock.now_ms(), **content)
            if not entry.amount.named and entry.amount.currency != self._currency:
                raise ValueError(f"amount: this gateway's currency is {self._currency}")
            if (before := await made_before(self._ledger, self._lines, entry, self._aliases.root)) is not None:
                return _json(before)
            await self._write(request, f"account.{read_verb(entry)}", account, entry.reason, **entry_facts(entry))
            return _json(await move(entry))
        except RefTaken as taken:
            return _json({"code": "ref_taken", "detail": str(taken), "charged": False}, status=409)
        except StoreFailed:
            return as_problem(LedgerUnavailable())
        except (ValueError, KeyError, TypeError) as error:
            return _json({"code": "bad_request", "detail": str(error), "charged": False}, status=400)
        except (LedgerUnavailable, RecordsUnavailable) as refusal:
            return as_problem(refusal)

    async def reload(self, request: web.Request) -> web.StreamResponse:
        """Serve by the configuration as it is now. 422 with every mistake if it is wrong; then nothing has changed.

        409 if another file is meant.
        """
        if (other := await self._another(request)) is not None:
            return other
        try:
            await self._write(request, "configuration.reload", "configuration", "")
        except RecordsUnavailable as refusal:
            return as_problem(refusal)
        outcome = await self._reload()
        return _json(outcome, status=200 if outcome["reloaded"] else 422)

    async def restart(self, request: web.Request) -> web.StreamResponse:
        """Replace the workers, one by one, by ones of the configuration as it is now. 422 if that is not possible."""
        if (other := await self._another(request)) is not None:
            return other
        try:
            await self._write(request, "workers.restart", "workers", "")
        except RecordsUnavailable as refusal:
            return as_problem(refusal)
        outcome = await self._restart()
        return _json(outcome, status=200 if outcome["restarted"] else 422)

    async def _another(self, request: web.Request) -> web.StreamResponse | None:
        """A refusal, if whoever asks names a configuration (`?sha256=`) which is not the one that is read here."""
        meant = request.query.get("sha256")
        if meant is None or meant == await asyncio.to_thread(self._config):
            return None
        detail = f"it is another file: this gateway reads {self._config_name}"
        return _json({"code": "another_configuration", "detail": detail, "charged": False}, status=409)

    async def _write(self, request: web.Request, action: str, object: str, reason: str, **facts: str) -> None:
        """On the trail before it is done. Raises RecordsUnavailable."""
        actor = operator_named(request.headers.get(OPERATOR_FIELD, ""))
        await self._witness.write(Act(actor, "operator", action, object, "admin", reason, facts))

    @web.middleware
    async def _operators_only(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path in _OPEN or request.path.startswith(_PAGES):
            return await _or_nothing_here(handler, request)
        given = request.headers.get("Authorization", "")
        looks = request.method in READS and request.path in _FOR_BROWSERS
        presented = _password(given) if looks and given[:6].lower() == "basic " else bearer(given)
        rank = self._operators.rank(presented)
        if rank is None:
            refused = _json({"code": "operators_only", "charged": False}, status=401)
            if looks:
                refused.headers["WWW-Authenticate"] = 'Basic realm="operators", charset="UTF-8"'
            return refused
        if rank == "auditor" and request.method not in READS:
            return _json({"code": "auditors_read", "charged": False}, status=403)
        return await _or_nothing_here(handler, request)


async def _or_nothing_here(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], request: web.Request
) -> web.StreamResponse:
    """What the router has no handler for, or a body is too large for, is told in our words."""
    try:
        return await handler(request)
    except web.HTTPException as none:
        allowed = {"Allow": none.headers["Allow"]} if "Allow" in none.headers else {}
        told = _json({"code": _CODES.get(none.status, "refused"), "charged": False}, status=none.status)
        told.headers.update(allowed)
        return told


def _password(given: str) -> str:
    """What a browser sends for what it has asked its user; empty if it cannot be read."""
    try:
        return base64.b64decode(given[6:], validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


OPERATOR_FIELD = "Gateway-Operator"
"""Who of the operators it is; said by whoever holds their token, and believed."""


def operator_named(name: str) -> str:
    """An operator as the trail names them."""
    return f"operator:{name}" if re.fullmatch(r"[A-Za-z0-9._@-]{1,64}", name) else "operator"


def read_verb(entry: Credit | Reversal) -> str:
    """What an entry is called on the trail."""
    return "credit" if isinstance(entry, Credit) else "debit"


def entry_facts(entry: Credit | Reversal) -> dict[str, str]:
    """What the trail says of an entry."""
    return {"amount": str(entry.amount), "ref": entry.ref, **{k: str(v) for k, v in purse_told(entry.purse).items()}}


UNKNOWN = "the books hold nothing of it: it cost nothing, or its batch was pruned"
UNDER_WAY = "it has not ended, or only just; ask again when it has"


async def refunded(ledger: Desk, request: RequestId, reason: str) -> dict[str, Any]:
    """Give back what it did cost; what an operator is told. Raises what `Ledger.refund` raises."""
    given = [
        {"account": charge.holder, "amount": str(Money(charge.micros, charge.unit))}
        for charge in await ledger.refund(request, reason)
    ]
    return {"request": str(request), "refunded": given}


_ENTRY = ("verb", "ref", "account", "amount", "kind", "reason")


def told_entry(entry: Credit | Reversal) -> dict[str, str]:
    """An entry as `POST /entries` takes it."""
    return {
        "verb": "credit" if isinstance(entry, Credit) else "reverse",
        "ref": entry.ref,
        "account": entry.account,
        "amount": str(entry.amount),
        "kind": entry.kind,
        "reason": entry.reason,
    }


def read_entry(content: dict[str, Any]) -> Credit | Reversal:
    """The same, read back. Raises ValueError, KeyError, TypeError."""
    texts = [content[name] for name in _ENTRY]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{', '.join(_ENTRY)}: each is a text")
    verb, ref, account, amount, kind, reason = texts
    check_entry(account, ref)
    reason = read_reason(reason)
    if verb == "credit":
        return Credit(ref, account, Money.parse(amount), kind, reason)
    if verb == "reverse":
        return Reversal(ref, account, Money.parse(amount), kind, reason)
    raise ValueError("verb: it is credit or reverse")


def _json(content: dict[str, Any], status: int = 200) -> OwnAnswer:
    return OwnAnswer(status=status, text=json.dumps(content) + "\n", content_type="application/json")
