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

Ids come from whoever tells the story; there is no clock here and no chance, so a failing story is told again by its
seed alone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from gateway.core.ids import RequestId

Key = tuple[str, str]
"""A holder and a unit."""


class Impossible(Exception):
    """Books were found as no crash can leave them. The message says where."""


@dataclass(slots=True)
class Request:
    """What is set aside for it, and every amount that it may have come to: the first is durable."""

    account: Key
    held: int
    amounts: list[int] = field(default_factory=lambda: [0])
    gated: bool = False
    begun: bool = False
    settled: bool = False

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
        self._available: dict[Key, int] = {}
        self._held: dict[Key, int] = {}
        self._refs: set[str] = set()
        self._requests: dict[RequestId, Request] = {}
        self._doubtful: dict[RequestId, Request] = {}
        """Those of which a crash could leave more than one thing, in the order in which they were recorded."""

    # --- what is asked ------------------------------------------------------------------------------------------------

    def available(self, account: Key) -> int:
        """What can be spent; less than nothing if more was taken back than was there."""
        return self._available.get(account, 0)

    def held(self, account: Key) -> int:
        return self._held.get(account, 0)

    def request(self, id: RequestId) -> Request:
        return self._requests[id]

    @property
    def doubtful(self) -> Collection[RequestId]:
        """The requests of which a crash now could leave more than one thing."""
        return self._doubtful.keys()

    # --- what is told -------------------------------------------------------------------------------------------------

    def credit(self, ref: str, account: Key, micros: int) -> bool:
        """Whether the ref is new; if so, so much is added."""
        if ref in self._refs:
            return False
        self._refs.add(ref)
        self._move(account, available=micros)
        return True

    def reverse(self, ref: str, account: Key, micros: int) -> bool:
        """Whether the ref is new; if so, so much is taken, be it there or not."""
        return self.credit(ref, account, -micros)

    def hold(self, id: RequestId, account: Key, micros: int) -> bool:
        """Whether there is so much; if so, it is set aside."""
        if self.available(account) < micros:
            return False
        self._move(account, available=-micros, held=micros)
        self._requests[id] = self._doubtful[id] = Request(account, micros)
        return True

    def start(self, id: RequestId, due: int, *, gated: bool) -> None:
        request = self._requests[id]
        request.comes_to(due)
        request.gated = gated
        del self._doubtful[id]  # its record stands behind those of all who were recorded before
        self._doubtful[id] = request

    def begin(self, id: RequestId) -> None:
        """The answer's first byte is written."""
        self._requests[id].begun = True

    def renew(self, id: RequestId, due: int, ahead: int) -> int:
        """It has come to `due` and goes on. How much is missing; 0 if so much more could be set aside."""
        request = self._requests[id]
        request.comes_to(due)
        missing = max(0, due + ahead - request.held)
        if missing > self.available(request.account):
            return missing
        self._move(request.account, available=-missing, held=missing)
        request.held += missing
        return 0

    def settle(self, id: RequestId, cost: int) -> int:
        """The request ends; what it is charged, at most what was set aside."""
        request = self._requests[id]
        charged = min(cost, request.held)
        request.comes_to(charged)
        request.settled = request.begun = True
        self._move(request.account, available=request.held - charged, held=-request.held)
        return charged

    def refund(self, id: RequestId) -> int:
        """What is given back of a request that is over."""
        request = self._requests[id]
        back = request.due
        request.comes_to(0)
        self._move(request.account, available=back)
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

    def crash(self, found: Mapping[RequestId, int]) -> int:
        """Take up what was found of the doubtful requests; how many were given away for certain. Raises Impossible."""
        given_away = 0
        for id, request in self._doubtful.items():
            charged = found.get(id, 0)
            voided = request.gated and charged == 0
            if request.gated and not request.begun and charged:
                raise Impossible(f"{id} was charged {charged}, and its answer never began")
            if not voided and charged not in request.amounts:
                raise Impossible(f"{id} was charged {charged}, and came to {request.amounts}")
            given_away += voided and 0 not in request.amounts
            self._take_up(request, charged)
        self._doubtful.clear()
        return given_away

    def _take_up(self, request: Request, charged: int) -> None:
        held = 0 if request.settled else request.held
        paid = request.due if request.settled else 0
        self._move(request.account, available=held + paid - charged, held=-held)
        request.amounts = [charged]
        request.gated, request.settled = False, True

    def _move(self, account: Key, *, available: int = 0, held: int = 0) -> None:
        self._available[account] = self.available(account) + available
        self._held[account] = self.held(account) + held
