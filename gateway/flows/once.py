"""A paid request that is asked for with an `Idempotency-Key` is sold once, however often it is asked for.

**The order is the promise.** Before anything is forwarded, the key is claimed, durably. When the upstream has answered,
the price is recorded, then the answer is kept, then the first byte goes out; and only what is kept counts as answered.
The record of the price is always a gated one here, whatever the route says of durability, so whatever ends a process
before that voids the charge:

- dead before the claim: nothing happened;
- dead while the claim is open: nobody saw an answer and nobody is charged. A safe method is run again. Any other may
  have done its work upstream: it is never sent again, and whoever asks is told so (409 `outcome_unknown`);
- dead after the answer was kept: it is replayed. If the charge had not become final by then, it is a gift.

So there are two charges, or two upstream calls for a method that is not safe, in no order of events. One exception: an
upstream that answers 429 or 503 asks to be asked again, so nothing is kept and the key is free.

**Claims are among the records**, not in the books. No transaction has to span claim and charge, as above; the books
have one writer, and the records are what all workers and hosts read and write already. Only a request that has a key
pays for the two commits.

**Who claims holds a lease**, renewed every few seconds for all claims of a process at once. One that is over means that
the process is dead or as good as: should it wake up, it finds its claim gone and does not answer. The clocks of hosts
that share records must not differ by more than the lease.

**Two wallets may have become one** since a key was used. Then what was claimed under the old account is found and goes
on under it. A process that has not heard of the join, for a second, may sell once more what another sells at that very
time.

**Twins wait**, for a bounded time: those of one process are woken, those elsewhere look again and again.

**A caller that leaves** does not end it: that is when a key is needed. What runs is a task of its own; whoever asked
waits for it even when cancelled, so that nothing of the exchange is torn down under it.

What is kept is sealed with the newest key, as it holds what callers bought. When that key leaves the ring, it is as if
it had been too large to keep. Streams of events are passed on as they come, and so cannot be kept either.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, replace

from gateway.core import idempotency
from gateway.core.answers import Answer
from gateway.core.callers import Caller
from gateway.core.idempotency import FIELD, REPLAYED, SAFE, Claim, State
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.money import Money
from gateway.core.refusals import (
    AnswerNotKept,
    KeyedBodyRefused,
    KeyInFlight,
    KeyReused,
    OutcomeUnknown,
    PaymentRequired,
    RecordsUnavailable,
)
from gateway.core.routes import Route
from gateway.core.targets import Target
from gateway.ports import Clock, Exchange, KeyClaims, Ledger, Randomness, Roots, Sale, Started

LEASE_MS = 30_000
RENEW_SECONDS = 8.0
_PURPOSE = "kept answer"
_NONCE_BYTES = 12
_LOOK_SECONDS = 0.05
_LOOK_SECONDS_MAX = 1.0
_OURS = "Gateway-"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is kept, for how long, and what is waited for."""

    keep_ms: int = 86_400_000
    answer_bytes_max: int = 262_144
    body_bytes_max: int = 1_048_576
    wait_seconds: float = 10.0


class Once:
    """Implements `ports.SellsOnce`."""

    def __init__(
        self,
        *,
        claims: KeyClaims,
        ledger: Ledger,
        keyring: Keyring,
        bounds: Bounds,
        clock: Clock,
        randomness: Randomness,
        roots: Roots,
    ) -> None:
        self._roots = roots
        self.claims = claims
        self.bounds = bounds
        self.clock = clock
        self._ledger = ledger
        self._keyring = keyring
        self._randomness = randomness
        self._holder = randomness.bytes(12).hex()
        self._under_way: dict[tuple[str, bytes], asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """What is under way ends here, and its claims say what is known of it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def renew(self) -> None:
        """To be called every RENEW_SECONDS."""
        if self._under_way:
            await self.claims.renew(self._holder, self.clock.now_ms() + LEASE_MS)

    async def sell(self, exchange: Exchange, caller: Caller, route: Route, target: Target, sale: Sale) -> None:
        key = idempotency.digest(exchange.headers[FIELD])
        ceiling = route.price.ceiling
        if caller.fresh or not await self._ledger.funded(caller.account, ceiling.currency):
            raise PaymentRequired(price=ceiling, balance=Money.zero(ceiling.currency))  # strangers write no rows
        body = await exchange.body_ahead(self.bounds.body_bytes_max, insist=True)
        if body is None:
            raise KeyedBodyRefused(limit_bytes=self.bounds.body_bytes_max)
        asked = idempotency.fingerprint(exchange.method, target.raw, body)
        exchange.carry_on()
        task = asyncio.create_task(self._run(exchange, caller, route, target, sale, key, asked))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():  # cancelled once more, too: a road may say twice that its caller has left
                with suppress(asyncio.CancelledError):
                    await asyncio.wait((task,))
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to whoever asked; if that is gone, to nobody

    async def _run(
        self, exchange: Exchange, caller: Caller, route: Route, target: Target, sale: Sale, key: bytes, asked: bytes
    ) -> None:
        now_ms = self.clock.now_ms()
        account = await self._account(caller.account, key, now_ms)
        ours = Claim(account, key, asked, str(exchange.id), self._holder, now_ms, now_ms)
        try:
            claim = await self._claimed(exchange, ours)
        except asyncio.CancelledError:
            with suppress(RecordsUnavailable):
                await self.claims.free(ours)  # it may have been written down by now; nothing was sent
            raise
        if claim is None:
            return
        kept, done = Kept(self, claim, exchange.method in SAFE), asyncio.Event()
        self._under_way[claim.account, claim.key] = done
        try:
            await sale(exchange, caller, route, target, kept)
        except BaseException:
            await self._give_up(kept, exchange)
            raise
        finally:
            del self._under_way[claim.account, claim.key]
            done.set()

    async def _account(self, account: str, key: bytes, now_ms: int) -> str:
        """Under which account the key is claimed: one that became this one may have used it before."""
        own, *others = self._roots.names(account)
        if not others:
            return own
        return await self.claims.used_by(others, key, now_ms=now_ms) or own

    async def _give_up(self, kept: "Kept", exchange: Exchange) -> None:
        """It was not answered. Without records its lease will end, which says the same, but for what was not sent."""
        if kept.answered:
            return
        with suppress(RecordsUnavailable):
            if exchange.sent and not kept.safe:
                await self.end(kept.claim, "unknown")
            else:
                await self.claims.free(kept.claim)

    async def _claimed(self, exchange: Exchange, ours: Claim) -> Claim | None:
        """Our claim; None if the exchange was answered with what was kept. Raises why it is to be neither."""
        loop = asyncio.get_running_loop()
        patience, pause = loop.time() + self.bounds.wait_seconds, _LOOK_SECONDS
        while True:
            now_ms = self.clock.now_ms()
            ours = replace(ours, lease_ms=now_ms + LEASE_MS, expires_ms=now_ms + self.bounds.keep_ms)
            found = await self.claims.claim(ours, now_ms=now_ms)
            if found is None:
                return ours
            if found.fingerprint != ours.fingerprint:
                raise KeyReused()
            if found.state != "open":
                await exchange.replay(self._replayed(found, exchange))
                return None
            if found.lease_ms <= now_ms:
                if exchange.method not in SAFE:
                    await self.end(found, "unknown", lapsed_ms=now_ms)
                elif await self.claims.take_over(ours, of=found.request, now_ms=now_ms):
                    return ours
                continue
            left = patience - loop.time()
            if left <= 0:
                raise KeyInFlight()
            await _either(self._under_way.get((ours.account, ours.key)), min(pause, left))
            pause = min(2 * pause, _LOOK_SECONDS_MAX)

    def _replayed(self, found: Claim, exchange: Exchange) -> Answer:
        """What was kept, with its receipt, and what is said of this request. Raises OutcomeUnknown, AnswerNotKept."""
        if found.state == "unknown":
            raise OutcomeUnknown(original=found.request)
        try:
            answer = idempotency.unpacked(self._keyring.open(_PURPOSE, found.sealed_by, found.answer))
        except (UnknownKey, NotOurs):
            raise AnswerNotKept(original=found.request) from None
        said = [field for field in exchange.fields if not field[0].startswith(_OURS)]
        return Answer(answer.status, [*answer.fields, *said, REPLAYED], answer.body)

    async def keep(self, claim: Claim, answer: Answer) -> bool:
        """False if the claim is not ours any more."""
        nonce = self._randomness.bytes(_NONCE_BYTES)
        by, sealed = self._keyring.seal(_PURPOSE, idempotency.packed(answer), nonce=nonce)
        return await self.end(replace(claim, sealed_by=by, answer=sealed), "kept")

    async def end(self, claim: Claim, state: State, *, lapsed_ms: int | None = None) -> bool:
        ends = self.clock.now_ms() + self.bounds.keep_ms
        return await self.claims.end(replace(claim, state=state, expires_ms=ends), lapsed_ms=lapsed_ms)


class Kept:
    """Implements `ports.Keeps` for one claim."""

    def __init__(self, once: Once, claim: Claim, safe: bool) -> None:
        self.claim = claim
        self.safe = safe
        self.answered = False
        self._once = once
        self._answer: Answer | None = None

    async def collect(self, exchange: Exchange) -> None:
        self._answer = await exchange.whole_answer(self._once.bounds.answer_bytes_max)

    async def keep(self, exchange: Exchange, started: Started) -> Started:
        answer = self._answer
        if answer is None:
            await self._ours(self._once.end(self.claim, "not_kept"))
            return self._begun(started)
        if not idempotency.is_final(answer.status):
            await self._once.claims.free(self.claim)
            return self._begun(started)
        receipt = [field for field in exchange.fields if field[0].startswith(_OURS)]
        await self._ours(self._once.keep(self.claim, replace(answer, fields=[*answer.fields, *receipt])))
        self.answered = True
        started()
        return _told

    async def _ours(self, ending: Awaitable[bool]) -> None:
        """Raises if another has taken our claim for that of a dead process: it must not be answered twice."""
        if not await ending:
            raise KeyInFlight() if self.safe else OutcomeUnknown(original=self.claim.request)

    def _begun(self, started: Started) -> Started:
        def begun() -> None:
            self.answered = True
            started()

        return begun


async def _either(event: asyncio.Event | None, seconds: float) -> None:
    """Until it has happened, or so much time has passed."""
    if event is None:
        await asyncio.sleep(seconds)
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _told() -> None:
    """The answer has started; whoever has to know was told when it was kept."""
