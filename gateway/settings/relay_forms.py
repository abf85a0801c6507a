"""The small texts that say what the relay does: sockets, servers, fronts, header fields, credentials, paths.

Functions as in `forms`. What a header or a credential holds may be a key, so no words here quote it.
"""

import ipaddress
import re

from gateway.core import targets
from gateway.core.refusals import BadTarget, TargetTooLong
from gateway.core.routes import Server
from gateway.settings import forms
from gateway.settings.masking import shown
from gateway.settings.suggestions import did_you_mean
from gateway.settings.values import Listener, Network, UnixSocket

SOCKET_PATH_BYTES_MAX = 107
"""What fits into `sockaddr_un` of Linux beside its closing zero."""
PATH_CHARACTERS_MAX = 1024
UNIX = "unix"

_UNIX = "unix:"
_HOSTS = ("upstream", "caller")
_FIELD_NAME = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z_-]+")
_QUERY_NAME = re.compile(r"[A-Za-z0-9._~-]+")
_PRINTABLE_LATIN = re.compile(r"[\x20-\x7e\xa0-\xff]*")
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)*/?")
_OWN_NAMES = frozenset(
    "host connection content-length transfer-encoding te trailer upgrade expect keep-alive http2-settings forwarded "
    "via x-real-ip traceparent".split()
)
_OWN_BEGINNINGS = ("proxy-", "x-forwarded-", "gateway-")


def listener(text: str) -> Listener:
    """`127.0.0.1:8402`, or `unix:/run/gateway.sock`: where callers are served."""
    return UnixSocket(_socket(text)) if text.startswith(_UNIX) else forms.address(text)


def server(text: str) -> Server:
    """`https://api.example.com`, or `unix:/run/api.sock`: where an upstream listens."""
    if text.startswith(_UNIX):
        return Server("http", "localhost", 80, _socket(text))
    origin = forms.origin(text)
    return Server("https" if origin.scheme == "https" else "http", origin.host, origin.port)


def _socket(text: str) -> str:
    path = text.removeprefix(_UNIX)
    if path.startswith("//") and not path.startswith("///"):
        raise ValueError("a unix socket is a file, not a host; write unix:/run/gateway.sock")
    path = path[2:] if path.startswith("//") else path
    if not path.startswith("/"):
        raise ValueError(f"the path of a unix socket is absolute; {shown(path)} does not begin with `/`")
    if not path.isprintable() or path.endswith(("/", "/.", "/..")):
        raise ValueError("write the path of a socket after unix:, such as unix:/run/gateway.sock")
    if (size := len(path.encode())) > SOCKET_PATH_BYTES_MAX:
        raise ValueError(f"the path of a unix socket has {SOCKET_PATH_BYTES_MAX} bytes at most, this has {size}")
    return path


def proxy(text: str) -> Network | None:
    """`10.0.0.0/8`, `127.0.0.1`, or `unix` (None): a front whose word is taken."""
    if text == UNIX:
        return None
    unknown = f"{shown(text)} is not an address or a network; write such as 127.0.0.1, 10.0.0.0/8, or unix"
    try:
        loose = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(unknown + did_you_mean(text, [UNIX])) from None
    if "%" in text:
        raise ValueError(unknown)
    if str(loose.network_address) != str(ipaddress.ip_address(text.partition("/")[0])):
        raise ValueError(f"{shown(text)} is an address inside of a network; did you mean `{loose}`?")
    return loose


def file(text: str) -> str:
    """The path of a file, which a rule then looks for."""
    if text.startswith("~"):
        raise ValueError("`~` is not replaced here; write the whole path, or ${HOME}/…")
    if not text or not text.isprintable() or text.endswith(("/", "/.", "/..")) or text in (".", ".."):
        raise ValueError("write the path of a file, such as tls/server.pem")
    return text


def rewrite(text: str) -> str:
    """`/v2/`: what a path begins with for the upstream."""
    if not text.startswith("/"):
        raise ValueError(f"{shown(text)} must begin with `/`")
    if "?" in text or "#" in text:
        raise ValueError("what a path begins with is a path only: no query, no fragment")
    if not _PLAIN_PATH.fullmatch(text):
        raise ValueError("write a plain path: letters, digits, `-`, `_`, `.` and single `/`, no percent-escapes")
    if any(segment in (".", "..") for segment in text.split("/")):
        raise ValueError("a path with a dot segment means another path; write that one")
    return _of_bounded_length(text)


def check_path(text: str) -> str:
    """What servers are asked to see whether they are well; it may have a query."""
    if not text.startswith("/"):
        raise ValueError(f"{shown(text)} must begin with `/`")
    try:
        targets.read(text)
    except BadTarget as refused:
        raise ValueError(f"no server can be asked for this: {refused.why}") from None
    except TargetTooLong:
        pass
    return _of_bounded_length(text)


def _of_bounded_length(path: str) -> str:
    if len(path) > PATH_CHARACTERS_MAX:
        raise ValueError(f"a path has {PATH_CHARACTERS_MAX} characters at most here, this has {len(path)}")
    return path


def host(text: str) -> str:
    """`upstream`, `caller`, or the name that `Host` says: `api.example.com:8080`."""
    if text in _HOSTS:
        return text
    if "." not in text and ":" not in text and (hint := did_you_mean(text, _HOSTS)):
        raise ValueError(f"{shown(text)} is not `upstream` or `caller`{hint} A host of one word is written with a port")
    if "/" in text:
        raise ValueError(f"{shown(text)} is not a host; write only its name, and a port if need be")
    name, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    name = name if colon else text
    if colon and not (re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= 65_535):
        raise ValueError(f"the port {shown(port)} is not a number from 1 to 65535")
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    elif ":" in name:
        raise ValueError("write an IPv6 address in brackets and quotes")
    return forms.bracketed(forms.host_name(name)) + (f":{int(port)}" if colon else "")


def field_name(text: str) -> str:
    """A header field that an operator may set, add or remove: none that the relay itself answers for."""
    if not _FIELD_NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is not the name of a header: use letters, digits and `-`")
    if "_" in text:
        raise ValueError(f"{shown(text)} has a `_`, which many servers read as `-`; write `-`")
    if text.lower() in _OWN_NAMES or text.lower().startswith(_OWN_BEGINNINGS):
        raise ValueError(f"{shown(text)} is the gateway's own business; it cannot be set, added or removed")
    return text


def field_value(text: str) -> str:
    if not _PRINTABLE_LATIN.fullmatch(text):
        raise ValueError("a header value is of one line of printable Latin-1 characters")
    if text != text.strip(" \xa0"):
        raise ValueError("a header value has no blanks around it")
    return text


def query_name(text: str) -> str:
    if not _QUERY_NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is not the name of a parameter: use letters, digits, `-`, `_`, `.` and `~`")
    return text


def credential(text: str) -> str:
    """What an upstream wants to see; long or short is its own business."""
    if not text:
        raise ValueError("this is empty; an upstream that wants to see nothing needs no credential")
    if not _PRINTABLE_LATIN.fullmatch(text):
        raise ValueError("a credential is of one line of printable Latin-1 characters")
    if text != text.strip(" \xa0"):
        raise ValueError("a credential has no blanks around it")
    return text


def user(text: str) -> str:
    """The user name of HTTP's Basic authentication (RFC 7617)."""
    if not text or not text.isprintable():
        raise ValueError("a user name is of one or more printable characters")
    if ":" in text:
        raise ValueError("a user name has no colon: what follows it would be read as the password")
    return text


def password(text: str) -> str:
    if not text or not text.isprintable():
        raise ValueError("a password is of one or more printable characters")
    return text
