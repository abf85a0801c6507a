"""Which trace a request belongs to (W3C Trace Context, level 1), and what its upstream is told of it.

A `traceparent` is believed only if there is one, and it is valid; else ours names the request, so that the upstream's
log and ours can be laid side by side. Ours is not sampled: it obliges nobody. What stands in `tracestate` belongs to
the `traceparent` that came with it, so it does not pass without one.

`pass`, the default, hands a valid one on byte for byte. The gateway exports no spans, and a span that nobody ever sees
would tear its caller's tree in two. `make` is for those who make spans of the log: the trace goes on with a span of our
own, and `traceparent` is the one field that is replaced. `off` reads and makes nothing; what a caller sent passes like
any other field.
"""

import re
from typing import Literal

from gateway.core.headers import Fields, named_in_connection
from gateway.core.ids import RequestId

TraceMode = Literal["pass", "make", "off"]
FIELD = "traceparent"
_VALID = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?")
_THEIRS = frozenset((FIELD,))
_WITH_STATE = frozenset((FIELD, "tracestate"))
_NOBODYS: frozenset[str] = frozenset()


Trace = tuple[str, str, str]
"""The trace's id and the span's, as the upstream is told them, and the whole `traceparent` that it gets, whoever wrote
it; empty where nothing is read or made. (A plain tuple: one is made with every request.)"""
NO_TRACE: Trace = ("", "", "")


def valid(fields: Fields) -> str | None:
    """What a caller's `traceparent` says, if there is one that may be believed, and goes further than to us."""
    sent = [value for name, value in fields if name.lower() == FIELD]
    if len(sent) != 1 or FIELD in named_in_connection(fields):
        return None
    value = sent[0].strip(" \t")
    found = _VALID.fullmatch(value)
    if found is None or (found["more"] is not None and value.startswith("00")):
        return None  # what follows the flags is for later versions
    return value


def trace(id: RequestId, theirs: str | None, mode: TraceMode) -> Trace:
    """The trace of a request with this valid `traceparent`, or with none."""
    if mode == "off":
        return NO_TRACE
    if theirs is not None and mode == "pass":
        return theirs[3:35], theirs[36:52], theirs
    text = str(id)
    span_id = text[16:]
    if theirs is not None:
        return theirs[3:35], span_id, f"00-{theirs[3:35]}-{span_id}-{theirs[53:55]}"
    trace_id = f"{text[4:16]}0000{span_id}"
    return trace_id, span_id, f"00-{trace_id}-{span_id}-00"


def replaced(theirs: str | None, mode: TraceMode) -> frozenset[str]:
    """The names of the caller's fields that do not pass, in small letters: ours comes in their place."""
    if mode == "off" or (theirs is not None and mode == "pass"):
        return _NOBODYS
    return _WITH_STATE if theirs is None else _THEIRS
