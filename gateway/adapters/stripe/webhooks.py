"""Is this webhook from Stripe? Our own check over the raw bytes.

The scheme is Stripe's (https://docs.stripe.com/webhooks#verify-manually): `Stripe-Signature: t=…,v1=…` where `v1` is
HMAC-SHA256 of `t.body` under the endpoint's secret. Compared with the SDK's helper this accepts several secrets (for
rotation), refuses timestamps from the future as well as the past, and has one failure, `WebhookRefused`, for whatever
bytes arrive. Every signature is compared with every secret in constant time.
"""

import hmac
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from gateway.core.payments import Event
from gateway.core.refusals import WebhookRefused
from gateway.core.secrets import Secret

_SIGNATURES_MAX = 32
THIN = "v2.core.event"
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}")


def verify(body: bytes, signature: str | None, *, secrets: Sequence[Secret], now: int, tolerance: int) -> Event:
    """The event in `body`, if one of our secrets signed it within `tolerance` seconds. Raises WebhookRefused."""
    timestamp, signatures = _parse(signature)
    signed = timestamp.encode() + b"." + body
    genuine = False
    for secret in secrets:
        expected = hmac.digest(secret.reveal().encode(), signed, "sha256").hex()
        for candidate in signatures:
            genuine |= hmac.compare_digest(expected, candidate)
    if not genuine:
        raise WebhookRefused("no signature of it is ours")
    if abs(now - int(timestamp)) > tolerance:
        raise WebhookRefused("its timestamp is too far from now")
    return _event(body)


def _parse(header: str | None) -> tuple[str, list[str]]:
    """The timestamp and the v1 signatures of a `Stripe-Signature` field."""
    if not header:
        raise WebhookRefused("it has no Stripe-Signature")
    timestamps, signatures = [], []
    for item in header.split(","):
        name, _, value = item.strip().partition("=")
        if name == "t":
            timestamps.append(value)
        elif name == "v1" and _SIGNATURE.fullmatch(value):
            signatures.append(value)
    if len(timestamps) != 1 or not _TIMESTAMP.fullmatch(timestamps[0]):
        raise WebhookRefused("its Stripe-Signature has no timestamp")
    if not 0 < len(signatures) <= _SIGNATURES_MAX:
        raise WebhookRefused("its Stripe-Signature has no signature")
    return timestamps[0], signatures


def event_of(content: Any) -> Event | None:
    """An event as Stripe's API describes it; None for anything else.

    Those of its second API are thin: what they are about is named, and has to be asked for.
    """
    try:
        thin = content.get("object") == THIN
        id, type, live = content["id"], content["type"], content["livemode"]
        created: Any = _seconds(content["created"]) if thin else content["created"]
        about = content["related_object"] if thin else content["data"]["object"]
        account = content.get("context" if thin else "account") or ""
    except (KeyError, TypeError, AttributeError):
        return None
    if account and not _is_name(account):
        return None
    times = isinstance(created, int) and not isinstance(created, bool) and 0 <= created < 2**53
    if not (_is_name(id) and _is_name(type) and isinstance(live, bool) and times and isinstance(about, dict)):
        return None
    return Event(id, type, live, created, about, account)


def _seconds(text: object) -> int | None:
    """The second API writes moments as texts."""
    try:
        return int(datetime.fromisoformat(str(text)).timestamp())
    except (ValueError, OverflowError):
        return None


def _event(body: bytes) -> Event:
    try:
        event = event_of(json.loads(body))
    except (ValueError, RecursionError):
        event = None
    if event is None:
        raise WebhookRefused("it is not an event")
    return event


def _is_name(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= 255 and text.isascii() and text.isprintable()
