"""The small texts of metered prices: what so many of a unit cost, where a number stands, how much is due.

Functions as in `forms`.
"""

import re
from dataclasses import dataclass

from gateway.core.money import Money
from gateway.core.pricing import ANSWER_BYTES, MILLISECONDS, REQUEST_BYTES, SECONDS, UNITS
from gateway.settings import forms
from gateway.settings.masking import shown

COUNT_MAX = 10**12
PATH_CHARACTERS_MAX = 200

_PER = re.compile(r"(.+?)\s*(?:/|\bper\b)\s*(.+)")
_COUNT = re.compile(r"([0-9]{1,15}) ?(k|M)?|(k|M)")
_FACTORS = {"k": 1000, "M": 1_000_000}
_BYTES = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_TIMES = {"second": 1, "minute": 60, "hour": 3600}
_METHOD = re.compile(r"[A-Z]+(-[A-Z]+)*")
_CALL_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")
_MEMBER = re.compile(r"[^.\s\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class Amounts:
    """An amount for so many; `of` is what the count is of, if it says: bytes or time."""

    amount: Money
    count: int
    of: str = ""

    def problem(self, unit: str) -> str:
        """What speaks against this for a unit, in words."""
        if self.of == "bytes" and unit not in (REQUEST_BYTES, ANSWER_BYTES):
            return f"{shown(unit)} are not bytes; write such as: per 1M"
        if self.of == "time" and unit != SECONDS:
            return f"{shown(unit)} are no time; write such as: per 1M"
        return ""

    def counted(self, unit: str) -> int:
        """How many of what a meter counts."""
        return self.count * MILLISECONDS if unit == SECONDS else self.count


def amount_per(text: str) -> Amounts:
    """`0.01 usd`, `3.00 usd per 1M`, `0.10 usd per GiB`, `0.06 usd per minute`."""
    found = _PER.fullmatch(text.strip())
    if found is None:
        return Amounts(forms.amount(text), 1)
    amount, count = forms.amount(found[1]), found[2]
    if count in _TIMES:
        return Amounts(amount, _TIMES[count], "time")
    number, _, size = count.partition(" ")
    if size in _BYTES and number.isdecimal():
        return Amounts(amount, _bounded(int(number[:15]) * _BYTES[size], text), "bytes")
    if count in _BYTES:
        return Amounts(amount, _BYTES[count], "bytes")
    plain = _COUNT.fullmatch(count)
    if plain is None:
        words = "write how many, such as: per 1000, per 1M, per GiB, per minute"
        raise ValueError(f"{shown(count)} is not what an amount can be for; {words}")
    return Amounts(amount, _bounded(int(plain[1] or 1) * _FACTORS.get(plain[2] or plain[3] or "", 1), text))


def _bounded(count: int, text: str) -> int:
    if not 1 <= count <= COUNT_MAX:
        raise ValueError(f"{shown(text)} is for none, or for more than {COUNT_MAX}")
    return count


def call_name(text: str) -> str:
    """What MCP calls a tool or a method."""
    if not _CALL_NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is no name of a tool or method; it has letters, digits and _ - . /")
    return text


def method(text: str) -> str:
    """A method that has a price of its own."""
    if not _METHOD.fullmatch(text) or text in ("CONNECT", "TRACE"):
        raise ValueError(f"{shown(text)} is not a method that is served; write one in capital letters, such as POST")
    return text


def unit(text: str) -> str:
    """A unit that has a price: one of ours, or one of `fields`."""
    return forms.name(text)


def own_unit(text: str) -> str:
    """What a unit of one's own is called."""
    if text in UNITS:
        raise ValueError(f"{shown(text)} is counted without being told where; give yours another name")
    return forms.name(text)


def json_path(text: str) -> str:
    """`usage.total_tokens`: the members on the way to a number."""
    if not text or len(text) > PATH_CHARACTERS_MAX or not all(_MEMBER.fullmatch(part) for part in text.split(".")):
        raise ValueError(f"{shown(text)} is no path; write the names of members with dots between: usage.total_tokens")
    return text


def percent(text: str) -> int:
    """`50%`, or `free`."""
    if text == forms.FREE:
        return 0
    found = re.fullmatch(r"([0-9]{1,3}) ?%", text.strip())
    if not found or int(found[1]) > 100:
        raise ValueError(f"{shown(text)} is not a part; write free, or a whole percentage such as 50%")
    return int(found[1])


def statuses(text: str) -> frozenset[int]:
    """`2xx`, `404`."""
    if re.fullmatch(r"[2-5]xx", text):
        first = int(text[0]) * 100
        return frozenset(range(first, first + 100))
    if not re.fullmatch(r"[2-5][0-9][0-9]", text):
        raise ValueError(f"{shown(text)} is no status of an answer; write such as 2xx or 404")
    return frozenset((int(text),))
