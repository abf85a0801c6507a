"""What owners write of their own routes: a file for each, laid into the tree before it is checked.

    upstreams:
      anna-api: {url: "https://api.anna.example"}
    routes:
      - {name: anna-forecast, match: /anna/forecast/, upstream: anna-api, price: "0.002 usd"}

An owner is not the operator, so a file of theirs holds less than the configuration: what `ROUTE_PARTS` and
`UPSTREAM_PARTS` name, and nothing of the environment (`${NAME}` is only a text here) or of other files. Names of theirs
begin with their own, so that they take nobody else's. What is then left of a route is held against the operator's
bounds in `own_route_rules`, and against everything that holds for a route of the operator's. Each value keeps its place
in its own file, so whatever is found wrong with it is shown there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as File

from gateway.settings import catalogue
from gateway.settings.masking import shown
from gateway.settings.mistakes import Report
from gateway.settings.nodes import Node, Path, Place, find, put
from gateway.settings.price_lists import Other
from gateway.settings.suggestions import did_you_mean

FOLDER = ("routes_folder",)
SUFFIX = ".yaml"
ROUTE_PARTS = (
    "name", "match", "upstream", "price", "methods", "mcp", "charge_when", "strip_prefix", "rewrite", "limit",
    "concurrency", "unpaid", "listed",
)  # fmt: skip
UPSTREAM_PARTS = (
    "url", "servers", "connect_timeout", "first_byte_timeout", "idle_timeout", "total_timeout", "keep_alive",
    "retries", "health_check",
)  # fmt: skip
_SECTIONS = ("upstreams", "routes")


@dataclass(frozen=True, slots=True)
class Owned:
    """Which routes, by their numbers, and which upstreams owners have written themselves; whose each is."""

    routes: dict[int, str] = field(default_factory=dict)
    upstreams: dict[str, str] = field(default_factory=dict)


Read = Callable[[File, Other, str | None], Node | None]
"""The tree of a file, or of a text instead. None, and a mistake is told, if it cannot be read."""


def file_of(folder: File, owner: str) -> File:
    """Where an owner's routes are."""
    return folder / f"{owner}{SUFFIX}"


def laid_in(root: Node, report: Report, base: File, instead: Mapping[str, str], read: Read) -> tuple[Node, Owned]:
    """The tree with the routes of all owners who may have some, and what is theirs of it."""
    report.root = root
    owned, folder = Owned(), find(root, FOLDER)
    named = folder.value if folder is not None else catalogue.default_at(FOLDER)
    if not isinstance(named, str):
        return root, owned
    may = list(_owners(root))
    for owner in may:
        file = file_of(base / named, owner)
        text = instead.get(owner)
        if text is None and not file.is_file():
            continue
        others = [other for other in may if other.startswith(f"{owner}-")]
        root = _OwnersFile(owner, file, owned, report, others).laid_in(root, text, read)
        report.root = root
    for file in sorted((base / named).glob(f"*{SUFFIX}")) if (base / named).is_dir() else ():
        if file.stem not in may:
            words = f"`owners.{file.stem[:64]}.routes` does not allow this file; take it away, or allow it"
            report.add_at(Place(str(file)), FOLDER, words)
    return root, owned


def _owners(root: Node) -> Iterator[str]:
    """Those who may have routes of their own."""
    owners = find(root, ("owners",))
    for name, _ in owners.children() if owners is not None else ():
        if find(root, ("owners", name, "routes")) is not None:
            yield str(name)


class _OwnersFile:
    """One owner's file, on its way into the tree."""

    def __init__(self, owner: str, file: File, owned: Owned, report: Report, others: Sequence[str] = ()) -> None:
        """`others` are owners whose names begin as this one's do: what begins with theirs is theirs."""
        self._others = others
        self._owner = owner
        self._file = file
        self._owned = owned
        self._report = report

    def laid_in(self, root: Node, text: str | None, read: Read) -> Node:
        held = find(root, ("routes",))
        before = len(held.value) if held is not None and isinstance(held.value, tuple) else 0

        def setting(path: Path) -> Path:
            """Where in the configuration a path of this file is."""
            if len(path) > 1 and path[0] == "routes" and isinstance(path[1], int):
                return ("routes", before + path[1], *path[2:])
            return path if path[:1] == ("upstreams",) else ()

        node = read(self._file, Other(str(self._file), setting), text)
        if node is None:
            return root
        if not isinstance(node.value, dict):
            self._report.add_at(node.place, FOLDER, "this file must hold `upstreams` and `routes`")
            return root
        for name, part in node.value.items():
            if name not in _SECTIONS:
                words = f"there is no setting {shown(name)} here; there is: {', '.join(_SECTIONS)}"
                self._report.add_at(part.key or part.place, FOLDER, words)
        root = self._upstreams(root, node.value.get("upstreams"))
        return self._routes(root, node.value.get("routes"), node.place)

    def _upstreams(self, root: Node, given: Node | None) -> Node:
        if given is None:
            return root
        if not isinstance(given.value, dict):
            self._report.add_at(given.place, FOLDER, "expected here are upstreams, each as `name: {url: …}`")
            return root
        for name, node in given.value.items():
            path = ("upstreams", name)
            if not self._is_theirs(name):
                self._report.add_at(node.key or node.place, path, self._not_theirs())
            elif find(root, path) is not None:
                self._report.add_at(node.key or node.place, path, "there is an upstream of this name already")
            else:
                root = put(root, path, self._with_only(node, path, UPSTREAM_PARTS))
                self._owned.upstreams[name] = self._owner
        return root

    def _routes(self, root: Node, given: Node | None, place: Place) -> Node:
        if given is None:
            return root
        if not isinstance(given.value, tuple):
            self._report.add_at(given.place, FOLDER, "expected here is a list of routes, each after `-`")
            return root
        held = find(root, ("routes",))
        if held is not None and not isinstance(held.value, tuple):
            return root
        routes: tuple[Node, ...] = held.value if held is not None and isinstance(held.value, tuple) else ()
        for node in given.value:
            path = ("routes", len(routes))
            node = self._with_only(node, path, ROUTE_PARTS)
            name = node.child("name")
            if name is not None and not self._is_theirs(str(name.value)):
                self._report.add_at(name.place, (*path, "name"), self._not_theirs())
                node = _without(node, ["name"])
            self._owned.routes[len(routes)] = self._owner
            routes = (*routes, put(node, ("owner",), Node(node.place, self._owner, node.place, self._owner)))
        return put(root, ("routes",), Node(held.place if held is not None else place, routes, place))

    def _with_only(self, node: Node, path: Path, parts: tuple[str, ...]) -> Node:
        """With what an owner may say, and nothing else: the rest is told, and what is wrong with these is, too."""
        if not isinstance(node.value, dict):
            return node  # the shape says what is wrong with it
        wrong = [name for name in node.value if name not in parts]
        for name in wrong:
            at = node.value[name].key or node.value[name].place
            words = f"an owner's own file does not say {shown(name)}{did_you_mean(name, parts)}"
            self._report.add_at(at, (*path, name), words)
        return _without(node, wrong)

    def _is_theirs(self, name: str) -> bool:
        if any(name == other or name.startswith(f"{other}-") for other in self._others):
            return False
        return name == self._owner or name.startswith(f"{self._owner}-")

    def _not_theirs(self) -> str:
        besides = [f", and with none of {', '.join(shown(one + '-') for one in self._others)}"] if self._others else []
        return "".join((f"names of yours begin with {shown(self._owner + '-')}", *besides))


def _without(node: Node, names: Sequence[str]) -> Node:
    assert isinstance(node.value, dict)
    return replace(node, value={name: part for name, part in node.value.items() if name not in names})
