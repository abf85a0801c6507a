"""What a request with an `Idempotency-Key` is bound to, and what is kept of it under that key.

The field is a string of structured fields (`"8e03978e"`, draft-ietf-httpapi-idempotency-key-header-07) or the same
without its quotes, as most callers write it: both are one key. Nobody's key is stored, only a digest of it, for a key
may name a person. What was asked for is a digest, too: of method, target and body.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Literal

from gateway.core.answers import Answer
from gateway.core.refusals import BadRequest

FIELD = "Idempotency-Key"
REPLAYED = ("Idempotency-Replayed", "true")
CHARS_MAX = 255
SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that ask for nothing to be done (RFC 9110, section 9.2.1): such a request may be sent once more."""

_BARE = re.compile(r"[!#-~][!-~]*")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])+)"')
_ESCAPED = re.compile(r"\\(.)")
_COME_AGAIN = frozenset((429, 503))

State = Literal["open", "kept", "not_kept", "unknown"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One key of one account. `open`: `request` is under way in the process `holder`, or was when that died."""

    account: str
    key: bytes
    fingerprint: bytes
    request: str
    holder: str
    lease_ms: int
    """Until when it is believed that `holder` lives; it renews this."""
    expires_ms: int
    """From then on the key is free again."""
    state: State = "open"
    sealed_by: str = ""
    answer: bytes = b""
    """Sealed; of a claim that is `kept`."""

    def is_over(self, now_ms: int) -> bool:
        """Whether the key is free again."""
        return self.expires_ms <= now_ms and (self.state != "open" or self.lease_ms <= now_ms)


def digest(value: str) -> bytes:
    """What a key is known by. Raises BadRequest for what is none."""
    key = value.strip(" \t")
    quoted = _QUOTED.fullmatch(key)
    if quoted:
        key = _ESCAPED.sub(r"\1", quoted[1])
    elif not _BARE.fullmatch(key):
        raise BadRequest(f"its {FIELD} is not a key such as 8e03978e-40d5-43dd-bc93-6894a57f9324")
    if len(key) > CHARS_MAX:
        raise BadRequest(f"its {FIELD} has more than {CHARS_MAX} characters")
    return hashlib.sha256(key.encode()).digest()


def fingerprint(method: str, target: str, body: bytes) -> bytes:
    """What was asked for. No two requests that differ have the same."""
    line = f"{method} {target}\n".encode("latin-1", "replace")  # neither holds a space or a line feed
    return hashlib.sha256(line + hashlib.sha256(body).digest()).digest()


def is_final(status: int) -> bool:
    """Whether an answer with this status is the outcome, and not a request to come again."""
    return status not in _COME_AGAIN


def packed(answer: Answer) -> bytes:
    """An answer as bytes."""
    return json.dumps([answer.status, answer.fields]).encode() + b"\n" + answer.body


def unpacked(plain: bytes) -> Answer:
    """What `packed` was given."""
    head, _, body = plain.partition(b"\n")
    status, fields = json.loads(head)
    return Answer(status, [(name, value) for name, value in fields], body)
