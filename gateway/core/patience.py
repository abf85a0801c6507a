"""How long to wait after something failed: each time twice as long, up to a bound."""


def doubled_ms(tries: int, *, first_ms: int, longest_ms: int) -> int:
    """After so many tries."""
    return min(longest_ms, first_ms << min(tries, 20))
