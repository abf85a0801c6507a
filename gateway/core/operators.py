"""Who speaks to the admin listener, by the token that they present: an operator, an auditor, or nobody.

An auditor reads and changes nothing. Both tokens are compared in constant time, and both may be exchanged while a
gateway runs: what was good before is good for nothing from then on, a session that was begun with it among that.

A link signs an operator in once, without the token being typed anywhere. It is a moment, a nonce and their signature by
a key that is derived from the token: whoever has the token can make one, with or without a gateway that runs; the
gateway needs no table to know it, and one row to know that it was used.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Literal

from gateway.core.secrets import Secret

Rank = Literal["operator", "auditor"]
READS = ("GET", "HEAD")
"""What an auditor may do."""
LINK_MS = 15 * 60_000
"""For so long a link is good."""
LINK_NONCE_BYTES = 16
_MOMENT_BYTES = 8
_SIGNED_BYTES = _MOMENT_BYTES + LINK_NONCE_BYTES
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


def bearer(authorization: str) -> str:
    """The token of a field `Authorization: Bearer …` (RFC 6750, section 2.1); nothing of another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Operators:
    """Their tokens. Without an auditor's there is no auditor."""

    def __init__(self, operator: Secret | None, auditor: Secret | None = None) -> None:
        self._operator = operator
        self._auditor = auditor

    def renew(self, operator: Secret | None, auditor: Secret | None) -> None:
        """Only these are good from now on."""
        self._operator, self._auditor = operator, auditor

    def rank(self, token: str) -> Rank | None:
        """Who shows this token."""
        presented = token.encode("utf-8", "replace")
        is_operator = _is(presented, self._operator)
        is_auditor = _is(presented, self._auditor)
        return "operator" if is_operator else "auditor" if is_auditor else None

    def stamp(self, rank: Rank) -> bytes | None:
        """What tells this rank's token from every other, and tells nothing of it; None if there is none."""
        secret = self._operator if rank == "operator" else self._auditor
        return None if secret is None else _keyed(secret, b"session")

    def link_nonce(self, code: str, *, now_ms: int) -> bytes | None:
        """The nonce of a link that an operator made with the token that is good now; None if it is not, or is old."""
        if self._operator is None:
            return None
        try:
            told = urlsafe_b64decode(code.encode() + b"=" * (-len(code) % 4))
        except ValueError:
            return None
        signed, signature = told[:_SIGNED_BYTES], told[_SIGNED_BYTES:]
        right = hmac.compare_digest(signature, hmac.digest(_keyed(self._operator, b"link"), signed, "sha256"))
        age_ms = now_ms - int.from_bytes(signed[:_MOMENT_BYTES], "big")
        return signed[_MOMENT_BYTES:] if right and -LINK_MS <= age_ms < LINK_MS else None


def link_code(operator: Secret, *, now_ms: int, nonce: bytes) -> str:
    """What a link carries that signs an operator in once. Raises ValueError for a nonce of another length."""
    if len(nonce) != LINK_NONCE_BYTES:
        raise ValueError(f"a nonce has {LINK_NONCE_BYTES} bytes")
    signed = now_ms.to_bytes(_MOMENT_BYTES, "big") + nonce
    signature = hmac.digest(_keyed(operator, b"link"), signed, "sha256")
    return urlsafe_b64encode(signed + signature).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who has signed in on the operators' pages. `digest` is of what the browser keeps."""

    digest: bytes
    name: str
    rank: Rank
    stamp: bytes
    """Of the token that was good when it began."""
    begun_ms: int
    seen_ms: int

    def ended(self, *, now_ms: int, idle_ms: int, most_ms: int) -> bool:
        """Whether it is over by time: not used for so long, or so old."""
        return now_ms - self.seen_ms >= idle_ms or now_ms - self.begun_ms >= most_ms


def session_digest(secret: str) -> bytes:
    """Under which a session is on record. What the browser keeps is random, so that no key is needed."""
    return hashlib.sha256(b"operator session\0" + secret.encode("utf-8", "replace")).digest()


def is_name(name: str) -> bool:
    """Whether an operator may be called so: 1 to 64 of letters, digits, `._@-`."""
    return _NAME.fullmatch(name) is not None


def _keyed(secret: Secret, purpose: bytes) -> bytes:
    return hmac.digest(secret.reveal().encode(), b"operators\0" + purpose, "sha256")


def _is(presented: bytes, secret: Secret | None) -> bool:
    return secret is not None and hmac.compare_digest(presented, secret.reveal().encode())
