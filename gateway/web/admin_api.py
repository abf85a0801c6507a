"""The admin listener's calls as an OpenAPI 3.1 document; a test holds it against the addresses that there are.

Answers are described member by member, closed, so that a member that comes or goes shows; a test sends made-up calls by
this document and holds every answer against it. Pages and the style sheet are no calls, and stand in no document.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.core.alerts import NAMES
from gateway.core.jobs import STATES as JOB_STATES
from gateway.core.outgoing import STATES as NOTICE_STATES
from gateway.core.trail import NEWEST
from gateway.web.alerts_by_hand import MUTE_HOURS_MAX
from gateway.web.operator_calls import TRAIL_MAX
from gateway.web.watched import STATUSES

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_WHOLE: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_TRUTH: Schema = {"type": "boolean"}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_AMOUNT: Schema = {"type": "string", "description": "such as `5.00 usd`"}
_GIVEN: Schema = {"type": "string", "pattern": "^[0-9]{1,20}(\\.[0-9]{1,9})? [a-z]{3}$"}
_ACCOUNT: Schema = {"type": "string", "pattern": "^acct_[0-9a-f]{32}$"}
_ID: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_.:\\-]{1,128}$"}
_REASON: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": 200,
    "description": "why, for ever: nobody's address",
}


def _object(**members: Schema) -> Schema:
    return {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}


def _maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _by_name(schema: Schema) -> Schema:
    return {"type": "object", "additionalProperties": schema}


_CHECK = _object(ok=_TRUTH, why=_TEXT)
_READY: Schema = {
    "type": "object",
    "properties": {"status": {"enum": ["ok", "not ready"]}, "ledger": _TRUTH, "checks": _by_name(_CHECK)},
    "required": ["status", "ledger"],
    "additionalProperties": False,
}
_SUM = _object(count=_WHOLE, amount=_AMOUNT)
_WINDOW = _object(
    seconds=_NUMBER, requests=_WHOLE, per_second=_NUMBER, errors=_WHOLE, payment_required=_WHOLE, rate_limited=_WHOLE,
    p50_ms=_maybe(_NUMBER), p95_ms=_maybe(_NUMBER), p99_ms=_maybe(_NUMBER), statuses=_by_name(_WHOLE),
    refusals=_by_name(_WHOLE),
)  # fmt: skip
_NOW = _object(
    windows=_list(_WINDOW), in_flight=_WHOLE, connections=_WHOLE, holds_open=_WHOLE,
    ledger=_object(stuck=_TRUTH, waiting_records=_WHOLE), checks=_by_name(_CHECK),
)  # fmt: skip
_UNIT = _object(
    unit=_TEXT, credits=_by_name(_SUM), debits=_SUM, refunds=_SUM, disputes=_SUM, taken_back=_by_name(_SUM), debt=_SUM
)
_MONEY = _object(units=_list(_UNIT), last_audit=_maybe({"type": "object"}))
_EVENT = _object(
    id=_TEXT, type=_TEXT, created=_MOMENT, received=_MOMENT, status={"enum": list(STATUSES)}, error=_maybe(_TEXT)
)
_WEBHOOKS = _object(
    newest=_maybe(_MOMENT), waiting=_WHOLE, parked=_WHOLE, oldest_waiting_seconds=_maybe(_NUMBER),
    received=_by_name(_WHOLE), acted=_by_name(_WHOLE), provider_calls=_by_name(_WHOLE), events=_list(_EVENT),
)  # fmt: skip
_UPSTREAM = _object(name=_TEXT, servers=_WHOLE, left_out=_WHOLE, busy=_WHOLE, idle=_WHOLE)
_PROCESS = _object(
    process=_TEXT, version=_maybe(_TEXT), loaded=_maybe(_MOMENT), in_flight=_maybe(_WHOLE), connections=_maybe(_WHOLE),
    resident_bytes=_maybe(_WHOLE), open_fds=_maybe(_WHOLE), cpu_seconds=_NUMBER, loop_lag_ms=_NUMBER,
)  # fmt: skip
_WORKERS = _object(wanted=_WHOLE, there=_WHOLE, same_version=_TRUTH, processes=_list(_PROCESS))
_PARKED = _object(event=_TEXT, what=_TEXT, payment=_TEXT, amount=_TEXT, received=_MOMENT, status=_TEXT, why=_TEXT)
_ASSIGNED = _object(session=_TEXT, amount=_TEXT, account=_TEXT, right=_TRUTH, outcome=_TEXT)
_JOB = _object(
    id=_TEXT, kind=_TEXT, provider=_TEXT, state={"enum": list(JOB_STATES)}, tries=_WHOLE, created=_MOMENT,
    changed=_MOMENT, due=_maybe(_MOMENT), progress={"type": "object"}, error=_maybe(_TEXT), user=_TEXT,
)  # fmt: skip
_NOTICE = _object(
    id=_TEXT, type=_TEXT, account=_TEXT, channel={"enum": ["webhook", "mail"]}, created=_MOMENT,
    state={"enum": list(NOTICE_STATES)}, tries=_WHOLE, due=_MOMENT, error=_maybe(_TEXT), data={"type": "object"},
)  # fmt: skip
_ENTRY = _object(
    number=_WHOLE, at=_MOMENT, actor=_TEXT, role=_TEXT, action=_TEXT, object=_TEXT, origin=_TEXT, reason=_TEXT,
    facts=_by_name(_TEXT),
)  # fmt: skip
_OUTCOME: Schema = {
    "type": "object",
    "properties": {"reloaded": _TRUTH, "restarted": _TRUTH, "mistakes": _list(_TEXT), "workers": _WHOLE},
}
_DUE = _object(
    unit=_TEXT, requests=_WHOLE, sold=_AMOUNT, commission=_AMOUNT, paid_out=_AMOUNT, clawed_back=_AMOUNT, due=_AMOUNT
)
_OWNER = _object(
    owner=_TEXT, account=_TEXT, on_hold=_maybe(_TEXT), dues=_list(_DUE),
    last_day=_object(calls=_WHOLE, errors=_WHOLE),
    failures=_list(_object(payout=_TEXT, state=_TEXT, error=_maybe(_TEXT))),
)  # fmt: skip
_MOVED: Schema = {
    "type": "object",
    "properties": {
        "account": _ACCOUNT, "credited": _TRUTH, "debited": _TRUTH, "available": _AMOUNT, "priority": _WHOLE,
        "expires": _TEXT,
    },
    "required": ["account", "available"],
    "additionalProperties": False,
}  # fmt: skip
_ALERT = _object(
    id=_TEXT, alert=_TEXT, about=_TEXT, severity=_TEXT, what=_TEXT, facts={"type": "object"}, opened=_maybe(_MOMENT),
    seen=_maybe(_MOMENT), ended=_maybe(_MOMENT), told=_maybe(_WHOLE), acknowledged=_maybe(_MOMENT),
)  # fmt: skip
_FROZEN = _object(account=_ACCOUNT, frozen=_TRUTH, changed=_TRUTH)
_REFUSED: Schema = {
    "type": "object",
    "properties": {"code": _TEXT, "detail": _TEXT, "charged": _TRUTH},
    "required": ["code"],
}


@dataclass(frozen=True, slots=True)
class Call:
    """One method of one address. `takes` is its body; `may` lists statuses besides those that every call may have."""

    summary: str
    answers: Schema
    takes: Schema | None = None
    asks: Mapping[str, Schema] = field(default_factory=dict)
    may: tuple[int, ...] = ()
    open: bool = False


_WHY = _object(reason=_REASON)
_AMOUNT_BODY: Schema = {
    "type": "object",
    "properties": {"ref": _TEXT, "amount": _GIVEN, "reason": _REASON},
    "required": ["ref", "amount", "reason"],
    "additionalProperties": False,
}
_CREDIT_BODY: Schema = {
    **_AMOUNT_BODY,
    "properties": {**_AMOUNT_BODY["properties"], "expires": _TEXT, "priority": _WHOLE},
}
_ENTRY_BODY = _object(
    verb={"enum": ["credit", "reverse"]}, ref=_TEXT, account=_TEXT, amount=_GIVEN, kind=_TEXT, reason=_TEXT
)
_ASSIGN_BODY: Schema = {
    "type": "object",
    "properties": {"account": _ACCOUNT, "dry_run": _TRUTH},
    "required": ["account"],
    "additionalProperties": False,
}
_TRAIL_ASKS: dict[str, Schema] = {
    "before": {"type": "integer", "minimum": 1, "maximum": NEWEST, "description": "entries of less than this number"},
    "count": {"type": "integer", "minimum": 1, "maximum": TRAIL_MAX},
    "object": {"type": "string", "description": "what was done to this"},
    "action": {"type": "string", "description": "only this"},
}
_MEANT: dict[str, Schema] = {
    "sha256": {"type": "string", "description": "of the file that is meant: 409 if another one is read here"},
}
CALLS: dict[tuple[str, str], Call] = {
    ("GET", "/livez"): Call("Whether it lives", _object(status={"const": "ok"}), open=True),
    ("GET", "/readyz"): Call(
        "Whether paid routes can be served", _READY, asks={"verbose": _TEXT}, may=(503,), open=True
    ),
    ("GET", "/healthz"): Call("The same, and how each part stands", _READY, may=(503,), open=True),
    ("GET", "/metrics"): Call("What Prometheus scrapes", _TEXT, open=True),
    ("GET", "/now"): Call("The last minutes: rate, errors, quantiles, 402s, 429s; and how each part stands", _NOW),
    ("GET", "/money"): Call("What came in, was used, went back and is owed; the last proof of the books", _MONEY),
    ("GET", "/webhooks"): Call(
        "How the inbox stands, and the events that wait or are parked, or those of one status", _WEBHOOKS,
        asks={"status": {"enum": list(STATUSES)}},
    ),
    ("POST", "/webhooks/{event}/replay"): Call("Act on an event again; nothing is ever done twice", _EVENT),
    ("GET", "/upstreams"): Call("Servers and connections of each upstream", _object(upstreams=_list(_UPSTREAM))),
    ("GET", "/workers"): Call("Each process, and by which version of the configuration it serves", _WORKERS),
    ("GET", "/payments/parked"): Call(
        "Payments, refunds and disputes that reached no account", _object(payments=_list(_PARKED))
    ),
    ("POST", "/payments/{payment}/assign"): Call(
        "Give a parked payment to an account, once; with `dry_run` say what would come of it", _ASSIGNED,
        takes=_ASSIGN_BODY,
    ),
    ("GET", "/jobs"): Call(
        "Work in the background, the newest first", _object(jobs=_list(_JOB)),
        asks={"state": {"enum": list(JOB_STATES)}},
    ),
    ("POST", "/jobs/{job}/retry"): Call("Try a job again that was given up", _JOB, may=(404,)),
    ("GET", "/notices"): Call(
        "Messages that go out, the newest first", _object(notices=_list(_NOTICE)),
        asks={"state": {"enum": list(NOTICE_STATES)}},
    ),
    ("POST", "/notices/{notice}/replay"): Call("Send a message again", _NOTICE, may=(404,)),
    ("GET", "/trail"): Call(
        "Who did what, the newest first; `next` is the `before` of the next page",
        _object(entries=_list(_ENTRY), next=_maybe(_WHOLE)), asks=_TRAIL_ASKS,
    ),
    ("GET", "/openapi.json"): Call("This document", {"type": "object"}),
    ("GET", "/alerts"): Call(
        "Alerts that are open, and with `all` those that have ended", asks={"all": _TEXT},
        answers=_object(alerts=_list(_ALERT), muted=_by_name(_maybe(_MOMENT))),
    ),
    ("POST", "/alerts/test"): Call(
        "A test on every way, and what became of it", _object(arrived=_TRUTH, ways=_list({"type": "object"})),
        may=(502,),
    ),
    ("POST", "/alerts/mute"): Call(
        "Nobody is told of these for so long; 0 ends it", _object(name=_TEXT, until=_maybe(_MOMENT)),
        takes=_object(name={"enum": list(NAMES)}, hours={"type": "number", "minimum": 0, "maximum": MUTE_HOURS_MAX}),
    ),
    ("POST", "/alerts/{alert}/ack"): Call("Somebody looks after it, so nobody is reminded", _ALERT, may=(404,)),
    ("GET", "/owners"): Call(
        "Owners, what is due to them, and what fails", _object(owners=_list(_OWNER), platform=_list(_AMOUNT))
    ),
    ("GET", "/accounts/{account}/balance"): Call(
        "What an account can spend", _object(account=_TEXT, available=_AMOUNT, held=_AMOUNT),
        asks={"currency": {"type": "string", "description": "or a named unit"}},
    ),
    ("POST", "/accounts/{account}/credit"): Call(
        "Credit by hand, once per `ref`", _MOVED, takes=_CREDIT_BODY, may=(409,)
    ),
    ("POST", "/accounts/{account}/debit"): Call(
        "Debit by hand, once per `ref`", _MOVED, takes=_AMOUNT_BODY, may=(409,)
    ),
    ("POST", "/accounts/{account}/freeze"): Call("It may not spend", _FROZEN, takes=_WHY),
    ("POST", "/accounts/{account}/unfreeze"): Call("It may spend again", _FROZEN, takes=_WHY),
    ("POST", "/accounts/{account}/join"): Call(
        "It is another one from now on", _object(account=_TEXT, into=_TEXT, joined=_TRUTH),
        takes=_object(into=_ACCOUNT, reason=_REASON), may=(409,),
    ),
    ("POST", "/requests/{request}/refund"): Call(
        "Give back what a request did cost, once",
        _object(request=_TEXT, refunded=_list(_object(account=_TEXT, amount=_AMOUNT))), takes=_WHY, may=(404, 409),
    ),
    ("POST", "/entries"): Call(
        "What a command about payments or payouts writes, once per `ref`", _object(new=_TRUTH), takes=_ENTRY_BODY
    ),
    ("POST", "/reload"): Call("Serve by the configuration as it is now", _OUTCOME, asks=_MEANT, may=(409, 422)),
    ("POST", "/restart"): Call("Replace the workers, one by one", _OUTCOME, asks=_MEANT, may=(409, 422)),
}  # fmt: skip
_FORMS: dict[str, Schema] = {
    "account": _ACCOUNT,
    "request": {"type": "string", "pattern": "^req_[0-9A-Za-z]{1,64}$"},
}
_WORDS = {
    400: "The call is malformed.",
    401: "No token, or not a good one.",
    403: "Auditors read.",
    404: "There is no such thing.",
    409: "It cannot be done as things stand.",
    413: "The body is too large.",
    422: "The configuration is wrong; nothing has changed.",
    502: "One of them did not arrive.",
    503: "It cannot be done just now.",
}


def admin_document(ours: Iterable[tuple[str, str]], *, version: str) -> dict[str, Any]:
    """Of the addresses that this listener has, those that are calls."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path in ours:
        call = CALLS.get((method, path))
        if call is not None:
            paths.setdefault(path, {})[method.lower()] = _told(call, method, path)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Farebox, for its operators", "version": version, "description": _ABOUT},
        "paths": paths,
        "components": {
            "securitySchemes": {"operator": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Refused": _REFUSED},
        },
    }


_ABOUT = (
    "The admin listener. The operators' token may do all of it, the auditors' may read. `Gateway-Operator` names who it"
    " is, for the trail."
)


def _told(call: Call, method: str, path: str) -> dict[str, Any]:
    parameters = [
        {"name": part, "in": "path", "required": True, "schema": _FORMS.get(part, _ID)}
        for part in re.findall(r"\{(\w+)\}", path)
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in call.asks.items()
    ]
    media = "text/plain" if path == "/metrics" else "application/json"
    responses: dict[str, Any] = {"200": {"description": "Done.", "content": {media: {"schema": call.answers}}}}
    for status in _statuses(call, method):
        schema = call.answers if status in (422, 502) or (call.open and status == 503) else {"$ref": _REFUSED_REF}
        content = {kind: {"schema": schema} for kind in ("application/json", "application/problem+json")}
        responses[str(status)] = {"description": _WORDS[status], "content": content}
    told: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "summary": call.summary,
        "parameters": parameters,
        "responses": responses,
    }
    if call.takes is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": call.takes}}}
    if not call.open:
        told["security"] = [{"operator": []}]
    return told


_REFUSED_REF = "#/components/schemas/Refused"


def _statuses(call: Call, method: str) -> list[int]:
    if call.open:
        return sorted(call.may)
    usual = {400, 401, 503} | ({403, 413} if method == "POST" else set())
    return sorted(usual | set(call.may))
