"""The trail: who did what, in a chain that nobody can rewrite without our keys.

An entry names an actor, a role, an action, what it was done to, why and by which door; ids and settings, never a
person's data, a token or a key. Each holds the hash of the one before it, so that an entry that is changed, dropped or
put in between shows, and each hash is signed (HMAC-SHA-256 by a subkey of the sealing keys), so that whoever may write
the table cannot make a new chain. A sealing key may retire: what it signed is vouched for by every later entry whose
key is still here, because their hashes contain it. That the end was cut off shows against the signed head, which is
kept outside the database (see `core/chain_head.py`).
"""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gateway.core.keyring import Keyring

PURPOSE = "trail"
"""What the subkeys that sign are for."""

Role = Literal["operator", "auditor", "owner", "consumer", "service", "provider", "gateway"]
Origin = Literal["command", "admin", "page", "api", "webhook", "start", "reload"]
CHARS_MAX = 500
FACTS_MAX = 24
ERASURE = "account.erase"
"""The act by which a person is forgotten."""
NEWEST = 2**62
"""No entry has this number: the newest are those before it."""
_NO_HASH = bytes(32)


@dataclass(frozen=True, slots=True)
class Act:
    """What is done, before it is done. Raises ValueError if a text is too long to be an id or a reason."""

    actor: str
    role: Role
    action: str
    object: str
    origin: Origin
    reason: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        texts = [self.actor, self.action, self.object, self.reason, *self.facts, *self.facts.values()]
        if len(self.facts) > FACTS_MAX or any(len(text) > CHARS_MAX for text in texts):
            raise ValueError(f"an act has at most {FACTS_MAX} facts, and texts of at most {CHARS_MAX} characters")


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the chain. `content` is the act and its moment, canonical, as it was hashed."""

    number: int
    content: str
    hash: bytes
    key_id: str
    mac: bytes

    @property
    def at_ms(self) -> int:
        return int(json.loads(self.content)["at"])

    @property
    def act(self) -> Act:
        told = json.loads(self.content)
        del told["at"]
        return Act(**told)


def step_after(last: Step | None, act: Act, *, at_ms: int, keys: Keyring) -> Step:
    """The next entry, signed by the newest key."""
    told = {name: getattr(act, name) for name in act.__slots__}
    content = json.dumps({**told, "facts": dict(act.facts), "at": at_ms}, sort_keys=True, separators=(",", ":"))
    number = last.number + 1 if last else 1
    hash = _hash(number, last.hash if last else _NO_HASH, content)
    key = keys.newest
    return Step(number, content, hash, key.id, _mac(key.subkey(PURPOSE), hash))


@dataclass(slots=True)
class Verdict:
    """What a chain looks like so far. `first_bad`: the number of the first entry that is not as it was written."""

    entries: int = 0
    first_bad: int | None = None
    finding: str = ""
    vouched: int = 0
    """The highest entry that a key of ours has signed: it vouches for all before it."""
    last: Step | None = None

    @property
    def unvouched(self) -> int:
        """Entries at the end that no key of ours has signed."""
        return self.entries - self.vouched

    def problem(self) -> str | None:
        """The finding in words; None if the chain is whole."""
        if self.first_bad is not None:
            return f"entry {self.first_bad}: {self.finding}"
        if self.unvouched:
            return f"entries {self.vouched + 1} to {self.entries} are signed by keys that are not here any more"
        return None


def verify(steps: Iterable[Step], keys: Keyring, verdict: Verdict) -> None:
    """Go on proving a chain where `verdict` stands; nothing more is looked at behind the first bad entry."""
    known = {key.id: key.subkey(PURPOSE) for key in keys.keys}
    for step in steps:
        if verdict.first_bad is not None:
            return
        before = verdict.last
        expected = before.number + 1 if before else 1
        if step.number != expected:
            verdict.first_bad, verdict.finding = expected, "it is missing"
        elif step.hash != _hash(step.number, before.hash if before else _NO_HASH, step.content):
            verdict.first_bad, verdict.finding = step.number, "it, or the one before it, was changed"
        elif step.key_id in known and not hmac.compare_digest(step.mac, _mac(known[step.key_id], step.hash)):
            verdict.first_bad, verdict.finding = step.number, "it was not signed by us"
        else:
            verdict.entries = step.number
            verdict.last = step
            if step.key_id in known:
                verdict.vouched = step.number


def excerpt_problem(before: bytes, steps: Sequence[Step], keys: Keyring) -> str | None:
    """What is wrong with a part of a chain, after an entry with the hash `before`; of its place nothing is proved."""
    known = {key.id: key.subkey(PURPOSE) for key in keys.keys}
    for at, step in enumerate(steps):
        if at and step.number != steps[at - 1].number + 1:
            return f"entry {steps[at - 1].number + 1} is missing"
        if step.hash != _hash(step.number, steps[at - 1].hash if at else before, step.content):
            return f"entry {step.number}: it, or the one before it, was changed"
        if step.key_id in known and not hmac.compare_digest(step.mac, _mac(known[step.key_id], step.hash)):
            return f"entry {step.number}: it was not signed by us"
    return None


def against_head(seq: int, hash: bytes, steps: Sequence[Step], *, entries: int) -> str | None:
    """What is wrong with a chain's end by the head that was kept elsewhere; `steps` hold the one it names, if any."""
    if seq > entries:
        return f"it ends with entry {entries}, and entry {seq} was written: the end was cut off"
    if seq and not any(step.number == seq and step.hash == hash for step in steps):
        return f"entry {seq} is not the one that was written: the chain was exchanged"
    return None


def _hash(number: int, before: bytes, content: str) -> bytes:
    return hashlib.sha256(before + number.to_bytes(8, "big") + content.encode()).digest()


def _mac(key: bytes, hash: bytes) -> bytes:
    return hmac.digest(key, hash, "sha256")
