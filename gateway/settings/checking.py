"""Holds the tree against the shape, and says in plain words what does not fit."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from gateway.settings import catalogue, forms
from gateway.settings.catalogue import Setting
from gateway.settings.masking import shown
from gateway.settings.mistakes import Report
from gateway.settings.nodes import Node, Path, find, plain, walk
from gateway.settings.shapes import GatewayShape
from gateway.settings.shapes.routes import FLAT, METERED, STEPPED
from gateway.settings.suggestions import did_you_mean

_PLAIN_TEXTS = ("name", "secret", "header name", "header value", "query name", "user name")
"""Forms in which a number may well be meant as a text."""


_NEARLY = 0.85
"""How much alike a name of this place must be to go before the same name elsewhere: a letter is missing."""


def check(root: Node, report: Report) -> GatewayShape | None:
    """The configuration as typed by the shape, or None and at least one mistake in the report."""
    report.root = root
    if not isinstance(root.value, dict):
        report.add((), "the file must be a mapping of settings, each as `name: value`")
        return None
    for path, node in walk(root):
        if node.value is None:
            report.add(path, "it has no value; give it one or remove the line")
    try:
        return GatewayShape.model_validate(plain(root))
    except ValidationError as wrong:
        for error in wrong.errors(include_url=False):
            _explain(error, root, report)
    return None


def _explain(error: Any, root: Node, report: Report) -> None:
    path, at_key = _path(tuple(part for part in error["loc"] if part not in (FLAT, METERED, STEPPED)))
    if path and isinstance(path[-1], int) and find(root, path) is None:
        path = path[:-1]  # one text may stand for a list of one
    if report.is_bad(path):
        return
    if error["type"] == "missing":
        report.add(path, _missing(path))
    elif error["type"] == "extra_forbidden":
        report.add(path, _unknown(path), at_key=True)
    else:
        report.add(path, _misfit(error, path, root), at_key=at_key)


def _path(location: tuple[str | int, ...]) -> tuple[Path, bool]:
    if location and location[-1] == "[key]":
        return location[:-1], True
    return location, False


def _missing(path: Path) -> str:
    if path[0] == "routes" and path[-1] == "price":
        return 'the route has no price; write one such as "0.002 usd", or say: free'
    setting = catalogue.setting_at(path)
    example = f", such as `{setting.form.example}`" if setting and setting.form.example and not setting.many else ""
    return f"`{path[-1]}` is missing; give it a {'value' if example else 'list'}{example}"


def _unknown(path: Path) -> str:
    key = str(path[-1])
    siblings = catalogue.keys_under(catalogue.pattern(path[:-1]))
    if hint := did_you_mean(key, siblings, least=_NEARLY):
        return f"there is no setting {shown(key)}{hint}"
    elsewhere = [".".join(setting) for setting in catalogue.every() if setting[-1] == key]
    if not elsewhere and (hint := did_you_mean(key, siblings)):
        return f"there is no setting {shown(key)}{hint}"
    if elsewhere:
        return f"there is no setting {shown(key)} here; did you mean `{elsewhere[0]}`?"
    return f"there is no setting {shown(key)} here; there is: {', '.join(siblings)}"


def _misfit(error: Any, path: Path, root: Node) -> str:
    node = find(root, path)
    setting = catalogue.setting_at(path)
    is_item = bool(error["loc"]) and isinstance(error["loc"][-1], int)
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if setting is None or node is None:
        return "this cannot stand here"
    if path == ("version",):
        return "the only version of this format is 1"
    if error["type"] == "literal_error":
        return _not_a_choice(setting, node)
    if error["type"] == "too_short":
        return "the list is empty; give it one or more, or remove it"
    if error["type"] == "too_long":
        return f"the list is too long; give it {error['ctx']['max_length']} at most"
    if error["type"] in ("greater_than_equal", "less_than_equal"):
        bound = error["ctx"].get("ge", error["ctx"].get("le"))
        return f"it must be {bound} or {'more' if 'ge' in error['ctx'] else 'less'}"
    return "; ".join(_wrong_kind(setting, path, node, is_item, _currency(root)))


def _not_a_choice(setting: Setting, node: Node) -> str:
    if isinstance(node.value, dict | tuple):
        return f"expected here is {setting.form.words}"
    choices = [choice.strip("`") for choice in setting.form.words.split(" or ")]
    return f"{shown(node.raw)} is not {setting.form.words}{did_you_mean(node.raw, choices)}"


def _wrong_kind(setting: Setting, path: Path, node: Node, is_item: bool, currency: str) -> Iterator[str]:
    """Text where a number belongs, a list where a text belongs, and so on."""
    form = setting.form
    if setting.section:
        yield from _not_a_section(setting, path, node)
    elif setting.many and not is_item:
        yield f"expected here is a list of {form.words}: write it in [ ], or each in a line of its own after `-`"
    elif isinstance(node.value, dict | tuple):
        yield f"expected here is a {form.words}, not a {'list' if isinstance(node.value, tuple) else 'mapping'}"
    elif isinstance(node.value, bool | int | float) and form.words.startswith("amount"):
        if not isinstance(node.value, bool) and not node.value and path[-1] == "price":
            yield "a route that costs nothing says so in a word; write: free"
        elif isinstance(node.value, bool):
            yield f"this is not an amount; write it quoted, with a currency: {form.example}"
        else:
            yield f'write it quoted, with a currency: "{node.raw} {currency}"'
    elif isinstance(node.value, bool | int | float):
        kind = "a truth value" if isinstance(node.value, bool) else "a number"
        yield f"YAML reads this as {kind}, but expected is a {form.words}"
        yield "quote it" if form.words in _PLAIN_TEXTS else f"write for example {form.example}"
    else:
        yield f"expected here is {form.words}, without quotes, such as {form.example}"


def _not_a_section(setting: Setting, path: Path, node: Node) -> Iterator[str]:
    if path == ("routes",):
        yield "expected here is a list of routes, each after `-` or in [{…}, {…}]"
    elif path[0] == "upstreams" and len(path) == 2 and isinstance(node.value, str):
        yield "expected here are the settings of an upstream; write {url: " + shown(node.value).strip("`") + "}"
    else:
        yield "expected here are settings, each as `name: value`"


def _currency(root: Node) -> str:
    """The currency to give examples in."""
    node = find(root, ("currency",))
    try:
        return forms.currency(str(node.value)) if node else "usd"
    except ValueError:
        return "usd"
