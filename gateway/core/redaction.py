"""What no log may hold, and how it is taken out of an event: by what a field is called, and by the shape of a text.

Nobody means to log a secret. It comes in with the message of somebody else's exception, the repr of a request, a
warning that quotes its argument. So every text of every event passes here, whoever wrote it: our tokens, Stripe's keys
and webhook secrets, signed tokens, private keys, whatever follows `Bearer` or stands as a password in an address,
e-mail addresses, and card numbers that pass their checksum. What is taken out leaves its kind behind.
"""

import re
from collections.abc import Mapping
from typing import Any

_DEPTH_MAX = 6
_SHAPES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("fb_", re.compile(r"fb_(?:test|live)_[0-9a-f]{4}[A-Za-z0-9_-]{24,}"), "[token]"),
    ("_", re.compile(r"\b(?:fb[a-z]|inv)_[A-Za-z0-9_-]{24,}"), "[token]"),
    ("_secret_", re.compile(r"\b[a-z]{2,6}_[A-Za-z0-9]+_secret_[A-Za-z0-9]+"), "[client secret]"),
    ("_", re.compile(r"\b(?:sk|rk|pk)_(?:test|live)_[A-Za-z0-9_]{8,}"), "[stripe key]"),
    ("whsec_", re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]{8,}"), "[webhook secret]"),
    ("eyJ", re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)*"), "[jwt]"),
    ("PRIVATE KEY", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S),
     "[private key]"),
    ("://", re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"), "[password]"),
    ("", re.compile(r"(?i)\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 [credential]"),
    ("", re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]+(?:@|%40)[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"), "[e-mail]"),
)  # fmt: skip
_CARD = re.compile(r"(?<![\w.-])[0-9](?:[ -]?[0-9]){12,18}(?![\w-])")
_SUSPICIOUS = re.compile(r"@|%40|fb[a-z]?_|inv_|_secret_|eyJ|k_[tl]|whsec_|[0-9]{4}[ -]?[0-9]{4}")
"""What a text has that is worth a closer look: far cheaper than to look closely at each."""
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_NAMES = re.compile(
    r"(?i)(?:^|[_.-])(?:authorization|cookies?|set-cookie|password|passwd|secrets?|pepper|api_?key|secret_?key|"
    r"private_?key|sealing_?keys?|(?:access|refresh|id|operator)_?token|token|credential|signature|e-?mail|card|cvc|"
    r"body|payload|query)$"
)
REDACTED = "[redacted]"


def redacted(text: str) -> str:
    """The text without whatever has the shape of a secret or of what is personal."""
    for sign, shape, kind in _SHAPES:
        if sign in text:
            text = shape.sub(kind, text)
    return _CARD.sub(_card, text)


def path_of(target: str) -> str:
    """The path of a request's target as it may be logged: without host, query, and whatever is secret or personal."""
    path = target.partition("?")[0]
    if path[:1] != "/" and (found := _AUTHORITY.match(path)) is not None:
        path = path[found.end() :] or "/"
    return redacted(path) if _SUSPICIOUS.search(path) else path


def clean(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An event's fields as they may be logged. Texts in lists and mappings are looked at, too."""
    return {name: REDACTED if _is_secret(name, value) else _clean(value) for name, value in fields.items()}


def _is_secret(name: str, value: object) -> bool:
    """A number, a yes or no and a nothing give no secret away."""
    return not isinstance(value, int | float | None) and _NAMES.search(name) is not None


def _clean(value: Any, depth: int = 0) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redacted(value)
    if depth >= _DEPTH_MAX:
        return REDACTED
    if isinstance(value, Mapping):
        return {
            redacted(str(name)): REDACTED if _is_secret(str(name), one) else _clean(one, depth + 1)
            for name, one in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(one, depth + 1) for one in value]
    return redacted(str(value))


def _card(found: re.Match[str]) -> str:
    digits = [int(character) for character in found[0] if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return found[0] if (sum(doubled) + sum(digits[-1::-2])) % 10 else "[card number]"
