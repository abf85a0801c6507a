"""What an upstream is told of a request, besides what its caller sent: which it is, whose it is, what it belongs to.

`traceparent` is told of in `core/traces.py`. `Gateway-Account` is the account that pays, empty on free routes that
nobody was asked to identify for. All of these are ours alone: from a caller they never pass (`core/headers.py`).

An upstream that can be reached by others than the gateway cannot believe a field. For such a one a route has a
`context_key`, and `Gateway-Context` says the same signed: a JWT that is good for a minute, for this upstream only.
"""

import jwt

from gateway.core.callers import Caller
from gateway.core.headers import Fields
from gateway.core.ids import RequestId
from gateway.core.routes import Route
from gateway.core.secrets import Secret

ISSUER = "farebox"
"""Who signs, where no address of ours is known."""
CONTEXT_SECONDS = 60
_CLAIM_CHARACTERS_MAX = 1024


def fields(id: RequestId, caller: Caller, route: Route, *, issuer: str, traceparent: str) -> Fields:
    """The fields of one request. `traceparent`: what it says, empty if the caller's passes."""
    text = str(id)
    made = [("Gateway-Request-Id", text), *_claimed(caller, route)]
    if route.inject is not None and caller.injected is not None:
        name, value = caller.injected
        made.append((name, value.reveal()))
    account = "" if caller.fresh else caller.account
    if account:
        made.append(("Gateway-Account", account))
    if route.context_key is not None:
        made.append(("Gateway-Context", signed(route.context_key, id, account, route, issuer=issuer)))
    if traceparent:
        made.append(("traceparent", traceparent))
    return made


def _claimed(caller: Caller, route: Route) -> Fields:
    """What an outside provider says of the caller, where the route passes it on. What no field can hold is left out."""
    if not route.pass_claims or caller.claims is None:
        return []
    made: Fields = []
    for name, claim in route.pass_claims:
        value = caller.claims.get(claim)
        if isinstance(value, bool):
            value = "true" if value else "false"
        text = str(value) if isinstance(value, str | int) else ""
        if text and len(text) <= _CLAIM_CHARACTERS_MAX and text.isascii() and text.isprintable():
            made.append((name, text))
    return made


def signed(key: Secret, id: RequestId, account: str, route: Route, *, issuer: str) -> str:
    """Whose request it is, as an HS256 JWT. It is issued at the moment in the request's id."""
    issued_at = id.at_ms // 1000
    claims = {
        "iss": issuer or ISSUER,
        "sub": account,
        "aud": route.upstream.name,
        "route": route.name,
        "request": str(id),
        "iat": issued_at,
        "exp": issued_at + CONTEXT_SECONDS,
    }
    return jwt.encode(claims, key.reveal(), algorithm="HS256")
