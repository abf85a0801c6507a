"""The configuration as far as it is right, for the rules that compare settings with one another.

Such rules must run even if some settings are wrong, or an operator would be told half of the mistakes. So they read
through this: what is missing has its default, and what a mistake was found in reads as None, which every rule passes
over in silence.
"""

from collections.abc import Callable, Iterator
from pathlib import Path as File
from typing import TypeVar

from gateway.settings import catalogue, forms
from gateway.settings.catalogue import Pattern
from gateway.settings.mistakes import Report
from gateway.settings.nodes import Node, Path, find
from gateway.settings.own_routes import Owned

T = TypeVar("T")


class Draft:
    """`base` is the folder that relative paths start at, `owned` what owners have written themselves."""

    def __init__(self, root: Node, report: Report, base: File, owned: Owned | None = None) -> None:
        self._root = root
        self.report = report
        self.base = base
        self.owned = owned or Owned()

    def read(self, form: Callable[[str], T], *path: str | int) -> T | None:
        """A setting in its form; None if there is none or it is mistaken."""
        text = self.text(*path)
        if text is None:
            return None
        try:
            return form(text)
        except ValueError:
            return None

    def text(self, *path: str | int) -> str | None:
        """The text of a setting, or its default's."""
        if self.report.is_bad(path):
            return None
        node = find(self._root, path)
        value = node.value if node is not None else catalogue.default_at(path)
        return str(value) if isinstance(value, str) else None

    def number(self, *path: str | int) -> int | None:
        """A whole number; None if it is not given or mistaken."""
        node = find(self._root, path)
        if node is None or self.report.is_bad(path) or isinstance(node.value, bool):
            return None
        return int(node.value) if isinstance(node.value, int | str) and str(node.value).isdecimal() else None

    def truth(self, *path: str | int) -> bool:
        """Whether a setting is true; not if it is mistaken."""
        node = find(self._root, path)
        return node is not None and node.value in (True, "true") and not self.report.is_bad(path)

    def given(self, *path: str | int) -> bool:
        return find(self._root, path) is not None

    def is_mapping(self, *path: str | int) -> bool:
        node = find(self._root, path)
        return node is not None and isinstance(node.value, dict)

    def names(self, *path: str | int) -> list[str]:
        """The keys of a mapping."""
        node = find(self._root, path)
        return list(node.value) if node is not None and isinstance(node.value, dict) else []

    def numbers(self, *path: str | int) -> range:
        """The indices of a list."""
        node = find(self._root, path)
        return range(len(node.value)) if node is not None and isinstance(node.value, tuple) else range(0)

    def prices(self, route: int) -> list[Path]:
        """Where the prices of a route stand, each of those that go by steps."""
        return [
            step
            for path in self.whole_prices(route)
            for step in ([(*path, "steps", one, "price") for one in self.numbers(*path, "steps")] or [path])
        ]

    def whole_prices(self, route: int) -> list[Path]:
        """The same with their steps: for all methods and for single ones, for everybody and by plan."""
        places: list[Path] = [("routes", route)]
        places += [("routes", route, "plans", plan) for plan in self.names("routes", route, "plans")]
        found: list[Path] = []
        for place in places:
            if len(place) == 2 or self.given(*place, "price"):
                found.append((*place, "price"))
            found += [(*place, "methods", method) for method in self.names(*place, "methods")]
        for kind in ("tools", "methods"):
            found += [("routes", route, "mcp", kind, name) for name in self.names("routes", route, "mcp", kind)]
        return found

    def paths(self, pattern: Pattern) -> Iterator[Path]:
        """Every path in the tree that falls under a pattern of the catalogue."""
        found: list[Path] = [()]
        for part in pattern:
            if part == catalogue.NAME:
                nodes = [(path, find(self._root, path)) for path in found]
                found = [(*path, below) for path, node in nodes if node for below, _ in node.children()]
            else:
                found = [(*path, part) for path in found]
        return (path for path in found if self.given(*path))

    def secrets(self) -> Iterator[tuple[Path, str]]:
        """Every secret that is given, right or wrong."""
        for setting in catalogue.secrets():
            for path in self.paths((*setting.path, catalogue.NAME) if setting.many else setting.path):
                node = find(self._root, path)
                if node is not None and isinstance(node.value, str):
                    yield path, str(node.value)

    def public_is_plain(self) -> bool:
        """Whether callers come by http://, as far as is known."""
        public_url = self.read(forms.origin, "public_url")
        if public_url is not None:
            return public_url.scheme == "http"
        return not self.given("public_url") and not self.given("tls")
