"""One YAML document -> a tree with places, or mistakes.

Not `yaml.safe_load`, for four reasons. It lets the second of two equal keys win without a word. It forgets where a
value stood. It guesses: `no` becomes false, `12:30` becomes 750 and `010` becomes 8, so whoever meant text is served
something else; here such a scalar is a mistake that says what to write. And it follows aliases without a bound, so
that a file of one screen can fill the memory; here every alias counts as much as what it repeats.

Tags (`!!python/…`, `!include`) are refused, whatever they name: nothing in this file is ever constructed.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import yaml

from gateway.settings.mistakes import Report
from gateway.settings.nodes import Node, Path, Place, Scalar
from gateway.settings.source import Source, Span

BYTES_MAX = 2**20
DEPTH_MAX = 32
NODES_MAX = 100_000

_MONEY = ("price", "top_up", "base", "minimum", "maximum")
_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)? ?[A-Za-z]{3}")
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_FRACTION = re.compile(r"-?[0-9]+\.[0-9]+")
_QUOTED = re.compile(r"'([^']*)'")
_VARIABLE = re.compile(r"\$\{[A-Z][A-Z0-9_]*\}")
_TRUTHS = {"true": True, "false": False}
_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"
_READS_AS = {
    "bool": "a truth value",
    "int": "a number in another notation",
    "float": "a number in another notation",
    "timestamp": "a date",
}


class Unreadable(Exception):
    """The text is not one YAML document within bounds. `place` is where reading stopped."""

    def __init__(self, place: Place, words: str) -> None:
        super().__init__(words)
        self.place = place
        self.words = words


def compose(text: str, place: Place, report: Report, source: Source | None = None) -> Node:
    """The tree of `text`. Small mistakes go to the report; raises Unreadable for those that end the reading.

    Without a `source`, all of it stands at `place`: the text of a variable has no lines worth naming.
    """
    try:
        return _Composer(text, place, report, source).document()
    except yaml.MarkedYAMLError as wrong:
        raise _unreadable(wrong, place, source) from None
    except yaml.reader.ReaderError as wrong:
        before = text[: wrong.position]
        line = len(Source.of("", before).lines)
        column = wrong.position - max(before.rfind(sign) for sign in "\n\r\x85\u2028\u2029")
        where = Place(place.label, line, column) if source else place
        raise Unreadable(where, "a control character stands here, which YAML does not allow") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise Unreadable(place, "this is not YAML") from None


def _unreadable(wrong: yaml.MarkedYAMLError, place: Place, source: Source | None) -> Unreadable:
    problem = str(wrong.problem or wrong.context or "it cannot be parsed")
    mark = wrong.problem_mark or wrong.context_mark
    if "end of stream" in problem and wrong.context_mark is not None:
        mark, problem = wrong.context_mark, f"{wrong.context or ''}, {problem}"
    if "'\\t'" in problem or "'\t'" in problem:
        problem = "a tab stands here; YAML is indented with spaces"
    words = "not YAML: " + _QUOTED.sub(_token_only, problem).replace("\n", " ")
    if mark is None or source is None:
        return Unreadable(place, words)
    line = min(mark.line, len(source.lines) - 1)
    if (variable := _VARIABLE.match(source.lines[line], max(mark.column - 1, 0))) is not None:
        words = f'not YAML: within {{…}} and […] a variable is written quoted: "{variable[0]}"'
    column = mark.column if line == mark.line else len(source.lines[line])
    return Unreadable(Place(place.label, line + 1, column + 1), words)


def _token_only(quoted: re.Match[str]) -> str:
    """What the parser quotes, if it is a sign of YAML's own and not a piece of the file."""
    return quoted[0] if len(quoted[1]) <= 2 or quoted[1].startswith("<") else "…"


class _Composed(NamedTuple):
    node: Node
    size: int


class _Composer:
    """From the events of PyYAML's parser, which is iterative, to nodes, within bounds."""

    def __init__(self, text: str, place: Place, report: Report, source: Source | None) -> None:
        self._events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self._resolver = yaml.resolver.Resolver()
        self._place = place
        self._report = report
        self._source = source
        self._anchors: dict[str, _Composed] = {}
        self._nodes = 0

    def document(self) -> Node:
        next(self._events)  # the stream begins
        first = next(self._events)
        if isinstance(first, yaml.StreamEndEvent):
            return Node(self._at(first), {})
        root = self._node(next(self._events), (), 0).node
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise Unreadable(self._at(after), "a second document begins here; there can be only one")
        return replace(root, value={}) if root.value is None else root

    def _node(self, event: Any, path: Path, depth: int) -> _Composed:
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event)
        if depth > DEPTH_MAX:
            raise Unreadable(self._at(event), f"nested more than {DEPTH_MAX} deep")
        self._count(event, 1)
        if event.tag is not None:
            self._report.add_at(self._at(event), path, "tags (`!…`) are not used here; if text is meant, quote it")
        before = self._nodes
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, path, depth)
        else:
            node = self._mapping(event, path, depth)
        composed = _Composed(node, self._nodes - before + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = composed
        return composed

    def _repeated(self, event: Any) -> _Composed:
        known = self._anchors.get(event.anchor)
        if known is None:
            raise Unreadable(self._at(event), "this alias (`*…`) has no anchor (`&…`) above it; if text, quote it")
        self._count(event, known.size)
        return known

    def _count(self, event: Any, nodes: int) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            raise Unreadable(self._at(event), f"this makes more than {NODES_MAX} values, aliases included")

    def _sequence(self, event: Any, path: Path, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(below := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(below, (*path, len(items)), depth + 1).node)
        return Node(self._at(event), tuple(items))

    def _mapping(self, event: Any, path: Path, depth: int) -> Node:
        entries: dict[str, Node] = {}
        merged: list[Node] = []
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise Unreadable(self._at(key), "a key must be a plain word")
            name, at = key.value, self._at(key)
            node = replace(self._node(next(self._events), (*path, name), depth + 1).node, key=at)
            if name == _MERGE and key.style is None:
                merged.append(node)
                continue
            if name in entries:
                first = entries[name].key
                line = f" in line {first.line}" if first and first.line else ""
                self._report.add_at(at, (*path, name), f"this key is given twice, first{line or ' above'}")
                continue
            if key.style is None and (trap := self._trap(name)):
                self._report.add_at(at, (*path, name), trap)
            entries[name] = node
        return Node(self._at(event), self._with_merged(entries, merged, path))

    def _with_merged(self, entries: dict[str, Node], merged: list[Node], path: Path) -> dict[str, Node]:
        """`<<: *anchor` lends entries that are not given here."""
        for node in merged:
            for lender in node.value if isinstance(node.value, tuple) else (node,):
                if not isinstance(lender.value, dict):
                    self._report.add_at(node.place, path, "`<<` must be followed by the alias of a mapping")
                    continue
                entries = {**lender.value, **entries}
        return entries

    def _scalar(self, event: Any, path: Path) -> Node:
        text = event.value
        place = self._at(event)
        if self._source:
            start, end = event.start_mark, event.end_mark
            self._source.add(Span(path, (start.line, start.column), (end.line, end.column)))
        if event.style is not None or event.tag is not None:
            return Node(place, text, raw=text)
        if trap := self._unquoted_money(text, path) or self._trap(text):
            self._report.add_at(place, path, trap)
            return Node(place, text, raw=text)
        return Node(place, self._value(text), raw=text)

    def _value(self, text: str) -> Scalar:
        """What a plain scalar says. Traps are out of the way, so only plain notations are left."""
        tag = self._tag(text)
        if tag == "null":
            return None
        if tag == "bool":
            return _TRUTHS[text]
        if _WHOLE.fullmatch(text):
            return int(text)
        return float(text) if _FRACTION.fullmatch(text) else text

    def _unquoted_money(self, text: str, path: Path) -> str:
        """YAML takes `0.002 usd` for a text and `0.002` for a number; a habit of quotes tells them apart in time."""
        if path and path[-1] in _MONEY and _AMOUNT.fullmatch(text):
            return f'money is written quoted: "{text}"'
        return ""

    def _trap(self, text: str) -> str:
        """What is wrong with a plain scalar that YAML reads as something its writer may not have meant, or nothing."""
        tag = self._tag(text)
        if tag not in _READS_AS or text in _TRUTHS or _WHOLE.fullmatch(text) or _FRACTION.fullmatch(text):
            return ""
        plainer = "true or false" if tag == "bool" else "it plainly"
        return f"YAML reads this as {_READS_AS[tag]}; if text is meant, quote it, else write {plainer}"

    def _tag(self, text: str) -> str:
        tag = self._resolver.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
        return str(tag).removeprefix(_TAG)

    def _at(self, event: Any) -> Place:
        if self._source is None:
            return self._place
        start, end = event.start_mark, event.end_mark
        single_line = isinstance(event, yaml.ScalarEvent) and start.line == end.line
        width = end.column - start.column if single_line else 1
        line = min(start.line, len(self._source.lines) - 1)
        return Place(self._place.label, line + 1, start.column + 1, max(width, 1))
