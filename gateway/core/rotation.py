"""When a key may seal, and when it may go: decided from what is on record of it.

A key that seals before every process can open makes tokens and links that some refuse. So a rotation has two steps: the
new key is put second and made known everywhere (it opens, and seals nothing), and only then first. Whether it is known
everywhere is not left to memory: each process says every minute which keys it has.

A key that goes takes with it whatever only it can open. A token on record may hold money for ever, so its key stays as
long as there is one; so does that of a token that has not been used since, for nobody knows whose it is. A payment link
says no end, but a page that was left open for longer than `LINK_DAYS` is not paid any more; should it be, the payment
is parked, not lost. A program's secret has no end either (`client_secret_expires_at` is 0), so the key that it is made
of stays as long as somebody allows that program anything.

A key pair that signs tokens for others to verify (`jwt`) opens nothing of ours: it stays until the last token that it
signed has ended, and each ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from gateway.core.jwt_keys import LIFE_DAYS

KeyKind = Literal["sealing_key", "pepper", "jwt"]
KINDS: tuple[KeyKind, ...] = ("sealing_key", "pepper", "jwt")
LINK_DAYS = 30
SEEN_SECONDS = 60
"""How often a process says which keys it has."""
_OUTLIVED_BY: Mapping[KeyKind, tuple[int, str]] = {
    "sealing_key": (LINK_DAYS, "payment links that it sealed may still be paid"),
    "pepper": (LINK_DAYS, "payment links that it sealed may still be paid"),
    "jwt": (LIFE_DAYS, "licences and sessions that it signed may still be shown"),
}
"""For how many days something of a key may still come that nobody wrote down, and what."""
_GONE_MS = 3 * SEEN_SECONDS * 1000
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Holder:
    """What a process said of its keys of one kind: `ids`, newest first."""

    name: str
    kind: KeyKind
    ids: tuple[str, ...]
    seen_ms: int

    def is_there(self, now_ms: int) -> bool:
        return now_ms - self.seen_ms < _GONE_MS


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What is on record about all keys of one kind, by their ids.

    `sealed` is until when each is known to have sealed. `tokens` counts those on record; under no id are those of
    which it is not known. `events` are sealed with it and can be sealed anew; `answers` are those that are kept
    for who asks again with the same key, and are sealed as they stand. `clients` are programs whose secret is made of
    it, and which people allow something.
    """

    holders: Sequence[Holder]
    sealed: Mapping[str, int]
    tokens: Mapping[str | None, int]
    events: Mapping[str, int] = field(default_factory=dict)
    answers: Mapping[str, int] = field(default_factory=dict)
    clients: Mapping[str | None, int] = field(default_factory=dict)


def lacking(use: KeyUse, id: str, *, now_ms: int) -> list[str]:
    """The processes that are there and do not have a key."""
    return [holder.name for holder in use.holders if holder.is_there(now_ms) and id not in holder.ids]


def needed_for(
    use: KeyUse, id: str, ids: Sequence[str], *, kind: KeyKind, signs: Sequence[str], now_ms: int
) -> list[str]:
    """Why a key of `ids` must stay, each in words; nothing if it may go. `signs` is what only it has signed."""
    reasons = []
    if ids[0] == id:
        reasons.append("it is the newest: rotate first")
    sealing = [holder.name for holder in use.holders if holder.is_there(now_ms) and holder.ids[:1] == (id,)]
    if sealing and ids[0] != id:
        reasons.append(f"{', '.join(sealing)} still use it as the newest: reload there")
    days, what = _OUTLIVED_BY[kind]
    until = use.sealed.get(id, now_ms) + days * _DAY_MS
    if until > now_ms:
        reasons.append(f"{what} until {day(until)}")
    if count := use.tokens.get(id):
        reasons.append(f"{count} tokens on record need it")
    if count := use.tokens.get(None):
        reasons.append(f"{count} tokens on record were not used since it is counted, and may need it")
    if count := use.answers.get(id):
        reasons.append(f"{count} answers that are kept to be asked for again can be opened with nothing else")
    if count := use.clients.get(id):
        reasons.append(f"{count} programs that people allow something prove themselves by secrets made of it")
    if count := use.clients.get(None):
        reasons.append(f"{count} programs have not proved themselves since it is counted, and may need it")
    return reasons + [f"it has signed {what}" for what in signs]


def day(at_ms: int) -> str:
    """A date, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
