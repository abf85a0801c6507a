"""The settings of OAuth and of tools' prices: what they become, and what they are refused for."""

from pathlib import Path
from typing import Any

import pytest

from gateway.core.mcp import Call
from gateway.settings import Settings, SettingsInvalid, from_mapping

BASE: dict[str, Any] = {
    "public_url": "https://gw.example",
    "upstreams": {"tools": {"url": "http://127.0.0.1:9000"}},
    "routes": [
        {"name": "tools", "match": "/mcp/", "upstream": "tools", "price": "0.001 usd",
         "mcp": {"tools": {"search": "0.01 usd"}, "methods": {"resources/read": "0.002 usd"}}},
    ],
    "oauth": {"routes": ["tools"]},
}  # fmt: skip


def read(folder: Path, **changes: Any) -> Settings:
    return from_mapping({**BASE, **changes}, base=folder, environ={}, make_secrets=True)


def test_a_route_is_a_resource_and_its_calls_have_prices(tmp_path: Path) -> None:
    settings = read(tmp_path)
    [route] = settings.routes.routes
    assert settings.oauth is not None
    assert (str(settings.oauth.spend_default), settings.oauth.access_ms) == ("5.00 usd", 3_600_000)
    for call, costs in (
        (Call(1, "tools/call", "search"), "0.01 usd"),
        (Call(1, "tools/call", "other"), "0.001 usd"),
        (Call(1, "resources/read"), "0.002 usd"),
        (Call(1, "initialize"), "free"),
    ):
        found = route.for_call(call)
        assert (str(found.price), found.resource, found.name) == (costs, "https://gw.example/mcp", "tools")
    assert route.for_call(Call(1, "tools/call", "search")).rule == "0.01 usd (tool search)"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"oauth": {"routes": ["tool"]}}, "oauth.routes[0]"),
        ({"oauth": {"routes": ["tools"], "spend_default": "5.00 eur"}}, "oauth.spend_default"),
        ({"mode": "live", "oauth": {"routes": ["tools"], "consent": "given"}}, "oauth.consent"),
        ({"mode": "live", "oauth": {"routes": ["tools"], "private_addresses": True}}, "oauth.private_addresses"),
        ({"routes": [{**BASE["routes"][0], "methods": {"POST": "1.00 usd"}}]}, "routes[0].methods"),
        ({"routes": [{**BASE["routes"][0], "mcp": {"tools": {"search": "1.00 eur"}}}]}, "routes[0].mcp.tools.search"),
        ({"routes": [{**BASE["routes"][0], "mcp": {"tools": {"a b": "1.00 usd"}}}]}, "routes[0].mcp.tools"),
    ],
)
def test_a_mistake_is_told_by_its_place(tmp_path: Path, changes: dict[str, Any], path: str) -> None:
    with pytest.raises(SettingsInvalid) as mistakes:
        read(tmp_path, **changes)
    assert path in str(mistakes.value)
