"""Which header fields pass, which do not, and the fields that we add.

What the caller sent is what the upstream gets, minus four things: hop-by-hop fields (RFC 9110 section 7.6.1, and
whatever `Connection` names), our own credentials, fields that claim an identity or a price (`Gateway-*`, and any name
with an underscore, which many servers read as a hyphen), and the forwarding fields (every `X-Forwarded-*`, who else may
have said a user or a path in one), of which `core/forwarding.py` says anew what is believed. `X-Original-URL` and
`X-Rewrite-URL` go too: there are frameworks that route by them, and the price is that of the request line. The way back
drops hop-by-hop fields and the `Gateway-*` that only we may say. Then come the route's own rules, and last the
credential that the upstream wants of us.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from gateway.core.jwts import holds_jwt
from gateway.core.licences import holds_licence
from gateway.core.limits import Limit, Stand
from gateway.core.money import Money, MoneySyntax, money_in, money_text
from gateway.core.refusals import BadRequest, PriceTooHigh
from gateway.core.routes import NO_RULES, FieldRules, UpstreamCredential
from gateway.core.tokens import holds_ours

Fields = list[tuple[str, str]]

HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding upgrade"
    " http2-settings".split()
)
_SET_BY_US = frozenset("host x-forwarded-for x-forwarded-proto x-forwarded-host forwarded x-real-ip expect".split())
_ROUTED_BY = frozenset(("x-original-url", "x-rewrite-url"))
_FRAMING = frozenset(("content-length",))
_NEVER_UPSTREAM = HOP_BY_HOP | _SET_BY_US | _ROUTED_BY
_OURS = "gateway-"
_CLAIMS = (_OURS, "x-forwarded-")


def to_upstream(
    fields: Iterable[tuple[str, str]],
    *,
    cookie: str,
    rules: FieldRules = NO_RULES,
    credential: UpstreamCredential | None = None,
    replaced: frozenset[str] = frozenset(),
) -> Fields:
    """The fields of a request as the upstream gets them, in the caller's order and spelling; then what the route adds.

    A field that holds a token of ours does not pass, whatever its name. Of `Cookie` only the parts that hold one, and
    those whose name is `cookie` or begins with it and an underscore, are taken out; so are, by the rules, the tokens of
    outside providers. `replaced` are names, in small letters, of what is said anew.
    """
    fields = list(fields)
    dropped = _NEVER_UPSTREAM | replaced | named_in_connection(fields)
    cookies = (cookie, *rules.cookies)
    kept: Fields = []
    for name, value in fields:
        lower = name.lower()
        if lower in dropped or lower.startswith(_CLAIMS) or "_" in lower:
            continue
        if lower == "cookie":
            value = _without_ours(value, cookies)
            if not value:
                continue
        elif holds_ours(value) or holds_licence(value) or (lower in rules.jwts and holds_jwt(value)):
            continue
        kept.append((name, value))
    kept = _ruled(kept, rules)
    if credential is not None and credential.place == "header":
        kept = [*_without(kept, frozenset((credential.name.lower(),))), (credential.name, credential.value.reveal())]
    return kept


def to_caller(fields: Iterable[tuple[str, str]], rules: FieldRules = NO_RULES) -> Fields:
    """The fields of an answer as the caller gets them; then what the route adds."""
    fields = list(fields)
    dropped = HOP_BY_HOP | named_in_connection(fields)
    kept = [
        (name, value)
        for name, value in fields
        if (lower := name.lower()) not in dropped and not lower.startswith(_OURS)
    ]
    return _ruled(kept, rules)


def receipt(cost: Money, balance: str) -> Fields:
    """What the request cost and what is left: `Gateway-Cost: 0.002 usd`."""
    return [("Gateway-Cost", _text(cost.micros, cost.currency)), ("Gateway-Balance", balance)]


def agrees(max_price: str, price: Money) -> None:
    """Whether a request may cost this much, by its `Gateway-Max-Price: 0.01 usd`. Raises PriceTooHigh, BadRequest."""
    try:
        limit = money_in(max_price, price.currency)
    except MoneySyntax:
        raise BadRequest("its Gateway-Max-Price is not an amount such as 0.01 usd") from None
    if limit.currency != price.currency or limit < price:
        raise PriceTooHigh(price=price, limit=limit)


def asks_us(names: Iterable[str]) -> bool:
    """Whether a field of a request says something to us, such as `Gateway-Max-Price`: of most requests none does."""
    return any(name.lower().startswith(_OURS) for name in names)


def wants_cost_event(headers: Mapping[str, str]) -> bool:
    """Whether a stream of events is to end with what it did cost: `Gateway-Final-Event: cost`. Raises BadRequest."""
    wanted = headers.get("Gateway-Final-Event")
    if wanted is None:
        return False
    if wanted.strip().lower() != "cost":
        raise BadRequest("its Gateway-Final-Event is not one that there is: cost")
    return True


def last_cost(cost: Money) -> Fields:
    """What a request did cost, behind the body of its answer."""
    return [("Gateway-Cost", _text(cost.micros, cost.currency))]


def at_most(ceiling: Money) -> Fields:
    """What a request costs at most whose cost is not known when its answer begins."""
    return [("Gateway-Cost-Max", _text(ceiling.micros, ceiling.currency))]


@lru_cache(1024)
def _text(micros: int, unit: str) -> str:
    """Costs repeat themselves, balances do not."""
    return money_text(micros, unit)


def windows(policy: str, limits: Sequence[Limit], stands: Sequence[Stand]) -> Fields:
    """`RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): every limit that was met."""
    standing = []
    for limit, (allowed, remaining, reset_ms) in zip(limits, stands, strict=True):
        reset = "" if limit.rate is None else f";t={-(-reset_ms // 1000) if reset_ms > 0 else 0}"
        standing.append(f"{limit.quoted}{remaining if allowed else 0}{reset}")
    return [("RateLimit-Policy", policy), ("RateLimit", ", ".join(standing))]


def prefers_html(headers: Mapping[str, str]) -> bool:
    """Whether a person with a browser is asking: a navigation that would rather have HTML than JSON."""
    mode = headers.get("Sec-Fetch-Mode")
    if mode is not None and mode != "navigate":
        return False
    html = json = 0.0
    for entry in headers.get("Accept", "").split(","):
        media, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = _quality(parameters)
        if media in ("text/html", "application/xhtml+xml"):
            html = max(html, quality)
        elif media in ("application/json", "application/problem+json"):
            json = max(json, quality)
    return html > json


def _quality(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _ruled(fields: Fields, rules: FieldRules) -> Fields:
    """What a route's rules make of these fields."""
    if rules is NO_RULES:
        return fields
    replaced = rules.remove | {name.lower() for name, _ in rules.set}
    return [*_without(fields, replaced), *rules.set, *rules.add]


def _without(fields: Fields, names: frozenset[str]) -> Fields:
    return [(name, value) for name, value in fields if name.lower() not in names]


def named_in_connection(fields: Iterable[tuple[str, str]]) -> frozenset[str]:
    """What `Connection` takes out: never the framing, or the body that follows would be read as the next message."""
    named = [value for name, value in fields if name.lower() == "connection"]
    return frozenset(option.strip().lower() for value in named for option in value.split(",")) - _FRAMING


def _without_ours(value: str, cookies: Sequence[str]) -> str:
    """A Cookie field less our own cookies; untouched, byte for byte, when it holds none."""
    parts = value.split(";")
    kept = [part for part in parts if not _is_ours(part, cookies)]
    return value if len(kept) == len(parts) else ";".join(kept).strip()


def _is_ours(part: str, cookies: Sequence[str]) -> bool:
    name = part.partition("=")[0].strip()
    return (
        any(name == cookie or name.startswith(cookie + "_") for cookie in cookies)
        or holds_ours(part)
        or holds_licence(part)
    )
