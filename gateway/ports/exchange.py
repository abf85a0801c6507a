"""One request and the answer that it waits for, whichever door it came through."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.core.answers import Answer
from gateway.core.callers import Caller
from gateway.core.headers import Fields
from gateway.core.ids import RequestId
from gateway.core.mcp import Call
from gateway.core.meters import Meter
from gateway.core.money import Money
from gateway.core.refusals import Refusal
from gateway.core.routes import Route
from gateway.core.traces import Trace


class AnswerCut(Exception):
    """The answer had begun and could not be finished. The caller's connection was closed, so that it looks cut."""


class Exchange(Protocol):
    """One request, and the answer that it waits for."""

    id: RequestId
    method: str
    target: str
    fields: Fields
    """Fields of ours that the answer will carry, whether it is the upstream's or a refusal."""
    cost: Money | None
    """What the request did cost, once it is settled; None if nothing was held for it."""

    begun: float
    """When its head was there, on `time.monotonic`."""
    refusal_code: str
    """The code of the refusal that it met, also one in the middle of an answer; empty for none."""
    upstream_seconds: float | None
    """From the first try of `forward` to the head of the upstream's answer; None if there was none."""

    call: Call | None
    """What it calls, on the route of an MCP server; None before that was read, and elsewhere."""

    @property
    def trace(self) -> Trace:
        """What it belongs to, as its upstream is told."""

    @property
    def front_id(self) -> str:
        """What a trusted front calls it; empty for none."""

    @property
    def bytes_in(self) -> int:
        """Of its body, as far as that was read; after a `101`, what its caller sent."""

    @property
    def bytes_out(self) -> int:
        """Of its answer's body, as far as that was written; after a `101`, what the upstream sent."""

    @property
    def peer(self) -> str:
        """The caller's address, without its port: the connection's, or what a trusted front says."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive; the first of several fields of one name."""

    @property
    def asks_us(self) -> bool:
        """Whether a field of it begins with `Gateway-`."""

    @property
    def has_key(self) -> bool:
        """Whether it has an `Idempotency-Key`."""

    @property
    def host(self) -> str:
        """The `Host` field as sent; empty if HTTP/1.0 came without."""

    @property
    def cookies(self) -> Mapping[str, str]: ...

    @property
    def status(self) -> int:
        """The status that was answered; 0 before."""

    @property
    def sent(self) -> bool:
        """Whether anything of the request may have reached an upstream."""

    def check(self) -> None:
        """Refuse what could not be passed on exactly, or is larger than a request may be.

        Raises BadRequest, MethodNotAllowed, HeadTooLarge, BodyTooLarge.
        """

    async def body_ahead(self, bytes_max: int, *, insist: bool = False) -> bytes | None:
        """The request's body, once all of it is there; it is forwarded as it is all the same.

        None if it is larger, and, unless somebody insists, if it comes in chunks, which may be made while the answer is
        read, or its sender waits to be told to send it. Raises BodyTooSlow and BadRequest. Only before `forward`.
        """

    async def forward(self, route: Route, target: str, meter: Meter, caller: Caller) -> None:
        """Send the request upstream; return when the head of the answer is there and the meter has seen it.

        Raises UpstreamFailed, UpstreamTimedOut, UpstreamUnavailable, UpstreamBusy, and BadRequest, BodyTooLarge or
        BodyTooSlow for what turns out to be wrong with the request's body. Cancelled or failed, it leaves no upstream
        request alive.
        """

    def carry_on(self) -> None:
        """Its caller may leave: what is under way upstream is not abandoned for that. Once its body is there."""

    async def whole_answer(self, bytes_max: int) -> Answer | None:
        """All of the upstream's answer, as its caller will get it; it is for `answer` to pass it on.

        None, without waiting for more, if it is larger, a stream of events or no answer but a switch of protocols.
        After `forward`; raises what that raises if the answer breaks off.
        """

    async def replay(self, answer: Answer) -> None:
        """Answer with what was kept, in place of `forward` and `answer`. Raises AnswerCut."""

    def leave_open(self, *, event: bool, trailer: bool) -> None:
        """`answer` is to leave room at the end for what the request did cost.

        For an `event`, if it is a stream of them that can have one more; for a `trailer`, if its caller takes trailers
        and it is sent in chunks. After `forward`, before `answer`.
        """

    async def conclude(self, cost: Money) -> None:
        """What it did cost: the end of an answer that was left open, if it was. After `answer`; raises AnswerCut."""

    async def answer(self, meter: Meter, started: "Started") -> None:
        """Pass the upstream's answer on, with back-pressure. Calls `started` once its first byte is written.

        Raises what `forward` raises if the answer broke off before that, and AnswerCut if it did later; the meter has
        been told.
        """

    def pause(self) -> None:
        """Take no more of the upstream's answer for now: what has come is not paid for yet."""

    def go_on(self) -> None:
        """Take more of it."""

    def end_early(self, refusal: Refusal) -> None:
        """Nobody pays for the rest. A stream of events ends with one that says why, any other answer looks cut."""

    async def refuse(self, refusal: Refusal, route: Route | None) -> None:
        """Answer with a refusal of our own, as the route (if there is one) wants it. Only before `answer`."""


class Started(Protocol):
    """Told that the first byte of an answer is on its way."""

    def __call__(self) -> None: ...


class Identifies(Protocol):
    """Finds out who is calling."""

    async def identify(self, exchange: Exchange, route: Route) -> Caller:
        """Raises UnknownToken, AccountFrozen."""

    async def moved(self, caller: Caller) -> Caller | None:
        """The same caller with the account that theirs has become since; None if it is what it was."""


class Served(Protocol):
    """Told of every request when it has ended."""

    def __call__(self, exchange: Exchange, route: Route | None, caller: Caller) -> None: ...


@dataclass(frozen=True, slots=True)
class OwnRequest:
    """A request to an address of our own, when it has been answered; `path` is the address as it is written down here.

    `trace_id` is that of a caller's `traceparent`, else empty; so is the `refusal_code` of what was not refused.
    """

    id: str
    method: str
    path: str
    status: int
    seconds: float
    refusal_code: str
    trace_id: str


class OwnServed(Protocol):
    """Told of every request to an address of our own."""

    def own(self, request: OwnRequest) -> None: ...
