"""What a token is to its holder: a name, and what it may do.

A *grant* is what people call a token: it has an id, a name, an end, and terms. The secret that is presented stands
behind it, and for a while after a rotation two do, so that nothing that is counted for a grant begins anew.

A grant may be derived from another. Nothing that it says makes it wider than its parent: it may do what all of its line
allow, from itself up, and whoever narrows, revokes or outlives a parent does so to all that came of it. A line is
short, and read whole when a token is looked up; what it comes to is kept with the caller, so that a request pays little
for it, and nothing if no terms were written.

A wallet is shared by giving its members tokens with a role. An *owner* may all: spend, see, and have others made. A
*spender* spends, and sees what it spent; a *viewer* sees everything and spends nothing. Of a spender come only
spenders, of a viewer only viewers; whoever comes of both may nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from gateway.core.caps import Cap, Period
from gateway.core.limits import Limit, Rate
from gateway.core.money import Money

LINE_MAX = 4
"""How many grants stand in one line: one that came of no other, and three below it."""
NAME_CHARS_MAX = 60
SESSION_PREFIX = "ses_"
LAST_CHARS = 4


@dataclass(frozen=True, slots=True)
class Scope:
    """Which priced routes, by name, and which methods. None is all of them."""

    routes: frozenset[str] | None = None
    methods: frozenset[str] | None = None

    def allows(self, route: str, method: str) -> bool:
        """Whether a request is of this scope. `post` is no `POST`: an upstream may not tell them apart."""
        return (self.routes is None or route in self.routes) and (self.methods is None or method in self.methods)

    def is_within(self, other: "Scope") -> bool:
        return _is_within(self.routes, other.routes) and _is_within(self.methods, other.methods)

    def __and__(self, other: "Scope") -> "Scope":
        return Scope(_both(self.routes, other.routes), _both(self.methods, other.methods))


EVERYTHING = Scope()
NOTHING = Scope(frozenset())

Role = Literal["owner", "spender", "viewer"]
ROLES: tuple[Role, ...] = get_args(Role)


class OwnCap(NamedTuple):
    """So much in each period; set at that moment."""

    period: Period
    amount: Money
    since_ms: int


def _is_no_more(mine: Money | None, other: Money) -> bool:
    return mine is not None and mine.currency == other.currency and mine <= other


@dataclass(frozen=True, slots=True)
class Terms:
    """What a grant may do: where, how often, for how much in a period, and as whom."""

    scope: Scope = EVERYTHING
    rates: tuple[Rate, ...] = ()
    caps: tuple[OwnCap, ...] = ()
    role: Role = "owner"
    audience: str = ""
    """The one resource at which it may be shown; empty for wherever it is of use."""

    def is_within(self, other: "Terms") -> bool:
        """Whether these allow nothing that the others do not."""
        mine = {cap.period: cap.amount for cap in self.caps}
        return (
            self.scope.is_within(other.scope)
            and other.role in ("owner", self.role)
            and other.audience in ("", self.audience)
            and set(other.rates) <= set(self.rates)
            and all(_is_no_more(mine.get(cap.period), cap.amount) for cap in other.caps)
        )

    def text(self) -> str:
        """How they are kept."""
        return json.dumps(
            {
                "routes": _sorted(self.scope.routes),
                "methods": _sorted(self.scope.methods),
                "rates": [[rate.amount, rate.seconds, rate.text, rate.currency] for rate in self.rates],
                "caps": [[cap.period, cap.amount.micros, cap.amount.currency, cap.since_ms] for cap in self.caps],
                "role": self.role,
            }
            | ({"audience": self.audience} if self.audience else {}),
            separators=(",", ":"),
        )

    @classmethod
    def read(cls, text: str) -> "Terms":
        """What `text` made of them."""
        kept = json.loads(text)
        return cls(
            Scope(_set(kept["routes"]), _set(kept["methods"])),
            tuple(Rate(amount, seconds, said, currency=currency) for amount, seconds, said, currency in kept["rates"]),
            tuple(OwnCap(period, Money(micros, unit), since) for period, micros, unit, since in kept["caps"]),
            kept.get("role", "owner"),
            kept.get("audience", ""),
        )


ANYTHING = Terms()


@dataclass(frozen=True, slots=True)
class Grant:
    """A token as its holder knows it. `last` are the last characters of its newest secret, if they are known."""

    id: str
    account: str
    created_ms: int
    parent: str | None = None
    name: str = ""
    last: str = ""
    expires_ms: int | None = None
    revoked_ms: int | None = None
    used_ms: int | None = None
    terms: Terms = ANYTHING

    @property
    def is_plain(self) -> bool:
        """Whether it may do everything, for ever: such a token stands for the account. So does a session, as long."""
        return self.parent is None and (self.expires_ms is None or self.is_session) and self.terms == ANYTHING

    @property
    def is_session(self) -> bool:
        """Whether it is no token that anybody holds, but somebody who is signed in."""
        return self.id.startswith(SESSION_PREFIX)

    def is_over(self, now_ms: int) -> bool:
        """Whether it was revoked or has expired; its line may be over before it is."""
        return self.revoked_ms is not None or (self.expires_ms is not None and self.expires_ms <= now_ms)


def grant_id(digest: bytes) -> str:
    """`tok_` and 20 hex digits, of the keyed digest of its first secret."""
    return f"tok_{digest[:10].hex()}"


def session_id(digest: bytes) -> str:
    """The same for a session."""
    return f"{SESSION_PREFIX}{digest[:10].hex()}"


def tag_of(id: str) -> int:
    """63 bits of its id: how the ledger's records name a grant, whichever secret was shown.

    It is what `tokens.tag` makes of its first secret.
    """
    return int(id[4:20], 16) >> 1


class OwnLimit(NamedTuple):
    """A limit of a grant, and what it is counted under: the same for all that came of it."""

    limit: Limit
    key: str


def scope_of(line: Iterable[Grant]) -> Scope | None:
    """Where a grant may be used; None if everywhere."""
    scope = EVERYTHING
    for grant in line:
        scope &= NOTHING if grant.terms.role == "viewer" else grant.terms.scope
    return None if scope == EVERYTHING else scope


def limits_of(line: Sequence[Grant]) -> tuple[OwnLimit, ...]:
    """How often, by its own terms and those of its parents."""
    return tuple(
        OwnLimit(Limit(f"token-{above}-{number}", rate, per="token"), f"{grant.id} {rate.text}")
        for above, grant in enumerate(line)
        for number, rate in enumerate(grant.terms.rates, 1)
    )


def caps_of(line: Iterable[Grant], zone: str) -> tuple[Cap, ...]:
    """For how much: its own caps first, then its parents'. What it spends counts under each."""
    return tuple(
        Cap(grant.id, cap.period, cap.amount, zone, cap.since_ms) for grant in line for cap in grant.terms.caps
    )


def sees_all(line: Sequence[Grant]) -> bool:
    """Whether a grant may see all of its account, be it that it may do nothing else."""
    roles = {grant.terms.role for grant in line}
    return "viewer" in roles and "spender" not in roles


def audience_of(line: Iterable[Grant]) -> str:
    """The one resource at which a grant may be shown: the nearest one that is said; empty if none is."""
    return next((grant.terms.audience for grant in line if grant.terms.audience), "")


def until(line: Iterable[Grant]) -> int | None:
    """When it is over, in milliseconds; None if never, and 0 if it is revoked."""
    ends = []
    for grant in line:
        if grant.revoked_ms is not None:
            return 0
        if grant.expires_ms is not None:
            ends.append(grant.expires_ms)
    return min(ends, default=None)


class Family:
    """The grants of one account, as a tree."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        self.grants: Mapping[str, Grant] = {grant.id: grant for grant in grants}

    def line(self, id: str) -> list[Grant]:
        """It, its parent, and so on up."""
        line: list[Grant] = []
        at: str | None = id
        while at is not None and at in self.grants and len(line) < LINE_MAX:
            line.append(self.grants[at])
            at = line[-1].parent
        return line

    def is_over(self, id: str, now_ms: int) -> bool:
        return any(grant.is_over(now_ms) for grant in self.line(id))

    def below(self, id: str) -> list[Grant]:
        """Itself, and all that came of it."""
        return [grant for grant in self.grants.values() if any(above.id == id for above in self.line(grant.id))]


def _is_within(mine: frozenset[str] | None, theirs: frozenset[str] | None) -> bool:
    return theirs is None or (mine is not None and mine <= theirs)


def _both(mine: frozenset[str] | None, theirs: frozenset[str] | None) -> frozenset[str] | None:
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    return mine & theirs


def _sorted(names: frozenset[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _set(names: Any) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
