"""`/_standin/…`: what a test or a demo can ask of the stand-in that nobody could ask of Stripe.

JSON in, JSON out. A page in a browser must not be able to steer the stand-in, so a request has to be JSON (which
a form cannot send) and has to name the loopback as its host (which a rebound name does not).

    GET  state                                                       what there is and what is under way
    POST pay      {"link": url or id, "method"?, "card"?, "email"?, "amount"?, "client_reference_id"?}
    POST settle   {"session": id, "succeed"?: true}                  a payment that settles later arrives, or fails
    POST refund   {"session": id, "amount"?, "later"?: false}        give back all or some of it
    POST settle_refund  {"refund": id, "succeed"?: true}             it arrives, or fails
    POST dispute  {"session": id, "amount"?, "inquiry"?: false}      the payer's bank wants it back
    POST close_dispute  {"dispute": id, "won": false}                the bank decides
    POST warn     {"session": id}                                    an early warning of fraud
    POST account  {"account": id, "due"?: [number, …], "verifying"?: true, "rejected"?: true, "give"?: true,
                   "deauthorise"?: true, "close"?: true}             what becomes of a connected account
    POST connect  {"account": id, "transfers"?: true}                money can be sent to this account, or not
    POST fees     {"basis_points": n, "fixed": n}                    what is kept of every payment from now on
    POST reverse  {"transfer": id, "amount"?}                        fetch back all or some of it
    POST send_on  {"account": id, "amount": n, "currency"?, "succeed"?: true}  on to the account's bank
    POST deliver  {"event": id, "times"?: 1}                         again, at once
    POST hold     {"types"?: [type, …]}                              keep events back from now on
    POST release  {"order"?: "created" | "reversed" | "shuffled" | [id, …]}
    POST drop     {"event": id} or {"count": n, "types"?: [type, …]}
    POST tamper   {"event": id, "how": "body" | "secret" | "stale" | "future" | "unsigned" | "garbled"}
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from gateway.demo.standin import played, shapes
from gateway.demo.standin.api import encode
from gateway.demo.standin.cards import BadCard
from gateway.demo.standin.errors import ApiError, invalid, unknown_parameters
from gateway.demo.standin.played import BOOLEAN, INTEGER, STRING, array, either, enum
from gateway.demo.standin.shapes import Shape
from gateway.demo.standin.till import PaymentDeclined, PaymentRefused
from gateway.demo.standin.webhooks import TAMPERINGS

if TYPE_CHECKING:
    from gateway.demo.standin.server import StandIn

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMES_MAX = 1000

Command = Callable[["StandIn", Mapping[str, Any]], Awaitable[Any]]


async def _state(standin: StandIn, given: Mapping[str, Any]) -> Any:
    return {
        "events": len(standin.events),
        "sessions": len(standin.sessions),
        "held": standin.held,
        "pending": standin.pending,
        "journal": [asdict(movement) for movement in standin.journal],
        "balance": standin.balance,
    }


async def _pay(standin: StandIn, given: Mapping[str, Any]) -> Any:
    options = {name: value for name, value in given.items() if name != "link"}
    return standin.pay(given["link"], **options)


async def _settle(standin: StandIn, given: Mapping[str, Any]) -> Any:
    return standin.settle(given["session"], succeed=given.get("succeed", True))


async def _refund(standin: StandIn, given: Mapping[str, Any]) -> Any:
    return standin.refund(given["session"], given.get("amount"), later=given.get("later", False))


async def _settle_refund(standin: StandIn, given: Mapping[str, Any]) -> Any:
    return standin.settle_refund(given["refund"], succeed=given.get("succeed", True))


async def _dispute(standin: StandIn, given: Mapping[str, Any]) -> Any:
    return standin.dispute(given["session"], given.get("amount"), inquiry=given.get("inquiry", False))


async def _close_dispute(standin: StandIn, given: Mapping[str, Any]) -> Any:
    return standin.close_dispute(given["dispute"], won=given["won"])


async def _warn(standin: StandIn, given: Mapping[str, Any]) -> Any:
    return standin.warn(given["session"])


async def _account(standin: StandIn, given: Mapping[str, Any]) -> Any:
    id = given["account"]
    how = {name: given[name] for name in ("due", "verifying", "rejected") if name in given}
    if how:
        standin.set_account(id, **how)
    for name, act in (
        ("give", standin.give_what_is_due), ("deauthorise", standin.deauthorise), ("close", standin.close_account)
    ):  # fmt: skip
        if given.get(name):
            act(id)
    return {"account": id}


async def _deliver(standin: StandIn, given: Mapping[str, Any]) -> Any:
    times = given.get("times", 1)
    if not 1 <= times <= TIMES_MAX:
        raise invalid(f"times must be between 1 and {TIMES_MAX}", "times")
    standin.deliver_again(given["event"], times=times)
    return {"delivered": given["event"], "times": times}


async def _hold(standin: StandIn, given: Mapping[str, Any]) -> Any:
    standin.hold(given.get("types"))
    return {"holding": given.get("types", "all")}


async def _release(standin: StandIn, given: Mapping[str, Any]) -> Any:
    return {"released": standin.release(given.get("order", "created"))}


async def _drop(standin: StandIn, given: Mapping[str, Any]) -> Any:
    if "event" in given:
        return {"dropped": standin.drop(given["event"])}
    standin.drop_next(given.get("count", 1), given.get("types"))
    return {"dropping": given.get("count", 1)}


async def _tamper(standin: StandIn, given: Mapping[str, Any]) -> Any:
    return {"statuses": await standin.tamper(given["event"], given["how"])}


async def _connect(standin: StandIn, given: Mapping[str, Any]) -> Any:
    standin.connect(given["account"], transfers=given.get("transfers", True))
    return {"account": given["account"], "transfers": given.get("transfers", True)}


async def _fees(standin: StandIn, given: Mapping[str, Any]) -> Any:
    standin.take_fees(given["basis_points"], given["fixed"])
    return given


async def _reverse(standin: StandIn, given: Mapping[str, Any]) -> Any:
    return standin.reverse(given["transfer"], given.get("amount"))


async def _send_on(standin: StandIn, given: Mapping[str, Any]) -> Any:
    more = {name: given[name] for name in ("currency", "succeed") if name in given}
    return standin.send_on(given["account"], given["amount"], **more)


TYPES = array(STRING)
PAY = played.fields(
    ["link"],
    link=STRING,
    method=enum("card", "link", "later"),
    card=STRING,
    email=STRING,
    amount=INTEGER,
    client_reference_id=STRING,
)
ACCOUNT = played.fields(
    ["account"],
    account=STRING,
    due=array(INTEGER),
    verifying=BOOLEAN,
    rejected=BOOLEAN,
    give=BOOLEAN,
    deauthorise=BOOLEAN,
    close=BOOLEAN,
)
COMMANDS: Mapping[str, tuple[Shape, Command]] = {
    "pay": (PAY, _pay),
    "settle": (played.fields(["session"], session=STRING, succeed=BOOLEAN), _settle),
    "refund": (played.fields(["session"], session=STRING, amount=INTEGER, later=BOOLEAN), _refund),
    "settle_refund": (played.fields(["refund"], refund=STRING, succeed=BOOLEAN), _settle_refund),
    "dispute": (played.fields(["session"], session=STRING, amount=INTEGER, inquiry=BOOLEAN), _dispute),
    "close_dispute": (played.fields(["dispute", "won"], dispute=STRING, won=BOOLEAN), _close_dispute),
    "warn": (played.fields(["session"], session=STRING), _warn),
    "account": (ACCOUNT, _account),
    "connect": (played.fields(["account"], account=STRING, transfers=BOOLEAN), _connect),
    "fees": (played.fields(["basis_points", "fixed"], basis_points=INTEGER, fixed=INTEGER), _fees),
    "reverse": (played.fields(["transfer"], transfer=STRING, amount=INTEGER), _reverse),
    "send_on": (
        played.fields(["account", "amount"], account=STRING, amount=INTEGER, currency=STRING, succeed=BOOLEAN),
        _send_on,
    ),
    "deliver": (played.fields(["event"], event=STRING, times=INTEGER), _deliver),
    "hold": (played.fields(types=TYPES), _hold),
    "release": (played.fields(order=either(enum("created", "reversed", "shuffled"), TYPES)), _release),
    "drop": (played.fields(event=STRING, count=INTEGER, types=TYPES), _drop),
    "tamper": (played.fields(["event", "how"], event=STRING, how=enum(*TAMPERINGS)), _tamper),
}


def routes(standin: StandIn) -> list[web.RouteDef]:
    return [
        web.get("/_standin/state", _handler(standin, played.fields(), _state)),
        *(web.post(f"/_standin/{name}", _handler(standin, *command)) for name, command in COMMANDS.items()),
    ]


def _handler(standin: StandIn, takes: Shape, command: Command) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            status, body = 200, await command(standin, await _given(request, takes))
        except ApiError as error:
            status, body = error.status, error.body()
        except PaymentDeclined as decline:
            status, body = 402, ApiError(402, decline.message, type="card_error", code=decline.code).body()
        except (PaymentRefused, BadCard) as refusal:
            status, body = 409, invalid(refusal.message).body()
        return web.Response(status=status, body=encode(body), content_type="application/json")

    return handle


async def _given(request: web.Request, takes: Shape) -> dict[str, Any]:
    if urlsplit(f"//{request.host}").hostname not in LOOPBACK:
        raise ApiError(403, "The controls of the stand-in answer on the loopback only.")
    if request.method == "GET":
        return {}
    if request.content_type != "application/json":
        raise ApiError(415, "The controls of the stand-in take application/json.")
    try:
        sent = json.loads(await request.read() or b"{}")
    except ValueError:
        raise invalid("The body is not valid JSON.") from None
    if not isinstance(sent, dict):
        raise invalid("The body must be a JSON object.")
    checked = shapes.check(takes, sent)
    if checked.unknown:
        raise unknown_parameters(checked.unknown)
    if checked.problems:
        raise checked.problems[0]
    return checked.values
