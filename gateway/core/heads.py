"""What the head of a request means, decided once for both forms of the exchange.

The fields are read as they came: `core/headers.py` says what becomes of them. A head that two programs could read
differently is refused, and the reason names the field but never its value, which may be a secret.
"""

import re
from dataclasses import dataclass

from gateway.core import hosts
from gateway.core.framing import NO_BODY, Framing, request_framing
from gateway.core.headers import Fields
from gateway.core.refusals import BadRequest, MethodNotAllowed
from gateway.core.tokens import holds_ours

_NEVER_SERVED = frozenset(("CONNECT", "TRACE"))
_VERSIONS = (10, 11)
_READ = frozenset("host content-length transfer-encoding connection expect upgrade te".split())
_NOT_IN_TOKEN = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PROTOCOL = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:/[!#$%&'*+.^_`|~0-9A-Za-z-]+)?")
_NEVER_UPGRADED_TO = ("h2", "tls/")
"""Protocols that would hide every further request from us."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A head that passed `read_request`."""

    host: str
    """As sent; empty only for HTTP/1.0 without one."""
    framing: Framing
    keep_alive: bool
    """Whether the connection may carry another request."""
    expects_continue: bool
    """Whether the caller waits for `100 Continue` before it sends its body."""
    upgrade: str
    """The protocols that it asks for and may have, separated by commas; empty if there are none."""
    wants_trailers: bool


def read_request(method: str, version: int, fields: Fields) -> RequestHead:
    """Read the head of a request of HTTP/1.0 (10) or HTTP/1.1 (11). Raises BadRequest or MethodNotAllowed."""
    if method in _NEVER_SERVED:
        raise MethodNotAllowed()
    if version not in _VERSIONS:
        raise BadRequest("it is not HTTP/1.0 or HTTP/1.1")
    _check(method, fields)
    said: dict[str, list[str]] = {}
    for name, value in fields:
        lower = name.lower()
        if lower in _READ:
            said.setdefault(lower, []).append(value)
    framed = "content-length" in said or "transfer-encoding" in said
    framing = request_framing(version, fields) if framed else NO_BODY
    modern = version == 11
    connection = _options(said.get("connection"))
    upgrade = _upgrade(said["upgrade"]) if modern and "upgrade" in said and "upgrade" in connection else ""
    if upgrade and framing.has_body:
        raise BadRequest("it has an Upgrade and a body")
    return RequestHead(
        host=_host(said.get("host"), required=modern),
        framing=framing,
        keep_alive="close" not in connection and (modern or "keep-alive" in connection),
        expects_continue=modern and framing.has_body and "100-continue" in _options(said.get("expect")),
        upgrade=upgrade,
        wants_trailers=modern and "trailers" in _options(said.get("te")),
    )


def _check(method: str, fields: Fields) -> None:
    """Names are tokens and values hold no control characters; all at once, and one by one only to name the culprit."""
    if not method or _NOT_IN_TOKEN.search(method):
        raise BadRequest("its method is not a token")
    names = [name for name, _ in fields]
    if not all(names) or _NOT_IN_TOKEN.search("".join(names)):
        raise BadRequest("the name of a field is not a token")
    if _CONTROL.search("".join([value for _, value in fields])):
        culprit = next(name for name, value in fields if _CONTROL.search(value))
        raise BadRequest(f"the field {culprit} holds a control character")


def _host(said: list[str] | None, *, required: bool) -> str:
    if said is None:
        if required:
            raise BadRequest("it has no Host")
        return ""
    if len(said) > 1:
        raise BadRequest("it has more than one Host")
    host = said[0].strip(" \t")
    if not hosts.valid(host):
        raise BadRequest("its Host is not a name or an address")
    return host


def _upgrade(said: list[str]) -> str:
    wanted = [protocol for value in said for part in value.split(",") if (protocol := part.strip(" \t"))]
    if not all(_PROTOCOL.fullmatch(protocol) for protocol in wanted):
        raise BadRequest("its Upgrade cannot be read")
    return ", ".join(
        protocol
        for protocol in wanted
        if not protocol.lower().startswith(_NEVER_UPGRADED_TO) and not holds_ours(protocol)
    )


def _options(said: list[str] | None) -> frozenset[str]:
    """The members of a list, in small letters. Only ASCII: other letters become ASCII ones when they are lowered."""
    if said is None:
        return frozenset()
    return frozenset(part.strip(" \t").lower() for value in said for part in value.split(",") if part.isascii())
