"""The configuration that is shipped, its schema and its reference are those of the code."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import catalogue, load
from gateway.settings.reference import reference, schema

CONFIG = Path(__file__).parents[2] / "config"


def test_the_schema_in_the_folder_is_the_one_of_the_code() -> None:
    written = (CONFIG / "gateway.schema.json").read_text(encoding="utf-8")
    assert written == schema(), "run: python -m gateway.settings config"


def test_the_reference_in_the_folder_is_the_one_of_the_code() -> None:
    written = (CONFIG / "REFERENCE.md").read_text(encoding="utf-8")
    assert written == reference(), "run: python -m gateway.settings config"


def test_every_setting_is_described_and_in_the_reference() -> None:
    page = reference()
    for path, setting in catalogue.every().items():
        if path[-1] == catalogue.NAME:
            continue
        assert setting.description, path
        assert f"`{'.'.join(path).replace('*', '<name>')}`" in page
        assert setting.required or setting.default or setting.section, path


def test_the_shipped_file_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = load(CONFIG / "gateway.yaml", {}, make_secrets=False)
    assert [route.name for route in found.routes.routes] == ["weather", "status"]


def test_the_shipped_file_is_right_with_its_stripe_section_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (CONFIG / "gateway.yaml").read_text()
    file = tmp_path / "gateway.yaml"
    file.write_text(re.sub(r"(?m)^# (stripe:|  \w+: )", r"\1", text))
    environ = {"STRIPE_SECRET_KEY": "sk_test_" + "5a7c" * 6, "STRIPE_WEBHOOK_SECRET": "whsec_" + "7b3d" * 8}
    assert load(file, environ, make_secrets=False).stripe is not None


def test_the_shipped_file_names_the_schema_beside_it() -> None:
    first = (CONFIG / "gateway.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=./gateway.schema.json"


def test_the_schema_accepts_the_shipped_file_and_refuses_what_is_not_so() -> None:
    document = json.loads(schema())
    values = yaml.safe_load((CONFIG / "gateway.yaml").read_text())
    assert list(_misfits(document, values, document)) == []
    for name, value in {"listen": "8402", "mode": "tset", "currency": "dollars", "prize": 1, "store": "x"}.items():
        assert list(_misfits(document, {**values, name: value}, document)) != [], name
    assert list(_misfits(document, {**values, "mode": "${MODE}", "listen": "${LISTEN}"}, document)) == []


def _misfits(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> list[str]:
    """As much of a validator as our schema needs."""
    while "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return [] if any(not _misfits(choice, value, root) for choice in schema["anyOf"]) else [f"{value} fits nothing"]
    kinds: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):
        return [f"{value} is no {schema['type']}"]
    found = [f"{value} is not allowed"] if value not in schema.get("enum", [value]) else []
    found += [f"{value} is not {schema['const']}"] if value != schema.get("const", value) else []
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{value} is not of the form")
    if isinstance(value, dict):
        found += [f"{key} is missing" for key in schema.get("required", []) if key not in value]
        for key, below in value.items():
            more = schema.get("additionalProperties", True)
            inner = schema.get("properties", {}).get(key, more)
            if inner is False:
                found.append(f"{key} is unknown")
            elif isinstance(inner, dict):
                found += _misfits(inner, below, root)
    if isinstance(value, list):
        found += [misfit for below in value for misfit in _misfits(schema.get("items", {}), below, root)]
    return found
