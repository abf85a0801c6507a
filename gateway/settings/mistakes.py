"""How a mistake is printed, and the report that gathers them all before anybody is told.

    config/gateway.yaml:14:42: routes[0].price: write it quoted, with a currency: "0.002 usd"
      - {name: weather, match: /weather/, price: 0.002}
                                                 ^^^^^

An operator who is told of one mistake at a time starts the gateway five times. Secrets are kept out in three ways:
by place (every value that stands where a secret belongs, or where no setting is known, is masked in the quoted line),
by look (`masking`), and at last by value: what was read as a secret is cut from every finished line.
"""

import unicodedata
from dataclasses import dataclass, field

from gateway.settings import catalogue, masking
from gateway.settings.invalid import Mistake, SettingsInvalid
from gateway.settings.nodes import Node, Path, Place, nearest, spelled
from gateway.settings.source import Source

LINE_CHARACTERS_MAX = 120
PATH_CHARACTERS_MAX = 200
MISTAKES_MAX = 200
"""More than these are only counted: whoever gave us the wrong file is not helped by a hundred thousand lines."""
_LITERAL_CHARACTERS_MIN = 6


@dataclass(slots=True)
class Report:
    """Gathers mistakes. `root` is the tree they are looked up in; `secrets` are texts never to be printed."""

    root: Node
    source: Source | None = None
    secrets: set[str] = field(default_factory=set)
    broken: bool = False
    """Whether the file could not be read to its end, so that nobody knows where its secrets stand."""
    others: dict[str, Source] = field(default_factory=dict)
    """The texts of further files, by their labels."""
    _found: dict[tuple[Place, Path, str], None] = field(default_factory=dict)
    _bad: set[Path] = field(default_factory=set)
    _more: int = 0

    @property
    def clean(self) -> bool:
        return not self._found

    def add(self, path: Path, words: str, *, at_key: bool = False) -> None:
        """A mistake at the value of a path; at its key; or at what surrounds it, if it is not there."""
        node = nearest(self.root, path)
        self.add_at(node.key if at_key and node.key else node.place, path, words)

    def add_at(self, place: Place, path: Path, words: str) -> None:
        self._bad.add(path)
        if len(self._found) >= MISTAKES_MAX:
            self._more += 1
            return
        self._found.setdefault((place, path, words))

    def excuse(self, path: Path) -> None:
        """Nothing further need be said about it: a mistake elsewhere may be why it is as it is."""
        self._bad.add(path)

    def is_bad(self, path: Path) -> bool:
        """Whether a mistake was found here or above, so that nothing further need be said about it."""
        return any(path[:length] in self._bad for length in range(1, len(path) + 1))

    def mistakes(self) -> list[Mistake]:
        label = self.source.label if self.source else ""
        ordered = sorted(self._found, key=lambda found: _in_file_order(found[0], label))
        return [
            Mistake(
                str(place),
                self._without_secrets(masking.masked(spelled(path)[:PATH_CHARACTERS_MAX])),
                self._without_secrets(words),
                self._without_secrets(self._excerpt(place)),
            )
            for place, path, words in ordered
        ]

    def raise_if_any(self) -> None:
        if not self.clean:
            raise SettingsInvalid(self.mistakes(), self._more)

    def _excerpt(self, place: Place) -> str:
        quoted = self.source if self.source and place.label == self.source.label else self.others.get(place.label)
        if quoted is None or (self.broken and quoted is not self.source):
            return ""
        return _excerpt(quoted, place, self.broken)

    def _without_secrets(self, text: str) -> str:
        for secret in sorted(self.secrets, key=len, reverse=True):
            if len(secret) >= _LITERAL_CHARACTERS_MIN:
                text = text.replace(secret, masking.MASK)
        return text


def _in_file_order(place: Place, label: str) -> tuple[bool, str, int, int]:
    return place.label != label, place.label, place.line, place.column


def _excerpt(source: Source, place: Place, broken: bool) -> str:
    """The line in question and a caret under it, with everything masked that might be a secret."""
    if not 1 <= place.line <= len(source.lines):
        return ""
    if broken and source.may_hold_secrets(place.line):
        return "  (the line is not shown: it may hold a secret)"
    line = source.lines[place.line - 1]
    cut = max(0, place.column - 8 * LINE_CHARACTERS_MAX)
    line = line[cut : cut + 16 * LINE_CHARACTERS_MAX]
    hidden = source.hidden_spans(place.line, cut, cut + len(line), catalogue.is_public)
    spans = [(max(start - cut, 0), end - cut) for start, end in hidden]
    text, columns = masking.masked_with_columns(line, spans + masking.key_spans(line, broken=broken))
    start = columns[min(place.column - 1 - cut, len(line))]
    end = columns[min(place.column - 1 - cut + place.width, len(line))]
    return _with_caret(text, start, max(end, start + 1))


def _with_caret(text: str, start: int, end: int) -> str:
    cut = max(0, start - LINE_CHARACTERS_MAX // 2)
    if len(text) <= LINE_CHARACTERS_MAX:
        cut = min(len(text) - len(text.lstrip()), start)
    text, start, end = text[cut : cut + LINE_CHARACTERS_MAX].replace("\t", " "), start - cut, end - cut
    end = max(min(end, len(text)), start + 1)
    return f"  {text.rstrip()}\n  {' ' * _cells(text[:start])}{'^' * max(1, _cells(text[start:end]))}"


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
