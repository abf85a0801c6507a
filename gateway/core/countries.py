"""From where payments are taken."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CountryRule:
    """Which countries may pay, by their two letters. With `allow`, no others; `unknown` is where that is not known."""

    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()
    unknown: bool = True

    def admits(self, country: str | None) -> bool:
        if country is None:
            return self.unknown
        return country not in self.deny and (not self.allow or country in self.allow)
