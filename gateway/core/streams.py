"""Streams of server-sent events that end before their time: the last event, and where there can be one."""

import json
from collections.abc import Iterable

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
    """Says why there is no more. Whatever event was under way ends before it."""
    data = json.dumps({"code": refusal.code, "status": refusal.status, "request_id": request})
    return b"\n\nevent: error\ndata: %b\n\n" % data.encode()
