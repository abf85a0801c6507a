"""What somebody may have meant."""

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean `x`?`, or nothing if nothing comes close."""
    by_small = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(word[:100].lower(), by_small, n=1, cutoff=0.6)
    return f"; did you mean `{by_small[close[0]]}`?" if close else ""
