"""A token in the query of a target: found, and taken out before anybody else sees it.

Addresses are logged, kept and passed on everywhere, so a token in one is refused, unless its route says under which
name it may stand there. Then it is read, and all else of the target stays as it is, byte for byte.
"""

import re

from gateway.core.refusals import TokenInQuery
from gateway.core.tokens import holds_ours

_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")


def taken(target: str, name: str) -> tuple[str, str]:
    """The token, or nothing, and the target without it. Raises TokenInQuery if there are several."""
    path, mark, query = target.partition("?")
    if not mark:
        return "", target
    values, rest = [], []
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if _decoded(key) == name:
            values.append(_decoded(value))
        else:
            rest.append(part)
    if len(values) > 1:
        raise TokenInQuery()
    if not values:
        return "", target
    return values[0], f"{path}?{'&'.join(rest)}" if rest else path


def refuse(target: str) -> None:
    """Raises TokenInQuery if something of the shape of our tokens stands in a target, genuine or not."""
    if holds_ours(target) or ("%" in target and holds_ours(_decoded(target))):
        raise TokenInQuery()


def _decoded(text: str) -> str:
    """As a form is read. Our tokens, and names that a setting may have, are ASCII."""
    return _ESCAPE.sub(lambda escape: chr(int(escape[1], 16)), text.replace("+", " "))
