"""Owners and operators are told what happened to an account, at an address of theirs; its holder is by a letter.

**Nothing that happened is forgotten.** What is told of freezes, pauses and failed payments is written down by the
database itself, in the transaction that makes it true (the triggers of the records' tables): whoever did it, a worker,
a command or another host. A low balance is noticed here, beside the road as with auto top-up, and is decided by the
books: it is told once, and again only when what was left at the last look, with what was paid in since, is above the
line. (So it may be told once too often if it is spent from and paid into within seconds. What a refund of requests
gives back does not count as paid in.)

**It may arrive twice.** A message is taken for a minute, sent, and only then marked; the receiver knows it by its id.
One that fails is tried again, ever less often, for three days. A receiver that is away is asked once a round.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from gateway.core import outgoing
from gateway.core.money import Money
from gateway.core.outgoing import Channel, Outgoing
from gateway.core.refusals import RecordsUnavailable
from gateway.core.secrets import Secret
from gateway.ports import Clock, Hold, NotSent, NotTaken, Outbox, Sends, Standings, StoreFailed, WritesLetters

ROUND_SECONDS = 2.0
LEASE_MS = 60_000
EXPIRES_DAYS = 30
_CARDS_SECONDS = 3600.0
_LOOKS_AFTER = (0.0, 0.2, 2.0)
"""When the books are looked at: what a request did cost may take a moment to be committed."""
_REST_SECONDS = 10.0
_LOOKED_MAX = 10_000
_LOOKING_MAX = 100


class Notify:
    """Notices low balances, and delivers whatever is to be told: to the owner, and to holders by `letters`."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        books: Standings,
        sends: Sends,
        secrets: Sequence[Secret],
        line: Money | None,
        live: bool,
        clock: Clock,
        report: Callable[..., None],
        letters: WritesLetters | None = None,
    ) -> None:
        self._letters = letters
        self._outbox = outbox
        self._books = books
        self._sends = sends
        self._secrets = secrets
        self._line = line
        self._live = live
        self._clock = clock
        self._report = report
        self._looked: OrderedDict[str, float] = OrderedDict()
        """When an account was last looked at, oldest first."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []

    # --- life ---------------------------------------------------------------------------------------------------------

    async def open(self, *, delivers: bool) -> None:
        """Begin. One of several workers delivers for all."""
        if delivers:
            self._loops.append(asyncio.create_task(self._often(self.deliver, ROUND_SECONDS), name="notices"))
            self._loops.append(asyncio.create_task(self._often(self.write, ROUND_SECONDS), name="letters"))
            self._loops.append(asyncio.create_task(self._often(self.cards, _CARDS_SECONDS), name="expiring cards"))

    async def close(self) -> None:
        """Stop; what was not delivered is at the next start."""
        tasks = [*self._loops, *self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sends.close()

    async def settled(self) -> None:
        """Until nobody is being looked at."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def _often(self, work: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            try:
                await work()
            except RecordsUnavailable:
                pass  # the next round finds them back, or does not
            except Exception as error:
                self._report("notices wait", why=type(error).__name__)
            await asyncio.sleep(seconds)

    # --- noticing -----------------------------------------------------------------------------------------------------

    def spent(self, account: str, hold: Hold) -> None:
        """A request was paid for. Awaits nothing."""
        if self._line is not None:
            balance = hold.balance
            if balance.currency == self._line.currency and balance.micros < self._line.micros:
                self._look(account, self._line)

    def _look(self, account: str, line: Money) -> None:
        loop = asyncio.get_running_loop()
        if account in self._tasks or len(self._tasks) >= _LOOKING_MAX:
            return
        if self._looked.get(account, -_REST_SECONDS) > loop.time() - _REST_SECONDS:
            return
        task = loop.create_task(self._told_low(account, line), name=f"low balance {account}")
        self._tasks[account] = task
        task.add_done_callback(lambda _: self._ended(account))

    def _ended(self, account: str) -> None:
        self._tasks.pop(account)
        self._looked.pop(account, None)
        self._looked[account] = asyncio.get_running_loop().time()
        if len(self._looked) > _LOOKED_MAX:
            self._looked.popitem(last=False)

    async def _told_low(self, account: str, line: Money) -> None:
        with suppress(RecordsUnavailable, StoreFailed):
            for seconds in _LOOKS_AFTER:
                await asyncio.sleep(seconds)
                credited, left = await self._books.totals(account, line.currency)
                if left < line:
                    await self._low(account, line, credited, left)
                    return

    async def _low(self, account: str, line: Money, credited: Money, left: Money) -> None:
        seen = await self._outbox.seen_low(account)
        if seen is None or seen[0] + credited.micros - seen[1] >= line.micros:
            content = {"balance": str(left), "line": str(line), "micros": left.micros}
            cause = f"low {account} {credited}"
            await self._outbox.put("balance.low", account, content, cause=cause, now_ms=self._clock.now_ms())
        await self._outbox.keep_low(account, remains=left.micros, credited=credited.micros)

    async def cards(self) -> None:
        """Say which cards that pay by themselves will not for much longer. Raises RecordsUnavailable."""
        now_ms = self._clock.now_ms()
        then = datetime.fromtimestamp(now_ms / 1000, UTC) + timedelta(days=EXPIRES_DAYS)
        await self._outbox.put_expiring(f"{then:%Y-%m}", now_ms=now_ms)

    # --- delivering ---------------------------------------------------------------------------------------------------

    async def deliver(self) -> None:
        """Send what is due, until there is no more or one fails. Raises RecordsUnavailable."""
        await self._deliver("webhook", self._carry)

    async def write(self) -> None:
        """The same of letters. Raises RecordsUnavailable."""
        if self._letters is not None:
            await self._deliver("mail", self._letters.carry)

    async def _deliver(self, channel: Channel, carry: Callable[[Outgoing], Awaitable[None]]) -> None:
        while (message := await self._due(channel)) is not None:
            if not await self._sent(message, carry):
                return

    async def _due(self, channel: Channel) -> Outgoing | None:
        return await self._outbox.take(now_ms=self._clock.now_ms(), lease_ms=LEASE_MS, channel=channel)

    async def _carry(self, message: Outgoing) -> None:
        """To the owner; what the holder is to be written, too, is on record before."""
        now_ms = self._clock.now_ms()
        for receiver in await self._letters.receivers(message.account) if self._letters is not None else ():
            await self._outbox.put_letter(message.id, receiver, now_ms=now_ms)
        body = outgoing.body(message, live=self._live)
        await self._sends.send(outgoing.head(self._secrets, message.id, now_ms // 1000, body), body)

    async def _sent(self, message: Outgoing, carry: Callable[[Outgoing], Awaitable[None]]) -> bool:
        """False if nobody is there to take the next one."""
        now_ms = self._clock.now_ms()
        if now_ms > message.since_ms + outgoing.GIVEN_UP_MS:
            await self._outbox.put_off(message.id, due_ms=None, error=message.error or "it is too old")
            return True
        try:
            await carry(message)
        except NotSent as error:
            due = outgoing.next_try_ms(message, now_ms=now_ms)
            await self._outbox.put_off(message.id, due_ms=due, error=str(error))
            self._report("notice not delivered", id=message.id, type=message.type, why=str(error), given_up=due is None)
            return isinstance(error, NotTaken)
        await self._outbox.delivered(message.id)
        return True
