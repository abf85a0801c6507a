"""Telling people and programs: notices, letters, and the way out for both."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.core.letters import Letter
from gateway.core.outgoing import About, Channel, Outgoing, State, Type


class Tells(Protocol):
    """Takes down what somebody is to be told."""

    async def put(self, type: Type, account: str, content: Mapping[str, Any], *, cause: str, now_ms: int) -> bool:
        """Write it down; returns when it is durable. False if there was one of this `cause`: nothing changes then.

        Raises RecordsUnavailable.
        """


class Outbox(Tells, Protocol):
    """What is to be told, each once. Freezes, pauses and failed refills get here by themselves.

    Every call may raise RecordsUnavailable.
    """

    async def put_expiring(self, until: str, *, now_ms: int) -> None:
        """Write down which cards that are used end in that month (`2034-12`) or before; once per card."""

    async def seen_low(self, account: str) -> tuple[int, int] | None:
        """What was left, and what had been paid in altogether, when it was last below the line; in micros."""

    async def keep_low(self, account: str, *, remains: int, credited: int) -> None: ...

    async def find(self, id: str) -> Outgoing | None: ...

    async def put_letter(self, id: str, receiver: str, *, now_ms: int) -> None:
        """Write it down as a letter to this receiver, too; once."""

    async def take(
        self, *, now_ms: int, lease_ms: int, channel: Channel = "webhook", about: About = "accounts"
    ) -> Outgoing | None:
        """The one that is due for longest, and nobody else is given it for so long. Counts a try."""

    async def delivered(self, id: str) -> None: ...

    async def put_off(self, id: str, *, due_ms: int | None, error: str) -> None:
        """It failed; try again at that time, or never. Nothing, if it was delivered."""

    async def again(self, id: str, *, now_ms: int) -> bool:
        """Deliver it from now on; False if it waits, or there is none."""

    async def entries(self, state: State | None, *, count: int) -> list[Outgoing]:
        """The newest so many, newest first."""

    async def count(self) -> dict[tuple[Channel, State], int]:
        """How many there are, by channel and state; only of those that there are."""

    async def drop(self, *, before_ms: int, count: int) -> bool:
        """Forget so many that are older; False if there were none."""


class NotSent(Exception):
    """It was not taken; the message says why, without the address."""


class NotTaken(NotSent):
    """The server is there, and does not take this one."""


class WritesLetters(Protocol):
    """Brings messages to the holder of a wallet; implemented by the flow that does."""

    async def carry(self, message: Outgoing) -> None:
        """Returns when it was taken, within seconds. Raises NotSent, RecordsUnavailable."""

    async def receivers(self, account: str) -> list[str]:
        """Whom a message about it is written to, by their digests. Raises RecordsUnavailable."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where somebody can be written to, and what stands for them where no address may."""

    receiver: str
    text: str


class Reaches(Protocol):
    """Knows where a wallet's holders can be written to. Every call may raise RecordsUnavailable."""

    async def addresses(self, account: str) -> list[Address]:
        """Those that were proven, of the account that it is by now and of all that are the same one; each once."""

    async def forget(self, account: str, text: str) -> None:
        """Nothing goes to this address any more on account of this wallet. Harmless to repeat."""


class Mails(Protocol):
    """Sends letters."""

    async def mail(self, letter: Letter, to: str) -> None:
        """Returns when the mail server took it, within seconds. Raises NotSent, without the address in its words."""


class Sends(Protocol):
    """Carries a message to where the settings say."""

    async def send(self, head: Mapping[str, str], body: bytes) -> None:
        """Returns when it was taken, within seconds. Raises NotSent."""

    async def close(self) -> None: ...
