"""The environment: every setting `a.b` is also `GATEWAY_A__B`, and `${NAME}` in the file stands for a variable.

The environment wins over the file. A secret may also be named by a file, `GATEWAY_A__B_FILE`, as container platforms
hand secrets over. What begins with GATEWAY_ and is no setting is a mistake: a misspelt variable that is quietly
ignored is a price that is quietly wrong. Nothing from a variable is ever quoted in a mistake but the text of settings
that are no secrets.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as File

from gateway.settings import catalogue, reading
from gateway.settings.catalogue import PREFIX, Setting
from gateway.settings.masking import shown, shown_name
from gateway.settings.mistakes import Report
from gateway.settings.nodes import EnvironmentText, Node, Path, Place, find, put
from gateway.settings.suggestions import did_you_mean

IGNORED = frozenset({"GATEWAY_CONFIG", "GATEWAY_TORTURE"})
"""Variables of the command line and of the tests, which are no settings."""

IGNORED_PATTERN = re.compile(r"GATEWAY_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP)(_[A-Z]+)?)?)")
"""What Kubernetes sets by itself in every container beside a service that is called `gateway`."""

SECRET_FILE_BYTES_MAX = 65_536
_FILE_SUFFIX = "_FILE"
_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[^}:]*)(?P<default>:-[^}]*)?(?P<rest>[^}]*)(?P<end>\}?)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def substitute(node: Node, environ: Mapping[str, str], report: Report, path: Path = ()) -> Node:
    """The tree with every `${NAME}` and `${NAME:-default}` replaced; `$${` is a plain `${`."""
    if isinstance(node.value, dict):
        below = {key: substitute(child, environ, report, (*path, key)) for key, child in node.value.items()}
        return replace(node, value=below)
    if isinstance(node.value, tuple):
        items = (substitute(child, environ, report, (*path, number)) for number, child in enumerate(node.value))
        return replace(node, value=tuple(items))
    if not isinstance(node.value, str) or "${" not in node.value:
        return node
    text = _substituted(node.value, path, environ, report)
    if not catalogue.is_public(path):
        report.secrets.add(text)
    return replace(node, value=EnvironmentText(text), raw=text)


def _substituted(text: str, path: Path, environ: Mapping[str, str], report: Report) -> str:
    def value(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        name, default = found["name"], found["default"]
        if not found["end"] or found["rest"] or not _NAME.fullmatch(name):
            report.add(path, "write ${NAME} or ${NAME:-default}, or $${ for a plain ${")
            return ""
        if found_value := environ.get(name):
            return found_value
        if default is not None:
            return default.removeprefix(":-")
        state = "empty" if name in environ else "not set"
        report.add(path, f"the variable {shown_name(name)} is {state}; set it, or write ${{NAME:-default}}")
        return ""

    return _REFERENCE.sub(value, text)


@dataclass(frozen=True, slots=True)
class _Variable:
    """A variable that names a setting: where it belongs in the tree, and the text that it gives."""

    name: str
    path: Path
    setting: Setting
    text: str
    from_file: bool

    @property
    def place(self) -> Place:
        return _place(self.name)


def overlay(root: Node, environ: Mapping[str, str], report: Report) -> Node:
    """The tree with everything that the environment says put over it; whole sections first, then their parts."""
    variables = list(_variables(root, environ, report))
    for variable in sorted(variables, key=lambda variable: (len(variable.path), variable.name)):
        node = _node(variable, report)
        if node is None:
            continue
        path = _numbered(root, variable.path)
        root = _with_route(root, variable) if path is None else root
        path = path or _numbered(root, variable.path)
        if path is not None:
            root = put(root, path, node)
    return root


def _variables(root: Node, environ: Mapping[str, str], report: Report) -> Iterator[_Variable]:
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name in IGNORED or IGNORED_PATTERN.fullmatch(name):
            continue
        report.root = root
        found = _recognised(name, root)
        if isinstance(found, str):
            report.add_at(_place(name), (), found)
            continue
        path, setting, is_file = found
        if is_file and name.removesuffix(_FILE_SUFFIX) in environ:
            report.add_at(_place(name), (), f"{name.removesuffix(_FILE_SUFFIX)} is set as well; set one of the two")
            continue
        if setting.form.secret and not is_file:
            report.secrets.add(environ[name])
        if not environ[name].strip():
            report.add_at(_place(name), path, "it is set to nothing; give it a value or unset it")
            continue
        text = _file_text(name, environ[name], path, report) if is_file else environ[name]
        if text is not None:
            yield _Variable(name, path, setting, text, is_file)


def _recognised(name: str, root: Node) -> tuple[Path, Setting, bool] | str:
    """Which setting a variable names, and whether by a file; or in words why none."""
    path = _path(name, root)
    if path and (setting := catalogue.setting_at(path)):
        return path, setting, False
    if name.endswith(_FILE_SUFFIX) and (path := _path(name.removesuffix(_FILE_SUFFIX), root)):
        setting = catalogue.setting_at(path)
        if setting and setting.form.secret:
            return path, setting, True
        if setting:
            return f"only secrets can be read from files; set {shown_name(name.removesuffix(_FILE_SUFFIX))}"
    return f"there is no such setting{_meant(name)}"


def _path(name: str, root: Node) -> Path | None:
    """`GATEWAY_UPSTREAMS__MY_API__URL` -> `("upstreams", "my-api", "url")`, if there is a `my-api`, else `my_api`."""
    if name != name.upper():
        return None
    parts = name.removeprefix(PREFIX).lower().split("__")
    if not all(parts) or (parts[0] == "routes" and parts[2:] == ["name"]):
        return None
    if len(parts) > 1 and (setting := catalogue.setting_at((parts[0],))) and setting.by_name:
        if len(parts) == 2:
            return None
        parts[1] = _known_name(root, parts[0], parts[1])
    if catalogue.NAME in catalogue.pattern(tuple(parts))[2:]:
        return None  # names of headers have capitals, and limits may have none: they are written as in the file
    return tuple(parts)


def _known_name(root: Node, section: str, name: str) -> str:
    for known in _names(root, section):
        if known.replace("-", "_") == name:
            return known
    return name


def _names(root: Node, section: str) -> list[str]:
    """The names of the upstreams or routes that there are."""
    held = find(root, (section,))
    if held is None:
        return []
    if isinstance(held.value, dict):
        return list(held.value)
    named = [below.child("name") for _, below in held.children()]
    return [node.value for node in named if node and isinstance(node.value, str)]


def _meant(name: str) -> str:
    bare = [spelling.removeprefix(PREFIX) for spelling in _spellings(name)]
    return did_you_mean(name.removeprefix(PREFIX), bare).replace("`", f"`{PREFIX}", 1)


def _has_a_variable(setting: Setting) -> bool:
    return setting.path[-1] not in (catalogue.NAME, "name") and catalogue.NAME not in setting.path[2:]


def _spellings(name: str) -> list[str]:
    """Every variable that might have been meant, with the names that `name` itself uses."""
    parts = name.upper().removeprefix(PREFIX).split("__")
    used = parts[1] if len(parts) > 1 else "<NAME>"
    settings = [setting for setting in catalogue.every().values() if _has_a_variable(setting)]
    spelled = [setting.variable.replace("<NAME>", used) for setting in settings]
    return [*spelled, *(setting.variable + _FILE_SUFFIX for setting in catalogue.secrets())]


def _numbered(root: Node, path: Path) -> Path | None:
    """The path with the name of a route replaced by its number; None if there is no such route."""
    if path[0] != "routes" or len(path) == 1:
        return path
    held = find(root, ("routes",))
    for number, route in held.children() if held else ():
        name = route.child("name")
        if name is not None and name.value == path[1]:
            return ("routes", number, *path[2:])
    return None


def _with_route(root: Node, variable: _Variable) -> Node:
    """The tree with one more route, which has only its name yet."""
    held = find(root, ("routes",))
    routes = held.value if held is not None else None
    if routes is not None and not isinstance(routes, tuple):
        return root
    name = Node(variable.place, str(variable.path[1]), raw=str(variable.path[1]))
    route = Node(variable.place, {"name": name})
    return put(root, ("routes",), Node(variable.place, (*(routes or ()), route)))


def _node(variable: _Variable, report: Report) -> Node | None:
    text, place, setting = variable.text, variable.place, variable.setting
    if setting.section or (setting.many and text.lstrip().startswith("[")):
        try:
            return _textual(reading.compose(text, place, report))
        except reading.Unreadable as wrong:
            report.add_at(place, variable.path, wrong.words)
            return None
    if setting.many:
        items = text.splitlines() if variable.from_file else text.split(",")
        texts = [item.strip() for item in items if item.strip()]
        if setting.form.secret:
            report.secrets.update(texts)
        return Node(place, tuple(Node(place, EnvironmentText(item), raw=item) for item in texts))
    return Node(place, EnvironmentText(text), raw=text)


def _textual(node: Node) -> Node:
    """A tree out of a variable: its texts may stand for numbers, as any text from the environment may."""
    if isinstance(node.value, dict):
        return replace(node, value={key: _textual(below) for key, below in node.value.items()})
    if isinstance(node.value, tuple):
        return replace(node, value=tuple(_textual(below) for below in node.value))
    return replace(node, value=EnvironmentText(node.value)) if isinstance(node.value, str) else node


def _file_text(name: str, file: str, path: Path, report: Report) -> str | None:
    """What a file that holds a secret says, without the line's end."""
    try:
        with File(file).open("rb") as opened:
            content = opened.read(SECRET_FILE_BYTES_MAX + 1)
        if len(content) > SECRET_FILE_BYTES_MAX:
            raise ValueError("it is too large for a secret")
        text = content.decode().rstrip("\r\n")
    except OSError as wrong:
        report.add_at(_place(name), path, f"the file {shown(file)} cannot be read: {wrong.strerror or 'unknown'}")
        return None
    except ValueError as wrong:
        why = "it is not text" if isinstance(wrong, UnicodeError) else str(wrong)
        report.add_at(_place(name), path, f"the file {shown(file)} cannot be read: {why}")
        return None
    if not text.strip():
        report.add_at(_place(name), path, f"the file {shown(file)} is empty")
        return None
    report.secrets.update({text, *text.split()})
    return text


def _place(name: str) -> Place:
    return Place(f"environment: {shown_name(name).strip('`')}")
