"""What somebody may have meant."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], *, least: float = 0.6) -> str:
    """`; did you mean `x`?`, or nothing if nothing comes close: `least` of it is alike, from 0 to 1."""
    by_small = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(word[:100].lower(), by_small, n=1, cutoff=least)
    return f"; did you mean `{by_small[close[0]]}`?" if close else ""
