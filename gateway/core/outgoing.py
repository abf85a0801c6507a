"""What an owner or operator is told: one message for each thing that happened, signed, tried again for three days.

The signature is that of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body, so
that a receiver knows who sent it and that it is of now, and by the id that it has it already. While a secret is being
replaced there are several signatures; one that fits is enough.
"""

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from gateway.core.patience import doubled_ms
from gateway.core.secrets import Secret

Type = Literal[
    "balance.low",
    "cap.near",
    "payment.failed",
    "card.expiring",
    "account.frozen",
    "auto_top_up.paused",
    "wallet.joined",
    "charge.pending",
    "charge.failed",
]
AlertType = Literal["alert.opened", "alert.reminded", "alert.ended", "alert.test"]
"""For operators alone; see `core/alerts.py`."""
About = Literal["accounts", "alerts"]
Channel = Literal["webhook", "mail"]
State = Literal["waiting", "delivered", "failed"]
STATES: tuple[State, ...] = ("waiting", "delivered", "failed")
GIVEN_UP_MS = 3 * 86_400_000
"""How long a message is tried."""
_FIRST_MS, _LONGEST_MS = 10_000, 6 * 3_600_000


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message, and how it stands."""

    id: str
    type: Type | AlertType
    account: str
    content: Mapping[str, Any]
    created_ms: int
    since_ms: int
    """Since when it is tried."""
    tries: int = 0
    state: State = "waiting"
    due_ms: int = 0
    error: str | None = None
    channel: Channel = "webhook"
    receiver: str | None = None
    """Of a letter, the digest of whom it is for."""


def body(message: Outgoing, *, live: bool) -> bytes:
    """What is sent: the same at every try."""
    told = {
        "id": message.id,
        "type": message.type,
        "created": datetime.fromtimestamp(message.created_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "live": live,
        "account": message.account,
        "data": dict(message.content),
    }
    return json.dumps(told).encode()


def head(secrets: Sequence[Secret], id: str, at_seconds: int, body: bytes) -> dict[str, str]:
    """The header fields that prove whom it comes from."""
    signed = f"{id}.{at_seconds}.".encode() + body
    macs = (hmac.new(secret.reveal().encode(), signed, hashlib.sha256).digest() for secret in secrets)
    signatures = " ".join(f"v1,{b64encode(mac).decode()}" for mac in macs)
    return {"webhook-id": id, "webhook-timestamp": str(at_seconds), "webhook-signature": signatures}


def next_try_ms(message: Outgoing, *, now_ms: int) -> int | None:
    """When one that failed is tried again, each time after twice as long; None once it is given up."""
    due = now_ms + doubled_ms(message.tries, first_ms=_FIRST_MS, longest_ms=_LONGEST_MS)
    return due if due < message.since_ms + GIVEN_UP_MS else None
