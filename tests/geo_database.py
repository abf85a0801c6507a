"""Writes small databases of countries in MaxMind's format (https://maxmind.github.io/MaxMind-DB/), as an operator's."""

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

_MARK = b"\xab\xcd\xefMaxMind.com"
_GAP = 16
SHORT, MIDDLE, LONG = 5, 6, 9


class Whole(NamedTuple):
    """A number of one of the format's types."""

    value: int
    type: int


def write(path: Path, networks: Mapping[str, Any]) -> Path:
    """`{"81.2.69.0/24": {"country": {"iso_code": "GB"}}}`; networks that do not overlap."""
    tree: list[list[int | None]] = [[None, None]]
    data = b""
    for text, value in networks.items():
        network = ip_network(text)
        bits = f"{int(network.network_address):0{network.max_prefixlen}b}"[: network.prefixlen]
        _insert(tree, bits if network.version == 6 else "0" * 96 + bits, -len(data) - 1)
        data += _encoded(value)
    count = len(tree)
    records = b"".join(_record(one, count).to_bytes(3, "big") for node in tree for one in node)
    about = {
        "binary_format_major_version": Whole(2, SHORT),
        "binary_format_minor_version": Whole(0, SHORT),
        "build_epoch": Whole(1, LONG),
        "database_type": "Test-Country",
        "description": {"en": "made by a test"},
        "ip_version": Whole(6, SHORT),
        "languages": ["en"],
        "node_count": Whole(count, MIDDLE),
        "record_size": Whole(24, SHORT),
    }
    path.write_bytes(records + bytes(_GAP) + data + _MARK + _encoded(about))
    return path


def _insert(tree: list[list[int | None]], bits: str, leaf: int) -> None:
    node = 0
    for bit in bits[:-1]:
        following = tree[node][int(bit)]
        if following is None:
            following = tree[node][int(bit)] = len(tree)
            tree.append([None, None])
        node = following
    tree[node][int(bits[-1])] = leaf


def _record(one: int | None, count: int) -> int:
    """A node by its number; nothing; or data by its place, which is kept below zero until the count is known."""
    if one is None:
        return count
    return one if one >= 0 else count + _GAP - one - 1


def _encoded(value: Any) -> bytes:
    if isinstance(value, dict):
        return _head(7, len(value)) + b"".join(_encoded(key) + _encoded(one) for key, one in value.items())
    if isinstance(value, list):
        return _head(11, len(value)) + b"".join(_encoded(one) for one in value)
    if isinstance(value, Whole):
        digits = value.value.to_bytes((value.value.bit_length() + 7) // 8, "big")
        return _head(value.type, len(digits)) + digits
    return _head(2, len(value)) + str(value).encode()


def _head(type: int, size: int) -> bytes:
    assert size < 29
    return bytes([type << 5 | size]) if type < 8 else bytes([size, type - 7])
