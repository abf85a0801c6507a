"""One reading of a request target, or a refusal.

A gateway that matches a price on one spelling of a path and forwards another is a free ticket: `/free/../paid`,
`/free/%2e%2e/paid`, `/free/..%2fpaid`, `/free/..;/paid`. Servers disagree about which of these are the same, so nothing
here guesses. `read` refuses what is not a plain target and every dot segment in every spelling. What is left may still
be read in several ways by an upstream (is `%2f` a slash? does `//` count once?), so `readings` lists the plausible
ones, and the route table refuses a target unless *all* of them lead to the same route. The bytes that were checked are
the bytes that are forwarded.

Sources: RFC 9112 section 3.2 (request target forms), RFC 3986 section 3.3 (path) and 6.2.2 (normalisation).
"""

import re
from dataclasses import dataclass, field

from gateway.core import hosts
from gateway.core.refusals import BadTarget, TargetTooLong

TARGET_BYTES_MAX = 8192

# Printable ASCII but for the characters that RFC 3986 never allows bare and that servers read differently.
_ALLOWED = re.compile(r"[\x21\x24-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]*")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.ASCII | re.DOTALL)
_PLAIN_PATH = r"(?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9._~!$&'()*+,=:@-]*)*/?"
_PLAIN = re.compile(_PLAIN_PATH)
_PLAIN_TARGET = re.compile(rf"({_PLAIN_PATH})(?:\?{_ALLOWED.pattern})?")


@dataclass(frozen=True, slots=True)
class Target:
    """A target that passed `read`: `raw` exactly as sent, `path` its part before the first `?`."""

    raw: str
    path: str
    plain: bool = field(default=False, compare=False)
    """Whether every server reads this path alike."""

    @property
    def query(self) -> str:
        """The rest, with its `?`, or nothing."""
        return self.raw[len(self.path) :]


_ASTERISK = Target("*", "*")


def read(raw: str, *, method: str = "GET", host: str = "") -> Target:
    """The target of a request line: in origin form, `*` of OPTIONS, or in absolute form, which is brought to the first.

    The authority of an absolute form must be `host`, what the request's `Host` says: programs disagree about which of
    the two counts (RFC 9112, section 3.2.2). Raises BadTarget or TargetTooLong.
    """
    if len(raw) > TARGET_BYTES_MAX:
        raise TargetTooLong(limit_bytes=TARGET_BYTES_MAX)
    if raw[:1] != "/":
        if method == "OPTIONS" and raw == "*":
            return _ASTERISK
        raw = _origin_form(raw, method, host)
        if raw == "*":
            return _ASTERISK
    if plain := _PLAIN_TARGET.fullmatch(raw):
        return Target(raw, plain[1], True)
    if not _ALLOWED.fullmatch(raw):
        raise BadTarget("the target holds a character that must be percent-encoded")
    path = raw.partition("?")[0]
    if not _PLAIN.fullmatch(path):
        _refuse_disguises(path)
    return Target(raw, path)


def with_query_parameter(raw_target: str, name: str, value: str) -> str:
    """A target with this parameter at its end, and no other of that name; every other byte stays as it was.

    A parameter of the caller's goes if its name, decoded as a form's is, reads the same. `&` alone separates them.
    """
    if raw_target == "*":
        return raw_target
    path, _, query = raw_target.partition("?")
    kept = [part for part in query.split("&") if _form_name(part) != name] if query else []
    return f"{path}?{'&'.join([*kept, f'{_form_encode(name)}={_form_encode(value)}'])}"


def readings(path: str) -> tuple[str, ...]:
    """Every path that an upstream might take this one for, the bytes as sent first; one entry for a plain path."""
    if _PLAIN.fullmatch(path):
        return (path,)
    seen: dict[str, None] = {path: None}
    stage = [path]
    for _ in range(3):  # as sent, decoded once, decoded twice; parameters may be cut off before or after a decoding
        spellings: dict[str, None] = {}
        for reading in stage:
            slashed = reading.replace("\\", "/")
            for spelling in (reading, slashed, _without_parameters(reading), _without_parameters(slashed)):
                spellings[spelling] = spellings[re.sub("/{2,}", "/", spelling)] = None
        seen |= spellings
        stage = [_decode(spelling) for spelling in spellings]
    return tuple(seen)


def _origin_form(raw: str, method: str, host: str) -> str:
    """What an absolute-form target is in origin form (RFC 9112, section 3.2.4 for OPTIONS)."""
    found = _ABSOLUTE.fullmatch(raw)
    if found is None:
        raise BadTarget("the target must begin with a slash")
    scheme, authority, rest = found[1].lower(), found[2], found[3]
    if not hosts.valid(authority) or not hosts.same(authority, host, scheme):
        raise BadTarget("the target names another host than Host does")
    if not rest and method == "OPTIONS":
        return "*"
    return rest if rest.startswith("/") else "/" + rest


def _without_parameters(path: str) -> str:
    return "/".join(segment.partition(";")[0] for segment in path.split("/"))


def _refuse_disguises(path: str) -> None:
    """Dot segments and control characters, however often they are encoded, end here."""
    if _BAD_ESCAPE.search(path):
        raise BadTarget("the path holds a % that begins no escape")
    reading = path
    for _ in range(3):
        if _CONTROL.search(reading):
            raise BadTarget("the path holds an encoded control character")
        for segment in re.split(r"[/\\]", reading):
            if segment.partition(";")[0] in (".", ".."):
                raise BadTarget("the path holds a dot segment")
        reading = _decode(reading)


def _decode(path: str) -> str:
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), path)


def _form_name(parameter: str) -> str:
    """The name of a form's parameter, decoded."""
    name = parameter.partition("=")[0].replace("+", " ")
    raw = _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), name).encode("latin-1", "replace")
    return raw.decode("utf-8", "replace")


def _form_encode(text: str) -> str:
    """Everything but the unreserved characters as escapes (RFC 3986, section 2.3)."""
    return "".join(
        chr(byte) if chr(byte) in _UNRESERVED else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogateescape")
    )
