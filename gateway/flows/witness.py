"""What matters for security or money is written down before it is done: who, what, why, by which door.

Before, because a thing that was done and left no entry is what an auditor must never find; an entry of a thing that
then failed is only an attempt. When the trail cannot be written the thing is not done.

What was done already, by an outside cause that is told until it is acknowledged (a payment was credited), is written
down *once*, after it: then no entry is of a payment that never was, and one that a kill has left out comes with the
next telling. It needs no key of its own. The chain has one entry of each number; so who first reads the newest number,
then sees that there is no such entry, and then gets the next number, knows that there is none but this.

Several processes and hosts write one chain: each takes the newest entry, makes the next and tries to add it; whoever
was faster, the other tries again. The head that proves the chain's end goes to this host's file at most once a second,
at the first entry and when the process ends; it may lag and never leads.
"""

import asyncio
from collections.abc import Callable

from gateway.core.chain_head import ChainHead
from gateway.core.keyring import Keyring
from gateway.core.refusals import RecordsUnavailable
from gateway.core.trail import NEWEST, PURPOSE, Act, Step, against_head, step_after
from gateway.ports import Clock, KeptFile, TrailBook

HEAD_MS = 1_000
_TRIES_MAX = 64
_LIKE_IT_MAX = 64
"""Who repeats one of them does so before so many more have come."""


class Witness:
    """Implements `ports.Witnesses` and `ports.WitnessesOnce`."""

    def __init__(
        self,
        *,
        book: TrailBook,
        keyring: Keyring,
        head: KeptFile,
        host: str,
        clock: Clock,
        report: Callable[..., None],
    ) -> None:
        self._book = book
        self._keyring = keyring
        self._head = head
        self._host = host
        self._clock = clock
        self._report = report
        self._one = asyncio.Lock()
        self._kept_ms = 0
        self._unkept: Step | None = None

    async def write(self, act: Act) -> None:
        async with self._one:  # of one process there is no need to race
            for _ in range(_TRIES_MAX):
                if await self._added(await self._book.last_step(), act):
                    return
        raise RecordsUnavailable()

    async def write_once(self, act: Act, *, by: str = "") -> bool:
        async with self._one:
            for _ in range(_TRIES_MAX):
                # In this order: had somebody written it after the look, the number would be taken.
                last = await self._book.last_step()
                if await self._is_there(act, by):
                    return False
                if await self._added(last, act):
                    return True
        raise RecordsUnavailable()

    async def _is_there(self, act: Act, by: str) -> bool:
        count = _LIKE_IT_MAX if by else 1
        like_it = await self._book.steps_before(NEWEST, count=count, object=act.object, action=act.action)
        return any(not by or step.act.facts.get(by) == act.facts[by] for step in like_it)

    async def _added(self, last: Step | None, act: Act) -> bool:
        """False if somebody was faster."""
        step = step_after(last, act, at_ms=self._clock.now_ms(), keys=self._keyring)
        if not await self._book.add_step(step, action=act.action, object=act.object):
            return False
        self._unkept = step
        await self._keep_head()
        return True

    async def close(self) -> None:
        """Keep the head of what was written last."""
        async with self._one:
            await self._keep_head(now=True)

    async def _keep_head(self, *, now: bool = False) -> None:
        step, now_ms = self._unkept, self._clock.now_ms()
        if step is None or not (now or now_ms >= self._kept_ms + HEAD_MS):
            return
        self._kept_ms, self._unkept = now_ms, None
        try:
            if await self._may_renew(step):
                head = ChainHead(self._host, step.number, step.hash).signed(self._keyring.subkeys(PURPOSE)[0])
                await asyncio.to_thread(self._head.write, head)
        except OSError as error:
            self._report("trail", problem=f"{self._head.name} cannot be written, so its head lags: {error.strerror}")

    async def _may_renew(self, step: Step) -> bool:
        """Whether the head that is kept is of this chain, and older. One that is not stays, for the audit to find."""
        kept = await asyncio.to_thread(self._head.read)
        if kept is None:
            return True
        try:
            head = ChainHead.read(kept, self._keyring.subkeys(PURPOSE))
        except ValueError as error:
            problem: str | None = str(error)
        else:
            if head.seq > step.number:
                return (
                    False  # another process of this host was later, or the end was cut off: the audit tells them apart
                )
            named = await self._book.steps_after(head.seq - 1, count=1)
            problem = against_head(head.seq, head.hash, named, entries=step.number)
        if problem is not None:
            self._report("trail", problem=f"{self._head.name}: {problem}; see gateway audit verify")
        return problem is None
