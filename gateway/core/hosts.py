"""Which authorities a `Host` may name, and when two of them are the same.

Less than RFC 3986 allows: no escapes, no sub-delimiters and no user, because programs read those differently and none
of them is in a name that anybody resolves. An upstream that picks a site by `Host` must see the one that we saw.
"""

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[([0-9A-Fa-f:.]{2,45})\])(?::(0|[1-9][0-9]{0,4}))?")
_PORT_MAX = 65535
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_UNICAST = IPv6Network("2000::/3")
"""All that was ever given to the internet (https://www.iana.org/assignments/ipv6-address-space)."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""How a network without IPv4 writes an IPv4 address (RFC 6052)."""


def valid(authority: str) -> bool:
    """Whether this is a name, an IPv4 address or a bracketed IPv6 address, with a port or without."""
    found = _AUTHORITY.fullmatch(authority)
    if found is None or int(found[2] or 0) > _PORT_MAX:
        return False
    return found[1] is None or _is_ipv6(found[1])


def same(a: str, b: str, scheme: str) -> bool:
    """Whether two authorities name the same host and port, the port of the scheme being understood."""
    port = _DEFAULT_PORTS[scheme]
    return a.lower().removesuffix(port) == b.lower().removesuffix(port)


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's. Raises ValueError for what is none."""
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    inner = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip.ipv4_mapped
    if inner is not None:
        return is_public(str(inner))
    return ip in _UNICAST and ip.is_global and (ip.sixtofour is None or is_public(str(ip.sixtofour)))
