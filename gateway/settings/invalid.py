"""What is wrong with a configuration, as whoever asked for it is told."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to mend: where it stands, which setting it concerns, and what is wrong, free of secrets."""

    where: str
    path: str
    words: str
    excerpt: str = ""

    def __str__(self) -> str:
        head = ": ".join(part for part in (self.where, self.path, self.words) if part)
        return f"{head}\n{self.excerpt}" if self.excerpt else head


class SettingsInvalid(Exception):
    """The configuration cannot be used. `mistakes` are all of them, in the order of the file, but for `more` others."""

    def __init__(self, mistakes: Iterable[Mistake], more: int = 0) -> None:
        self.mistakes = tuple(mistakes)
        self.more = more
        super().__init__(self.mistakes, more)

    def __str__(self) -> str:
        count = len(self.mistakes) + self.more
        summary = f"{count} mistake{'' if count == 1 else 's'} in the settings"
        summary += f", {len(self.mistakes)} of them shown" if self.more else ""
        return "\n".join([*map(str, self.mistakes), summary])
