"""What an upstream is told of a request, besides what its caller sent: which it is, whose it is, what it belongs to.

`traceparent` is the caller's if it sent one, else one that names the request (W3C Trace Context, level 1; not sampled,
so that it obliges nobody). `Gateway-Account` is the account that pays, empty on free routes that nobody was asked to
identify for. All of these are ours alone: from a caller they never pass (`core/headers.py`).
"""

from gateway.core.callers import Caller
from gateway.core.headers import Fields
from gateway.core.ids import RequestId


def fields(id: RequestId, caller: Caller, *, traced: bool) -> Fields:
    """The fields of one request. `traced`: it brings a `traceparent` of its own."""
    text = str(id)
    made = [("Gateway-Request-Id", text)]
    if caller.account and not caller.fresh:
        made.append(("Gateway-Account", caller.account))
    if not traced:
        moment, number = text[4:16], text[16:]
        made.append(("traceparent", f"00-{moment}0000{number}-{number}-00"))
    return made
