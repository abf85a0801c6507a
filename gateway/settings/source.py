"""The text of the configuration file, kept to quote from it."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.settings.masking import Spans
from gateway.settings.nodes import Path

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # as the YAML scanner counts lines
_TOP_LEVEL_KEY = re.compile(r"[^\s#\-\]}][^:]*:")
_SECRET_WORDS = re.compile(r"(?i)secret|_key|pepper|stripe|passw|whsec|(?:operator|auditor)_token|credential|_headers")
_REFERENCE = re.compile(r"""["']?\$\{[A-Z][A-Z0-9_]*\}["']?""")


@dataclass(frozen=True, slots=True)
class Span:
    """A scalar as it stands in the file: its path, and its extent in lines and columns from 0."""

    path: Path
    start: tuple[int, int]
    end: tuple[int, int]


@dataclass(slots=True)
class Source:
    label: str
    lines: Sequence[str]
    setting: Callable[[Path], Path] = lambda path: path
    """Where in the configuration a path of this file is, if it is laid in there."""
    _scalars: dict[int, list[Span]] = field(default_factory=dict)

    def add(self, span: Span) -> None:
        for number in range(span.start[0], span.end[0] + 1):
            self._scalars.setdefault(number, []).append(span)

    @classmethod
    def of(cls, label: str, text: str, setting: Callable[[Path], Path] = lambda path: path) -> "Source":
        return cls(label, _BREAK.split(text), setting)

    def hidden_spans(self, line: int, left: int, right: int, is_public: Callable[[Path], bool]) -> Spans:
        """Which parts of a line (from 1) between two columns are secret values, or values of no known setting."""
        number = line - 1
        text = self.lines[number]
        hidden = []
        for span in self._scalars.get(number, ()):
            start = span.start[1] if span.start[0] == number else 0
            end = span.end[1] if span.end[0] == number else len(text)
            if start > right or end <= left or is_public(self.setting(span.path)):
                continue
            if not _REFERENCE.fullmatch(text[start:end].strip()):
                hidden.append((start, end))
        return hidden

    def may_hold_secrets(self, line: int) -> bool:
        """For a line that could not be parsed: whether its section, up to this line, speaks of secrets."""
        section = []
        for text in reversed(self.lines[:line]):
            section.append(text)
            if _TOP_LEVEL_KEY.match(text):
                break
        return any(_SECRET_WORDS.search(text) for text in section)
