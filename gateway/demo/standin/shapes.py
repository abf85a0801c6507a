"""What a parameter may look like, as plain nested data, and the check of a request against it.

A shape is a mapping with a `type`:

    {"type": "string"}    {"type": "integer"}    {"type": "number"}    {"type": "boolean"}    {"type": "any"}
    {"type": "enum", "values": ("a", "b")}
    {"type": "array", "item": shape}
    {"type": "map", "value": shape}
    {"type": "object", "fields": {"name": shape, …}, "required": ("name", …)}
    {"type": "union", "of": (shape, …)}

Plain data, because it comes from two sides that must not import each other: the pinned SDK's own types (built by
an adapter and handed in as a callable) and the stand-in's list of what it plays (`played.py`). `fields` may be
any mapping, also one that works its values out when they are asked for.

Two things can be wrong with a request. Names that no shape knows are collected, because their meaning depends on
who asks; everything else is an `ApiError` as Stripe words it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

from gateway.demo.standin.errors import ApiError, empty, invalid, missing, not_an_integer

Shape: TypeAlias = Mapping[str, Any]

STRING_CHARACTERS_MAX = 5000
METADATA_KEYS_MAX = 50
METADATA_KEY_CHARACTERS_MAX = 40
METADATA_VALUE_CHARACTERS_MAX = 500

_INTEGER = re.compile(r"-?[0-9]{1,18}")


@dataclass(slots=True)
class Checked:
    """A request after the check: typed values of the known names, the unknown names, and what is wrong."""

    values: dict[str, Any]
    unknown: list[str] = field(default_factory=list)
    problems: list[ApiError] = field(default_factory=list)


def check(shape: Shape, params: Mapping[str, Any]) -> Checked:
    """Read `params` as the object that `shape` describes. Typed values are taken as well as strings."""
    reader = _Reader()
    values = reader.object(shape, params, "")
    return Checked(values, reader.unknown, reader.problems)


class _Reader:
    def __init__(self) -> None:
        self.unknown: list[str] = []
        self.problems: list[ApiError] = []

    def read(self, shape: Shape, value: Any, path: str) -> Any:
        kind = shape["type"]
        if kind == "any":
            return value
        if kind == "union":
            return self.union(shape["of"], value, path)
        if kind in ("object", "array", "map"):
            if not isinstance(value, Mapping | list):
                self.problems.append(empty(path) if value == "" else invalid(f"Invalid {kind}", path))
                return None
            if kind == "array":
                return self.array(shape, value, path)
            if isinstance(value, list):
                self.problems.append(invalid("Invalid object", path))
                return None
            return self.object(shape, value, path) if kind == "object" else self.map(shape, value, path)
        try:
            return _scalar(shape, value, path)
        except ApiError as problem:
            self.problems.append(problem)
            return None

    def object(self, shape: Shape, value: Mapping[str, Any], path: str) -> dict[str, Any]:
        fields = shape["fields"]
        values: dict[str, Any] = {}
        for name, part in value.items():
            at = f"{path}[{name}]" if path else name
            if name in fields:
                values[name] = self.read(fields[name], part, at)
            else:
                self.unknown.append(at)
        for name in shape.get("required", ()):
            if name not in value:
                self.problems.append(missing(f"{path}[{name}]" if path else name))
        return values

    def array(self, shape: Shape, value: Mapping[str, Any] | list[Any], path: str) -> list[Any]:
        parts = _elements(value)
        if parts is None:
            self.problems.append(invalid("Invalid array", path))
            return []
        return [self.read(shape["item"], part, f"{path}[{at}]") for at, part in enumerate(parts)]

    def map(self, shape: Shape, value: Mapping[str, Any], path: str) -> dict[str, Any]:
        if path.endswith(("metadata", "[metadata]")):
            self.problems.extend(_metadata_problems(value, path))
        return {key: self.map_value(shape["value"], part, f"{path}[{key}]") for key, part in value.items()}

    def map_value(self, shape: Shape, value: Any, path: str) -> Any:
        return "" if value == "" else self.read(shape, value, path)

    def union(self, shapes: Iterable[Shape], value: Any, path: str) -> Any:
        """The first alternative without a problem; else the best complaint: of the alternative of the same build."""
        nested = isinstance(value, Mapping | list)
        ranked = sorted(shapes, key=lambda shape: (shape["type"] in ("object", "array", "map")) != nested)
        first: _Reader | None = None
        for shape in ranked:
            trial = _Reader()
            result = trial.read(shape, value, path)
            if not trial.problems and not trial.unknown:
                return result
            if first is None or (first.problems and not trial.problems):
                first, outcome = trial, result
        if first is None:
            return value
        self.unknown.extend(first.unknown)
        self.problems.extend(first.problems)
        return outcome


def _elements(value: Mapping[str, Any] | list[Any]) -> list[Any] | None:
    """The elements of a list, which a decoded form has under their numbers; None when a name is no number."""
    if isinstance(value, list):
        return value
    if not all(key.isascii() and key.isdigit() and len(key) <= 4 for key in value):
        return None
    ordered = sorted(value.items(), key=lambda item: int(item[0]))
    return [part for _, part in ordered]


def _scalar(shape: Shape, value: Any, path: str) -> Any:
    kind = shape["type"]
    if isinstance(value, Mapping | list):
        raise invalid(f"Invalid {kind}: {path} takes no nested values", path)
    if kind == "enum":
        return _enum(shape["values"], value, path)
    if value == "":
        raise empty(path)
    if kind == "integer":
        return _integer(value, path)
    if kind == "boolean":
        if value in ("true", "false"):
            return value == "true"
        if isinstance(value, bool):
            return value
        raise invalid(f"Invalid boolean: {value}", path)
    if kind == "number":
        return _number(value, path)
    text = str(value)
    if len(text) > STRING_CHARACTERS_MAX:
        raise invalid(f"Invalid string: {path} may have at most {STRING_CHARACTERS_MAX} characters", path)
    return text


def _integer(value: Any, path: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    raise not_an_integer(value, path)


def _number(value: Any, path: str) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise invalid(f"Invalid decimal: {value}", path, "parameter_invalid_decimal")
    return number


def _enum(values: Iterable[str], value: Any, path: str) -> str:
    allowed = list(values)
    if value in allowed:
        return str(value)
    named = [name for name in allowed if name]
    if value == "":
        raise empty(path)
    listed = ", ".join(named[:-1]) + (" or " if len(named) > 1 else "") + named[-1] if named else "empty"
    raise invalid(f"Invalid {path}: must be one of {listed}" if len(named) > 1 else f"Invalid {path}", path)


def _metadata_problems(value: Mapping[str, Any], path: str) -> Iterable[ApiError]:
    if len(value) > METADATA_KEYS_MAX:
        yield invalid(f"Metadata takes at most {METADATA_KEYS_MAX} keys", path)
    for key, text in value.items():
        at = f"{path}[{key}]"
        if len(key) > METADATA_KEY_CHARACTERS_MAX:
            yield invalid(f"Metadata keys have at most {METADATA_KEY_CHARACTERS_MAX} characters", at)
        if isinstance(text, str) and len(text) > METADATA_VALUE_CHARACTERS_MAX:
            yield invalid(f"Metadata values have at most {METADATA_VALUE_CHARACTERS_MAX} characters", at)
