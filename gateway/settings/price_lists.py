"""Prices in a file of their own: by the names of routes, laid into the tree before it is checked.

    forecast: "0.002 usd"
    maps: {price: "0.01 usd", methods: {POST: "0.05 usd"}, charge_when: {cut: "50%"}}

Each value keeps its place in its own file, so whatever is found wrong with a price later is shown there. A route has
its prices in one place only: what both files say is a mistake, and so is a price for a route that there is not.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path as File

from gateway.settings import environment
from gateway.settings.masking import shown
from gateway.settings.mistakes import Report
from gateway.settings.nodes import Node, Path, find, put
from gateway.settings.suggestions import did_you_mean

SETTING = ("prices_file",)
PARTS = ("price", "methods", "plans", "charge_when")
"""What of a route may stand there."""


@dataclass(frozen=True, slots=True)
class Other:
    """What a file that is laid in is called in mistakes, and of which settings its values are."""

    label: str
    setting: Callable[[Path], Path]
    named: Path = ()
    """The setting that names the file, if one does."""


Read = Callable[[File, Other], Node | None]
"""None, and a mistake is told, if it cannot be read."""


def laid_in(root: Node, environ: Mapping[str, str], report: Report, base: File, read: Read) -> Node:
    """The tree with the prices of the file that it names, if it names one."""
    named, routes = find(root, SETTING), find(root, ("routes",))
    if named is None or not isinstance(named.value, str) or not named.value.strip():
        return root
    numbers = range(len(routes.value)) if routes is not None and isinstance(routes.value, tuple) else range(0)
    names = {_name(root, number): number for number in numbers}

    def setting(path: Path) -> Path:
        """What names no route may be of quite another file: it is of no setting, and so never quoted."""
        return ("routes", names[str(path[0])], *(path[1:] or ("price",))) if path and path[0] in names else ()

    prices = read(base / named.value, Other(named.value, setting, SETTING))
    if prices is None or not isinstance(prices.value, dict):
        if prices is not None:
            report.add_at(prices.place, SETTING, "this file must be a mapping of prices, each as `route: price`")
        for number in numbers:  # they may have one there
            report.excuse(("routes", number, "price"))
        return root
    for name, node in prices.value.items():
        ours = [number for number in numbers if _name(root, number) == name]
        if not ours:
            words = f"there is no route {shown(name)}{did_you_mean(name, sorted(filter(None, names)))}"
            report.add_at(node.key or node.place, (*SETTING, name), words)
        for number in ours:
            root = _laid_in_route(root, ("routes", number), node, environ, report)
    return root


def _laid_in_route(root: Node, route: Path, node: Node, environ: Mapping[str, str], report: Report) -> Node:
    parts = node.value if isinstance(node.value, dict) else {"price": node}
    for part, value in parts.items():
        path, at = (*route, part), value.key or value.place
        before = find(root, path)
        if part not in PARTS:
            words = f"there is no setting {shown(part)} here; there is: {', '.join(PARTS)}"
            report.add_at(at, path, words)
            report.excuse((*route, "price"))
        elif before is not None:
            report.add_at(at, path, f"the route says this itself, in {before.place}; write it in one place")
        else:
            root = put(root, path, environment.substitute(value, environ, report, path))
    return root


def _name(root: Node, number: int) -> str:
    node = find(root, ("routes", number, "name"))
    return str(node.value) if node is not None and isinstance(node.value, str) else ""
