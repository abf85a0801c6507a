"""Operators are told of alerts, at an address of theirs and by e-mail; each way by itself.

What is to be told is written down by the database with the alert (`adapters/alerts.py`). Here it is carried: taken for
a minute, sent, and only then marked, as notices are (`flows/notify.py`); so it may arrive twice, and its id says so.
One that fails is tried again, ever less often, for three days. Every host carries; a message is one host's at a time.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from gateway.core import alerts, outgoing
from gateway.core.outgoing import Channel, Outgoing
from gateway.core.secrets import Secret
from gateway.ports import Clock, Mails, NotSent, NotTaken, Outbox, Sends

ROUND_SECONDS = 2.0
LEASE_MS = 60_000
_TEST: Literal["alert.test"] = "alert.test"
_CHANNELS: tuple[Channel, ...] = ("webhook", "mail")


@dataclass(frozen=True, slots=True)
class Became:
    """What became of a message on one way; it names no address."""

    way: Literal["webhook", "mail"]
    delivered: bool
    why: str = ""


class TellOperators:
    """Carries messages about alerts. Without `sends`, by e-mail alone; without addresses, to the webhook alone."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        sends: Sends | None,
        secrets: Sequence[Secret],
        mails: Mails | None,
        addresses: Sequence[str],
        live: bool,
        clock: Clock,
        report: Callable[..., None],
    ) -> None:
        self._outbox = outbox
        self._sends = sends
        self._secrets = secrets
        self._mails = mails
        self._addresses = {hashlib.sha256(one.encode()).hexdigest()[:16]: one for one in addresses} if mails else {}
        self._live = live
        self._clock = clock
        self._report = report

    async def close(self) -> None:
        """What was not delivered is at the next start."""
        if self._sends is not None:
            await self._sends.close()

    async def deliver(self) -> None:
        """Send what is due, until there is no more or a way fails. Raises RecordsUnavailable."""
        for channel in _CHANNELS:
            while (message := await self._due(channel)) is not None:
                if not await self._sent(message):
                    break

    async def test(self, id: str) -> list[Became]:
        """Send a message that says it is a test on every way at once, and say what became of it. Writes nothing."""
        now_ms = self._clock.now_ms()
        message = Outgoing(id, _TEST, "", {}, now_ms, now_ms)
        became = []
        if self._sends is not None:
            became.append(await self._tried("webhook", message, None))
        for receiver in self._addresses:
            became.append(await self._tried("mail", message, receiver))
        return became

    async def _tried(self, way: Channel, message: Outgoing, receiver: str | None) -> Became:
        try:
            await (self._send(message) if receiver is None else self._mail(message, receiver))
        except NotSent as error:
            return Became(way, False, str(error))
        return Became(way, True)

    async def _due(self, channel: Channel) -> Outgoing | None:
        now_ms = self._clock.now_ms()
        return await self._outbox.take(now_ms=now_ms, lease_ms=LEASE_MS, channel=channel, about="alerts")

    async def _sent(self, message: Outgoing) -> bool:
        """False if nobody is there to take the next one."""
        now_ms = self._clock.now_ms()
        if now_ms > message.since_ms + outgoing.GIVEN_UP_MS:
            await self._outbox.put_off(message.id, due_ms=None, error=message.error or "it is too old")
            return True
        try:
            await self._carry(message)
        except NotSent as error:
            due = outgoing.next_try_ms(message, now_ms=now_ms)
            await self._outbox.put_off(message.id, due_ms=due, error=str(error))
            self._report("alert not delivered", id=message.id, type=message.type, why=str(error), given_up=due is None)
            return isinstance(error, NotTaken)
        await self._outbox.delivered(message.id)
        return True

    async def _carry(self, message: Outgoing) -> None:
        if message.channel == "mail":
            await self._mail(message, message.receiver or "")
            return
        for receiver in self._addresses:  # on record before: the other way may fail
            await self._outbox.put_letter(message.id, receiver, now_ms=self._clock.now_ms())
        await self._send(message)

    async def _send(self, message: Outgoing) -> None:
        if self._sends is not None:
            body = outgoing.body(message, live=self._live)
            now_seconds = self._clock.now_ms() // 1000
            await self._sends.send(outgoing.head(self._secrets, message.id, now_seconds, body), body)

    async def _mail(self, message: Outgoing, receiver: str) -> None:
        """Nothing, if this is nobody's address any more."""
        address = self._addresses.get(receiver)
        if self._mails is not None and address is not None:
            await self._mails.mail(alerts.letter(message), address)
