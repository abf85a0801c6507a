"""The configuration as far as it is right, for the rules that compare settings with one another.

Such rules must run even if some settings are wrong, or an operator would be told half of the mistakes. So they read
through this: what is missing has its default, and what a mistake was found in reads as None, which every rule passes
over in silence.
"""

from collections.abc import Callable, Iterator
from typing import TypeVar

from gateway.settings import catalogue
from gateway.settings.mistakes import Report
from gateway.settings.nodes import Node, Path, find

T = TypeVar("T")


class Draft:
    def __init__(self, root: Node, report: Report) -> None:
        self._root = root
        self.report = report

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

    def given(self, *path: str | int) -> bool:
        return find(self._root, path) is not None

    def names(self, *path: str | int) -> list[str]:
        """The keys of a mapping."""
        node = find(self._root, path)
        return list(node.value) if node is not None and isinstance(node.value, dict) else []

    def numbers(self, *path: str | int) -> range:
        """The indices of a list."""
        node = find(self._root, path)
        return range(len(node.value)) if node is not None and isinstance(node.value, tuple) else range(0)

    def secrets(self) -> Iterator[tuple[Path, str]]:
        """Every secret that is given, right or wrong."""
        for setting in catalogue.secrets():
            items: list[Path] = [(*setting.path, number) for number in self.numbers(*setting.path)]
            for path in items if setting.many else [setting.path]:
                node = find(self._root, path)
                if node is not None and isinstance(node.value, str):
                    yield path, str(node.value)
