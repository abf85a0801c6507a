"""The settings on paper, for people and for editors: printed from the shape, so that it cannot be out of date."""

import json
from typing import Any

from gateway.settings import catalogue
from gateway.settings.catalogue import Setting
from gateway.settings.environment import IGNORED
from gateway.settings.shapes import GatewayShape

_INTRODUCTION = """\
# Every setting

Made from the code by `python -m gateway.settings config`; a test keeps it current.

- The file is `config/gateway.yaml`, or the one that `GATEWAY_CONFIG` or `--config` names. Without a file everything
  comes from the environment.
- Every setting is also a variable, which wins over the file. Where `<NAME>` stands, write the name of the upstream or
  route in capitals, with `_` for `-`; a name that is not in the file adds a new one. Lists are written with commas, or
  as in the file: `["a", "b"]`. A whole section is written as in the file, too: `GATEWAY_ROUTES='[{name: …}]'`; so are
  headers that a route sets or adds: `GATEWAY_ROUTES__<NAME>__ANSWER_HEADERS__SET='{Cache-Control: no-store}'`.
- A secret can be read from a file that its variable with `_FILE` names: `GATEWAY_STRIPE__SECRET_KEY_FILE`. A list of
  secrets has one in each line, newest first.
- In the file, `${NAME}` is the value of a variable, `${NAME:-default}` has a default, and `$${` is a plain `${`.
- What is not in this table is refused, with its line and column: unknown keys, and unknown variables that begin with
  `GATEWAY_`. Left alone are IGNORED, and what Kubernetes sets for a service called `gateway`.
- Amounts are written with their currency and in quotes: `"0.002 usd"`. A price is never left out: a route that costs
  nothing says `free`.
"""


def reference() -> str:
    """A Markdown page with every setting: path, variable, type, default, and what it does."""
    rows = ["| Setting | Variable | Type | Default | What it does |", "|---|---|---|---|---|"]
    rows += [_row(setting) for setting in catalogue.every().values() if setting.description]
    ignored = " and ".join(f"`{name}`" for name in sorted(IGNORED))
    return _INTRODUCTION.replace("IGNORED", ignored) + "\n" + "\n".join(rows) + "\n"


def _row(setting: Setting) -> str:
    path = "`" + ".".join(setting.path).replace(".*", ".&lt;name&gt;").replace("&lt;", "<").replace("&gt;", ">") + "`"
    variable = f"`{setting.variable}`"
    if setting.path == ("routes", catalogue.NAME, "name"):
        variable = "part of the others"
    elif catalogue.NAME in setting.path[2:]:
        variable = "written as in the file"
    elif setting.form.secret:
        variable += ", …`_FILE`"
    kind = ("list of: " if setting.many else "") + setting.form.words
    default = "**required**" if setting.required else setting.default
    return (
        "| "
        + " | ".join(cell.replace("|", "\\|") for cell in (path, variable, kind, default, setting.description))
        + " |"
    )


def schema() -> str:
    """The JSON Schema of the file, for editors."""
    made = GatewayShape.model_json_schema()
    made = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "The settings of Farebox",
        "description": "What config/gateway.yaml may hold.",
    }
    return json.dumps(_tidied(made), indent=2, ensure_ascii=False) + "\n"


def _tidied(schema: Any, *, names: bool = False) -> Any:
    """Without the titles that are made up from names, without null, and with `${VAR}` allowed for what is no text."""
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if names:
        return {key: _tidied(value) for key, value in schema.items()}
    if "anyOf" in schema:
        kept = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
        if len(kept) == 1:
            schema = {**{key: value for key, value in schema.items() if key != "anyOf"}, **kept[0]}
    tidy = {
        key: _tidied(value, names=key in ("properties", "$defs"))
        for key, value in schema.items()
        if key != "title" or value == "The settings of Farebox"
        if not (key == "default" and value in (None, {}))
    }
    return _or_variable(tidy)


def _or_variable(schema: dict[str, Any]) -> dict[str, Any]:
    is_limited = schema.get("type") in ("integer", "boolean") or "enum" in schema or "const" in schema
    if not is_limited:
        return schema
    outside: dict[str, Any] = {key: schema[key] for key in ("description", "default") if key in schema}
    inside = {key: value for key, value in schema.items() if key not in outside}
    return {**outside, "anyOf": [inside, {"type": "string", "pattern": r"\$\{.*\}"}]}
