"""Where a request came from, and how the upstream is told.

Who may say so: the peer's address is a fact, a field is a claim. `X-Forwarded-*` is believed only from a peer that the
operator trusts, and of the addresses in it only those that a trusted hop vouches for: the walk goes from the right,
past the proxies that are trusted, to the first address that is not. What stands left of that one was written by a
stranger and goes no further.

To the upstream we always speak for ourselves: whatever the caller sent under these names is dropped
(`core/headers.py`), and `fields` says what is believed, the client first and the hop next to us last.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from gateway.core import hosts
from gateway.core.headers import Fields

Networks = tuple[IPv4Network | IPv6Network, ...]

VIA = "1.1 farebox"
_SCHEMES = ("http", "https")
_ID = re.compile(r"[A-Za-z0-9._:=/+-]{1,128}")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from, as far as that is believed."""

    address: str
    """The client's; empty for a unix socket whose other end told nothing better."""
    scheme: str
    host: str
    chain: str = ""
    """The trusted proxies between that address and us, the nearest last, as `X-Forwarded-For` lists them."""
    vouched: bool = field(default=False, compare=False)
    """Whether a trusted front told it."""


def origin(peer: str, scheme: str, host: str, fields: Fields, trusted: Networks, *, trust_unix: bool = False) -> Origin:
    """Who sent this request over a connection from `peer`; a peer without an address is a unix socket's."""
    if not (_is_trusted(peer, trusted) if peer else trust_unix):
        return Origin(peer, scheme, host)
    forwarded_scheme = _only(fields, "x-forwarded-proto")
    forwarded_host = _only(fields, "x-forwarded-host")
    hops = _hops(peer, fields, trusted)
    return Origin(
        hops[-1] if hops else "",
        forwarded_scheme if forwarded_scheme in _SCHEMES else scheme,
        forwarded_host if hosts.valid(forwarded_host) else host,
        ", ".join(reversed(hops[:-1])),
        vouched=True,
    )


def fields(origin: Origin) -> Fields:
    """The header fields that tell an upstream where a request came from."""
    told: Fields = []
    if origin.address:
        told.append(("X-Forwarded-For", f"{origin.address}, {origin.chain}" if origin.chain else origin.address))
    told.append(("X-Forwarded-Proto", origin.scheme))
    if origin.host:
        told.append(("X-Forwarded-Host", origin.host))
    told.append(("Forwarded", _forwarded(origin)))
    told.append(("Via", VIA))
    return told


def front_id(origin: Origin, said: str) -> str:
    """What a trusted front calls the request in its `X-Request-Id`; empty if it is no id, or nobody's to believe."""
    return said if origin.vouched and _ID.fullmatch(said) else ""


def _forwarded(origin: Origin) -> str:
    """RFC 7239, section 4: one element, for what is believed."""
    node = f'"[{origin.address.partition("%")[0]}]"' if ":" in origin.address else origin.address or "unknown"
    host = f';host="{origin.host}"' if origin.host else ""
    return f"for={node}{host};proto={origin.scheme}"


def _hops(peer: str, fields: Fields, trusted: Networks) -> list[str]:
    """The addresses that are believed, from the peer outwards; the last is the client."""
    hops = [peer] if peer else []
    claimed = ",".join(value for name, value in fields if name.lower() == "x-forwarded-for")
    for entry in reversed(claimed.split(",")):
        address = _address(entry.strip(" \t"))
        if address is None:
            break
        hops.append(str(address))
        if not _holds(trusted, address):
            break
    return hops


def _only(fields: Fields, wanted: str) -> str:
    """What the one field of this name says; nothing if there are several."""
    said = [value for name, value in fields if name.lower() == wanted]
    return said[0].strip(" \t") if len(said) == 1 else ""


def _is_trusted(peer: str, trusted: Networks) -> bool:
    if not trusted:
        return False
    address = _address(peer)
    return address is not None and _holds(trusted, address)


def _holds(networks: Iterable[IPv4Network | IPv6Network], address: IPv4Address | IPv6Address) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address with a port or without, an IPv4 one even where it is dressed as IPv6; None for anything else."""
    if text.startswith("["):
        text, bracket, port = text[1:].partition("]")
        if not bracket:
            return None
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
    else:
        port = ""
    if not text.isascii() or not (port.removeprefix(":") or "0").isdecimal():
        return None
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
