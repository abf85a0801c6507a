"""The books without a word about how they are kept: what every ledger must do, as a model that can be run.

Nothing of the gateway runs on it. It is the specification that hypothesis drives beside each store, through the port
that callers use: both are told the same story, and must agree after every sentence. It knows no batches, drafts, slices
or stores; what it says of money it says by account, and of a request by what that has come to.

**What a crash may leave** is the one thing that is not certain, and the model says how far: what was told before
something was acknowledged as durable is there; of what came after, the books hold a beginning. So a request in doubt
keeps every amount that it has come to since the last such moment, and is found at one of them, or given away:

- A gated request whose answer had not begun is never charged.
- One whose answer had begun may be given away until a later commit has stored that it had. It has when no gated record
  before it was still unanswered (the watermark of `core/ledger.py`).
- Any other is charged what it had come to.

What a request comes to later of another purse than it began with is not gated: a crash that gives away the beginning
leaves it charged. Of caps and counts the whole is gated, and goes: they know less of such a request than it cost.

**A wallet** is all that a holder has of one unit. It may have several purses (`core/purses.py`): a request takes of
each in their order, what it costs is paid by those in the order in which it took, and what comes back goes to where it
came from. A debt stands in the plain one and closes all. Purses last for ever here: what time takes is not the model's.

**A cap** is a limit on what all requests under it may have come to or have held together, whichever account they are
of. A request is set aside under all of its caps and of its wallet, or not at all; what comes back comes back to each.

**A count of calls** is a limit on how many requests under it may be under way or have come to something.

Ids come from whoever tells the story; there is no clock here and no chance, so a failing story is told again by its
seed alone.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.ids import RequestId
from gateway.core.purses import PLAIN, Purse

Key = tuple[str, str]
"""A holder and a unit."""
Shares = list[tuple[Purse, int]]
"""How much of which purses."""


class Impossible(Exception):
    """Books were found as no crash can leave them. The message says where."""


@dataclass(slots=True)
class Request:
    """What is set aside for it, and every amount that it may have come to: the first is durable."""

    account: Key
    parts: Shares
    caps: Sequence[str] = ()
    amounts: list[int] = field(default_factory=lambda: [0])
    gated: bool = False
    at_start: frozenset[Purse] = frozenset()
    """The purses that its gated records are of: what it comes to of others is charged after, and is not gated."""
    begun: bool = False
    settled: bool = False
    count: str = ""
    """The count of calls that it is under."""
    uncounted: bool = False
    """A crash gave away what caps and counts knew of it, with what it began with."""

    @property
    def held(self) -> int:
        return _sum(self.parts)

    def shares(self, micros: int) -> Shares:
        """What each purse pays of so much."""
        shares = []
        for purse, held in self.parts:
            shares.append((purse, min(micros, held)))
            micros -= shares[-1][1]
        return shares

    def take(self, shares: Shares) -> None:
        """So much more is set aside for it."""
        parts = dict(self.parts)
        for purse, micros in shares:
            parts[purse] = parts.get(purse, 0) + micros
        self.parts = list(parts.items())

    def outcomes(self) -> list[Shares]:
        """What a crash may leave of it."""
        whole = [self.shares(micros) for micros in self.amounts]
        if not self.gated:
            return whole
        voided = [[(purse, micros) for purse, micros in shares if purse not in self.at_start] for shares in whole]
        return [*whole, *voided] if self.begun else voided

    @property
    def due(self) -> int:
        """What it has come to."""
        return self.amounts[-1]

    def comes_to(self, micros: int) -> None:
        if micros != self.due:
            self.amounts.append(micros)


class Books:
    """Accounts and requests."""

    def __init__(self) -> None:
        self._wallets: dict[Key, dict[Purse, int]] = {}
        self._held: dict[Key, int] = {}
        self._limits: dict[str, int] = {}
        self._used: dict[str, int] = {}
        self._calls: dict[str, list[Request]] = {}
        self._refs: set[str] = set()
        self._requests: dict[RequestId, Request] = {}
        self._doubtful: dict[RequestId, Request] = {}
        """Those of which a crash could leave more than one thing, in the order in which they were recorded."""

    # --- what is asked ------------------------------------------------------------------------------------------------

    def available(self, account: Key) -> int:
        """What can be spent; less than nothing if more was taken back than was there."""
        purses = self.purses(account)
        return purses[PLAIN] if purses[PLAIN] < 0 else sum(purses.values())

    def purses(self, account: Key) -> dict[Purse, int]:
        """What is in each; the plain one is always there."""
        return self._wallets.setdefault(account, {PLAIN: 0})

    def draws(self, account: Key, micros: int) -> Shares:
        """Of which purses so much would be taken, if there is so much."""
        shares = []
        for purse in sorted(self.purses(account), key=lambda purse: purse.order):
            share = min(micros, max(0, self.purses(account)[purse]))
            if share:
                shares.append((purse, share))
            micros -= share
        return shares

    def left(self, caps: Sequence[str]) -> int | None:
        """What all of these caps leave, less than nothing if one was lowered below what was spent; None without any."""
        return min((self._limits[cap] - self.used(cap) for cap in caps), default=None)

    def used(self, cap: str) -> int:
        """What requests under it have come to, or have held."""
        return self._used.get(cap, 0)

    def calls_left(self, count: str) -> int:
        """How many more requests may be under it."""
        calls = self._calls.get(count, ())
        return self._limits[count] - sum(not call.settled or (call.due > 0 and not call.uncounted) for call in calls)

    def held(self, account: Key) -> int:
        return self._held.get(account, 0)

    def request(self, id: RequestId) -> Request:
        return self._requests[id]

    @property
    def doubtful(self) -> Collection[RequestId]:
        """The requests of which a crash now could leave more than one thing."""
        return self._doubtful.keys()

    # --- what is told -------------------------------------------------------------------------------------------------

    def credit(self, ref: str, account: Key, micros: int, purse: Purse = PLAIN) -> bool:
        """Whether the ref is new; if so, so much is added."""
        if ref in self._refs:
            return False
        self._refs.add(ref)
        self._give(account, [(purse, micros)])
        return True

    def reverse(self, ref: str, account: Key, micros: int) -> bool:
        """Whether the ref is new; if so, so much is taken, be it there or not."""
        return self.credit(ref, account, -micros)

    def join(self, account: Key, into: Key) -> bool:
        """All that is there, or owed, moves into the same purses of the other; whether nothing is left."""
        moved = list(self.purses(account).items())
        self._give(into, moved)
        self._take(account, moved)
        self.durable()
        return self.held(account) == 0

    def cap(self, name: str, micros: int) -> None:
        """From now on, so much may be spent under it."""
        self._limits[name] = micros

    def hold(self, id: RequestId, account: Key, micros: int, caps: Sequence[str] = (), *, count: str = "") -> bool:
        """Whether there is so much, of the account and under the caps, and a call left; if so, it is set aside."""
        left = self.left(caps)
        if self.available(account) < micros or (left is not None and left < micros):
            return False
        if count and self.calls_left(count) < 1:
            return False
        self._requests[id] = self._doubtful[id] = Request(account, [], caps, count=count)
        if count:
            self._calls.setdefault(count, []).append(self._requests[id])
        self._set_aside(self._requests[id], micros)
        return True

    def start(self, id: RequestId, due: int, *, gated: bool) -> None:
        request = self._requests[id]
        request.comes_to(due)
        request.gated = gated
        request.at_start = frozenset(purse for purse, micros in request.shares(due) if micros)
        del self._doubtful[id]  # its record stands behind those of all who were recorded before
        self._doubtful[id] = request

    def begin(self, id: RequestId) -> None:
        """The answer's first byte is written."""
        self._requests[id].begun = True

    def renew(self, id: RequestId, due: int, ahead: int) -> int:
        """It has come to `due` and goes on. How much is missing; 0 if so much more could be set aside."""
        request = self._requests[id]
        request.comes_to(due)
        missing, left = max(0, due + ahead - request.held), self.left(request.caps)
        if missing and (missing > self.available(request.account) or (left is not None and missing > left)):
            return missing
        self._set_aside(request, missing)
        return 0

    def settle(self, id: RequestId, cost: int) -> int:
        """The request ends; what it is charged, at most what was set aside."""
        request = self._requests[id]
        charged = min(cost, request.held)
        request.comes_to(charged)
        request.settled = request.begun = True
        self._release(request, request.shares(charged))
        return charged

    def refund(self, id: RequestId) -> int:
        """What is given back of a request that is over."""
        request = self._requests[id]
        back = request.due
        self._give(request.account, request.shares(back))
        if not request.uncounted:
            self._count(request, -back)
        request.comes_to(0)
        self.durable()
        return back

    def durable(self) -> None:
        """All that was told is in the books, and so is how far the answers have begun."""
        unanswered = False
        for id, request in list(self._doubtful.items()):
            request.amounts = [request.due]
            unanswered = unanswered or (request.gated and not request.begun)
            if request.settled and not (request.gated and unanswered):
                del self._doubtful[id]
            elif request.begun and not unanswered:
                request.gated = False  # nothing can void it any more

    # --- what becomes of it -------------------------------------------------------------------------------------------

    def crash(self, found: Mapping[RequestId, Mapping[Purse, int]]) -> int:
        """Take up what each purse was found to have paid for the doubtful; how many were given away for certain.

        Raises Impossible.
        """
        given_away = 0
        for id, request in self._doubtful.items():
            left = [(purse, micros) for purse, micros in found.get(id, {}).items() if micros]
            charged = _sum(left)
            if not any(dict(left) == {p: m for p, m in shares if m} for shares in request.outcomes()):
                begun = "began" if request.begun else "never began"
                raise Impossible(f"{id} was charged {charged}, came to {request.amounts}, and its answer {begun}")
            given_away += charged not in request.amounts
            self._take_up(request, left)
        self._doubtful.clear()
        return given_away

    def _take_up(self, request: Request, charged: Shares) -> None:
        if request.gated and request.at_start and request.at_start.isdisjoint(purse for purse, _ in charged):
            request.uncounted = True
            self._count(request, -_sum(charged))
        if request.settled:
            self._give(request.account, request.shares(request.due))
            self._take(request.account, charged)
            self._count(request, _sum(charged) - request.due)
        else:
            self._release(request, charged)
        request.parts, request.amounts = charged, [_sum(charged)]
        request.gated, request.settled = False, True

    def _set_aside(self, request: Request, micros: int) -> None:
        shares = self.draws(request.account, micros)
        request.take(shares)
        self._take(request.account, shares)
        self._count(request, micros)
        self._held[request.account] = self.held(request.account) + micros

    def _release(self, request: Request, charged: Shares) -> None:
        """The request is over: what it is not charged is back where it came from."""
        self._give(request.account, request.parts)
        self._take(request.account, charged)
        self._count(request, _sum(charged) - request.held)
        self._held[request.account] = self.held(request.account) - request.held

    def _count(self, request: Request, micros: int) -> None:
        for cap in request.caps:
            self._used[cap] = self.used(cap) + micros

    def _give(self, account: Key, shares: Shares) -> None:
        purses = self.purses(account)
        for purse, micros in shares:
            purses[purse] = purses.get(purse, 0) + micros

    def _take(self, account: Key, shares: Shares) -> None:
        self._give(account, [(purse, -micros) for purse, micros in shares])


def _sum(shares: Shares) -> int:
    return sum(micros for _, micros in shares)
