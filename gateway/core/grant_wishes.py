"""What somebody asks of a token, as they write it, and what it comes to.

What is not mentioned is None: for a new token that is no bound of its own, for one that is there it stays what it is.
Each part that cannot be is refused by its name.
"""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from gateway.core.caps import PERIODS
from gateway.core.grants import NAME_CHARS_MAX, ROLES, Grant, OwnCap, Role, Scope, Terms, scope_of
from gateway.core.limits import Rate
from gateway.core.money import Money, MoneySyntax
from gateway.core.refusals import BadRequest

MEMBERS = ("name", "role", "routes", "methods", "expires", "limit", "caps")
_SPANS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SPAN = re.compile(r"([0-9]{1,5})([mhd])")
_METHOD = re.compile(r"[A-Z][A-Z-]{0,19}")
_LIST_MAX = 50
_RATES_MAX = 4


@dataclass(frozen=True, slots=True)
class Known:
    """What a wish is read by: how rates are written, which routes there are, what money is, and what time it is."""

    rate: Callable[[str], Rate]
    routes: Collection[str]
    currency: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    name: str | None = None
    routes: frozenset[str] | None = None
    methods: frozenset[str] | None = None
    expires_ms: int | None = None
    rates: tuple[Rate, ...] | None = None
    caps: tuple[OwnCap, ...] | None = None
    role: Role | None = None
    audience: str = ""
    """Never asked for: what a person allows an agent is for one resource."""

    @classmethod
    def read(cls, said: dict[str, Any], known: Known) -> "Wish":
        """From the members of an object. Raises BadRequest."""
        name, expires = _text(said, "name"), _text(said, "expires")
        routes, methods, rates = (_texts(said, member) for member in ("routes", "methods", "limit"))
        return cls(
            None if name is None else _name(name),
            None if routes is None else _routes(routes, known.routes),
            None if methods is None else _methods(methods),
            None if expires is None else _moment(expires, known.now_ms),
            None if rates is None else _rates(rates, known),
            _caps(said["caps"], known) if said.get("caps") is not None else None,
            _role(_text(said, "role")),
        )

    def new(self, id: str, account: str, *, last: str, now_ms: int, line: Sequence[Grant]) -> Grant:
        """A grant of its own, or one that comes of a line. Raises BadRequest if it would be wider than that."""
        terms = Terms(
            Scope(self.routes, self.methods),
            self.rates or (),
            self.caps or (),
            self.role or _inherited(line),
            self.audience,
        )
        parent = line[0].id if line else None
        made = Grant(id, account, now_ms, parent, self.name or "", last, self.expires_ms, terms=terms)
        _within(made, line)
        return made

    def narrowed(self, was: Grant, line: Sequence[Grant]) -> Grant:
        """What a grant would be. Raises BadRequest if any of it were wider than it was."""
        scope = Scope(
            was.terms.scope.routes if self.routes is None else self.routes,
            was.terms.scope.methods if self.methods is None else self.methods,
        )
        terms = Terms(
            scope,
            was.terms.rates if self.rates is None else self.rates,
            was.terms.caps if self.caps is None else self.caps,
            self.role or was.terms.role,
            was.terms.audience,
        )
        now = replace(
            was,
            name=was.name if self.name is None else self.name,
            expires_ms=was.expires_ms if self.expires_ms is None else self.expires_ms,
            terms=terms,
        )
        if not terms.is_within(was.terms) or (was.expires_ms or now.expires_ms or 0) < (now.expires_ms or 0):
            raise BadRequest("a token is only ever narrowed; make another one for more")
        _within(now, line[1:])
        return now


def _within(grant: Grant, above: Sequence[Grant]) -> None:
    allowed, scope = scope_of(above), grant.terms.scope
    if allowed is not None:
        for part, mine, theirs in (
            ("routes", scope.routes, allowed.routes),
            ("methods", scope.methods, allowed.methods),
        ):
            if mine is not None and theirs is not None and not mine <= theirs:
                raise BadRequest(f"{part}: its parent may not use {', '.join(sorted(mine - theirs))}")
    for parent in above:
        if parent.terms.role not in ("owner", grant.terms.role):
            raise BadRequest(f"role: its parent is a {parent.terms.role}")
        if parent.expires_ms is not None and (grant.expires_ms or 0) > parent.expires_ms:
            raise BadRequest("expires: its parent ends before that")
        for cap in grant.terms.caps:
            if any(cap.period == other.period and other.amount < cap.amount for other in parent.terms.caps):
                raise BadRequest(f"caps: {cap.period}: its parent may not spend that much")


# --- parts ------------------------------------------------------------------------------------------------------------


def _text(said: dict[str, Any], member: str) -> str | None:
    value = said.get(member)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{member}: a text was expected")
    return value


def _role(text: str | None) -> Role | None:
    if text is None:
        return None
    for role in ROLES:
        if text == role:
            return role
    raise BadRequest(f"role: one of {', '.join(ROLES)} was expected")


def _inherited(line: Sequence[Grant]) -> Role:
    return line[0].terms.role if line else "owner"


def _texts(said: dict[str, Any], member: str) -> list[str] | None:
    value = said.get(member)
    if value is None:
        return None
    if not isinstance(value, list) or not value or len(value) > _LIST_MAX:
        raise BadRequest(f"{member}: a list of one to {_LIST_MAX} texts was expected")
    if not all(isinstance(one, str) for one in value):
        raise BadRequest(f"{member}: a list of texts was expected")
    return value


def _name(text: str) -> str:
    text = text.strip()
    if len(text) > NAME_CHARS_MAX or not text.isprintable():
        raise BadRequest(f"name: at most {NAME_CHARS_MAX} characters, all of them printable")
    return text


def _routes(names: list[str], known: Collection[str]) -> frozenset[str]:
    for name in names:
        if name not in known:
            raise BadRequest(f"routes: there is no route {name[:NAME_CHARS_MAX]!r}")
    return frozenset(names)


def _methods(names: list[str]) -> frozenset[str]:
    for name in names:
        if not _METHOD.fullmatch(name):
            raise BadRequest(f"methods: {name[:NAME_CHARS_MAX]!r} is no method; write GET, POST and so on")
    return frozenset(names)


def _moment(text: str, now_ms: int) -> int:
    """`30d`, `12h`, `90m` from now; or a day or a moment of UTC, such as 2027-01-31 or 2027-01-31T12:00:00Z."""
    span = _SPAN.fullmatch(text.strip())
    if span is not None:
        at_ms = now_ms + int(span[1]) * _SPANS_MS[span[2]]
    else:
        try:
            moment = datetime.fromisoformat(text.strip())
            at_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, OverflowError):
            raise BadRequest("expires: write 30d, 12h or 90m, or a moment such as 2027-01-31T12:00:00Z") from None
    if at_ms <= now_ms:
        raise BadRequest("expires: that is over already")
    return at_ms


def _rates(texts: list[str], known: Known) -> tuple[Rate, ...]:
    if len(texts) > _RATES_MAX:
        raise BadRequest(f"limit: at most {_RATES_MAX} of them")
    try:
        rates = [known.rate(text) for text in texts]
    except ValueError as error:
        raise BadRequest(f"limit: {error}") from None
    if any(rate.currency not in ("", known.currency) for rate in rates):
        raise BadRequest(f"limit: money is in {known.currency} here")
    return tuple(dict.fromkeys(rates))


def _caps(said: object, known: Known) -> tuple[OwnCap, ...]:
    if not isinstance(said, dict) or not all(isinstance(amount, str) for amount in said.values()):
        raise BadRequest('caps: an object such as {"day": "5.00 usd"} was expected')
    for period in said:
        if period not in PERIODS:
            raise BadRequest(f"caps: {str(period)[:NAME_CHARS_MAX]!r} is none of {', '.join(PERIODS)}")
    return tuple(
        OwnCap(period, _amount(said[period], known.currency), known.now_ms) for period in PERIODS if period in said
    )


def _amount(text: str, currency: str) -> Money:
    try:
        amount = Money.parse_grant(text)
    except MoneySyntax:
        amount = None
    if amount is None or not (amount.named or amount.currency == currency) or amount.micros < 0:
        raise BadRequest(f'caps: an amount such as "5.00 {currency}" was expected')
    return amount
