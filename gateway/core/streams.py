"""The last event of a stream of server-sent events, where it is one of ours, and where there can be one.

Whatever event was under way ends before it.
"""

import json
from collections.abc import Iterable

from gateway.core.money import Money
from gateway.core.refusals import Refusal


def is_event_stream(fields: Iterable[tuple[str, str]]) -> bool:
    """Whether an answer with these fields is read event by event, while it comes."""
    return any(
        name.lower() == "content-type" and value.partition(";")[0].strip().lower() == "text/event-stream"
        for name, value in fields
    )


def is_open_stream(fields: Iterable[tuple[str, str]]) -> bool:
    """Whether an answer with these fields can get one more event: it is neither coded nor of a known length."""
    found = {name.lower(): value.partition(";")[0].strip().lower() for name, value in fields}
    is_plain = found.get("content-encoding", "identity") == "identity" and "content-length" not in found
    return is_plain and found.get("content-type") == "text/event-stream"


def last_event(refusal: Refusal, request: str) -> bytes:
    """Says why there is no more."""
    return _event("error", {"code": refusal.code, "status": refusal.status, "request_id": request})


def cost_event(cost: Money, request: str) -> bytes:
    """Says what it did cost."""
    return _event("gateway.cost", {"cost": str(cost), "request_id": request})


def _event(name: str, data: dict[str, object]) -> bytes:
    return f"\n\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()
