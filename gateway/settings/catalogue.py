"""Every setting there is, listed from the shape: its path, its variable, its form and its default.

A path here has `*` where a name or a number stands: `("routes", "*", "price")`.
"""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gateway.settings.nodes import Path
from gateway.settings.shapes import GatewayShape
from gateway.settings.texts import Form, Otherwise

Pattern = tuple[str, ...]
NAME = "*"
PREFIX = "GATEWAY_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the reference. A `section` holds other settings; `many` is a list of what `form` says."""

    path: Pattern
    form: Form
    description: str
    default: str
    required: bool = False
    many: bool = False
    section: bool = False
    value: object = None
    """The default itself, if it is one value."""
    by_name: bool = False
    """Whether it is a section whose parts have names: upstreams, routes, and the headers that a rule sets."""

    @property
    def variable(self) -> str:
        return PREFIX + "__".join("<NAME>" if part == NAME else part.upper() for part in self.path)


@cache
def every() -> dict[Pattern, Setting]:
    """All settings and sections by path, in the order of the shape."""
    return {setting.path: setting for setting in _of(GatewayShape, ())}


def pattern(path: Path) -> Pattern:
    """The path in the catalogue that a path in a tree falls under."""
    out: list[str] = []
    for part in path:
        by_name = (setting := every().get(tuple(out))) is not None and setting.by_name
        out.append(NAME if by_name or isinstance(part, int) else part)
    return tuple(out)


def setting_at(path: Path) -> Setting | None:
    """The setting or section of a path in a tree; an item of a list belongs to the list's setting."""
    found = every().get(pattern(path))
    if found is None and path and isinstance(path[-1], int):
        above = every().get(pattern(path[:-1]))
        return above if above is not None and above.many else None
    return found


def default_at(path: Path) -> object:
    """The default of a setting, if it has one that follows from nothing else."""
    setting = setting_at(path)
    return setting.value if setting is not None else None


def is_public(path: Path) -> bool:
    """Whether what stands at this path is known, a single value, and neither secret nor private."""
    setting = setting_at(tuple(part for part in path if part != "<<"))
    if setting is None or setting.section:
        return False
    return not (setting.form.secret or setting.form.private)


def keys_under(path: Pattern) -> list[str]:
    """The keys that may stand at a path."""
    return [setting[-1] for setting in every() if setting[:-1] == path and setting[-1] != NAME]


def secrets() -> Iterator[Setting]:
    return (setting for setting in every().values() if setting.form.secret)


def _of(model: type[BaseModel], above: Pattern) -> Iterator[Setting]:
    for key, field in model.model_fields.items():
        yield from _settings(field, (*above, key))


def _settings(field: FieldInfo, path: Pattern) -> Iterator[Setting]:
    seen = _look(field.annotation, list(field.metadata))
    description = field.description or ""
    if seen.by_name and not seen.models:
        yield Setting(path, Form("by name", ""), description, "", section=True, by_name=True)
        yield Setting((*path, NAME), seen.form, "", "", many=seen.many)
        return
    if seen.by_name and seen.either:
        yield Setting(path, Form("by name", ""), description, _default(field, seen), section=True, by_name=True)
        yield Setting((*path, NAME), seen.form, "", "")
        for model in seen.models:
            yield from _of(model, (*path, NAME))
        return
    if not seen.models or seen.either:
        yield Setting(
            path,
            seen.form,
            description,
            _default(field, seen),
            field.is_required(),
            many=seen.many,
            value=None if field.is_required() or seen.many else field.default,
        )
        for model in seen.models:
            yield from _of(model, path)
        return
    form = Form("list" if seen.many else "by name" if seen.by_name else "section", "")
    yield Setting(path, form, description, "", field.is_required(), section=True, by_name=seen.many or seen.by_name)
    below = (*path, NAME) if seen.many or seen.by_name else path
    if below != path:
        yield Setting(below, Form("section", ""), "", "", section=True)
    for model in seen.models:
        yield from _of(model, below)


@dataclass(slots=True)
class _Seen:
    form: Form
    otherwise: str = ""
    many: bool = False
    by_name: bool = False
    either: bool = False
    """Whether it may be one text as well."""
    models: tuple[type[BaseModel], ...] = ()


def _look(annotation: Any, metadata: list[object]) -> _Seen:
    """What an annotation says, however it is nested: Annotated[list[Annotated[str, Form(…)]] | None, …]."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _look(arguments[0], metadata + list(arguments[1:]))
    if origin in (Union, types.UnionType):
        first, *others = [_look(argument, metadata) for argument in arguments if argument is not types.NoneType]
        for other in others:
            first.models, first.either = (*first.models, *other.models), True
        return first
    if origin is list:
        seen = _look(arguments[0], metadata)
        seen.many = True
        return seen
    if origin is dict:
        seen = _look(arguments[1], metadata)
        seen.by_name = True
        return seen
    forms = [item for item in metadata if isinstance(item, Form)]
    otherwise = [item.words for item in metadata if isinstance(item, Otherwise)]
    form = forms[-1] if forms else Form("text", "")
    if origin is Literal:
        form = Form(" or ".join(f"`{value}`" for value in arguments), str(arguments[0]))
    models = (annotation,) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else ()
    return _Seen(form, otherwise[-1] if otherwise else "", models=models)


def _default(field: FieldInfo, seen: _Seen) -> str:
    if field.is_required():
        return ""
    if seen.otherwise:
        return seen.otherwise
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return f"`{value}`"
