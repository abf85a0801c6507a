"""What may be shown of a text that somebody else wrote.

A configuration holds keys, and mistakes are printed to terminals, logs and support tickets. A value in a secret's
place is never shown at all. Here is the second net, for keys in wrong places: what has the form of a key, a password
in an address, or a long run of letters and digits that no setting of ours looks like.
"""

import re

MASK = "…"
SHOWN_CHARACTERS_MAX = 80

_PREFIXED = re.compile(r"(?i)((?:sk|rk|pk)_(?:live|test)_|whsec_|\bgh[opsu]_|\bxox[a-z]-|\bbearer\s+)[^\s\"',;\]}]+")
_USERINFO = re.compile(r"(://)[^/@\s]*(?=@)")
_QUERY = re.compile(r"([?&][\w.-]+=)[^\s\"'&,}]+")
_LONG_RUN = re.compile(r"()(?:(?=[A-Za-z_+=-]*\d)(?=[\d_+=-]*[A-Za-z])[\w+=-]{20,}|[A-Za-z+=]{28,})")
_BROKEN_RUN = re.compile(r"()(?:(?=[A-Za-z_+=/-]*\d)[\w+=/-]{8,}|[\w+=/-]{26,})")
_VARIABLE = re.compile(r"\$\{[A-Z][A-Z0-9_]*")
_VARIABLE_NAME = re.compile(r"[A-Z][A-Z0-9_]*")

Spans = list[tuple[int, int]]


def key_spans(text: str, *, broken: bool = False) -> Spans:
    """Where `text` looks like a key. `broken`: the text could not be parsed, so pieces of a key count as well."""
    patterns = [_PREFIXED, _USERINFO, _QUERY, _BROKEN_RUN if broken else _LONG_RUN]
    spans = [(found.end(1), found.end()) for pattern in patterns for found in pattern.finditer(text)]
    names = [found.span() for found in _VARIABLE.finditer(text)]
    return [span for span in spans if not any(name[0] <= span[0] and span[1] <= name[1] for name in names)]


def mask(text: str, spans: Spans) -> str:
    """`text` with every span replaced by one sign, whatever its length."""
    return masked_with_columns(text, spans)[0]


def masked_with_columns(text: str, spans: Spans) -> tuple[str, list[int]]:
    """The masked text, and for every index of the original (and its end) the index it has now."""
    starts = {start for start, _ in spans}
    hidden = {index for start, end in spans for index in range(start, min(end, len(text)))}
    shown: list[str] = []
    columns: list[int] = []
    for index, character in enumerate(text):
        columns.append(len(shown))
        if index not in hidden:
            shown.append(character if character.isprintable() else " " if character == "\t" else "�")
        elif index in starts and index - 1 not in hidden:
            shown.append(MASK)
    columns.append(len(shown))
    return "".join(shown), columns


def masked(text: str) -> str:
    return mask(text, key_spans(text))


def shown(value: object) -> str:
    """A foreign text in backticks, safe to print: masked, without control characters, not too long."""
    text = masked(
        str(value)[: 5 * SHOWN_CHARACTERS_MAX]
    )  # masked before it is cut: half a key no longer looks like one
    if len(text) > SHOWN_CHARACTERS_MAX:
        text = text[:SHOWN_CHARACTERS_MAX] + MASK
    return f"`{text}`"


def shown_name(name: str) -> str:
    """The name of a variable in backticks; names are long and may look like keys, but are not secret."""
    return f"`{name}`" if _VARIABLE_NAME.fullmatch(name) else shown(name)
