"""The configuration as a tree in which every value remembers where it was written.

The file, the environment and a plain mapping all become the same tree, so that whatever is found wrong later can be
shown where an operator can change it. Nodes are never edited: an alias may put one node in two places, and a change
to one must not reach the other. `put` copies the way down to the change and shares the rest.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

Path = tuple[str | int, ...]
Scalar = str | int | float | bool | None


class EnvironmentText(str):
    """Text from the environment, where all is text: `"256"` may stand for the number and `"true"` for true."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written. Line and column count from 1; line 0 means that there is no line to show."""

    label: str
    line: int = 0
    column: int = 0
    width: int = 1

    def __str__(self) -> str:
        return f"{self.label}:{self.line}:{self.column}" if self.line else self.label


@dataclass(frozen=True, slots=True)
class Node:
    """A value and its place; `key` is the place of its key in a mapping, `raw` a scalar as it was spelt."""

    place: Place
    value: "Scalar | tuple[Node, ...] | dict[str, Node]"
    key: Place | None = None
    raw: str = ""

    def child(self, part: str | int) -> "Node | None":
        if isinstance(self.value, dict):
            return self.value.get(str(part))
        if isinstance(self.value, tuple) and isinstance(part, int) and part < len(self.value):
            return self.value[part]
        return None

    def children(self) -> Iterator[tuple[str | int, "Node"]]:
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, tuple):
            yield from enumerate(self.value)


def find(root: Node, path: Path) -> Node | None:
    node: Node | None = root
    for part in path:
        node = node.child(part) if node else None
    return node


def nearest(root: Node, path: Path) -> Node:
    """The node at `path`, or the deepest one above it that exists: the place to add what is missing."""
    node = root
    for part in path:
        below = node.child(part)
        if below is None:
            return node
        node = below
    return node


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every node with its path, parents first."""
    yield path, node
    for part, below in node.children():
        yield from walk(below, (*path, part))


def put(root: Node, path: Path, new: Node) -> Node:
    """A tree with `new` at `path`. What stands in the way and can hold nothing is left for the shape to refuse."""
    if not path:
        return replace(new, key=root.key)
    part, *rest = path
    below = root.child(part) or Node(new.place, {}, new.key)
    changed = put(below, tuple(rest), new)
    if root.value is None:
        return replace(root, value={str(part): changed}, place=new.place)
    if isinstance(root.value, dict):
        return replace(root, value={**root.value, str(part): changed})
    if isinstance(root.value, tuple) and isinstance(part, int):
        items = list(root.value)
        items[part : part + 1] = [changed]
        return replace(root, value=tuple(items))
    return root


def plain(node: Node) -> object:
    """The tree as dicts, lists and scalars, without places."""
    if isinstance(node.value, dict):
        return {key: plain(below) for key, below in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(below) for below in node.value]
    return node.value


def from_plain(value: object, place: Place) -> Node:
    """A tree in which everything stands in one place."""
    if isinstance(value, Mapping):
        return Node(place, {str(key): from_plain(below, place) for key, below in value.items()}, place)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return Node(place, tuple(from_plain(below, place) for below in value), place)
    known = value if isinstance(value, str | int | float | bool | None) else str(value)
    return Node(place, known, place, str(value))


def spelled(path: Path) -> str:
    """`("routes", 0, "price")` -> `routes[0].price`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
