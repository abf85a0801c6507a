"""Prices in a file of their own: as if the routes said them, and every mistake is shown where it stands."""

from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings
from tests.settings.asking import FULL, full, mistakes, mistakes_in, route, settings

SECRET = "open sesame"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def with_prices(tmp_path: Path, prices: str, routes: list[dict[str, Any]] | None = None, **more: Any) -> Settings:
    (tmp_path / "prices.yaml").write_text(prices)
    return settings(tmp_path, full(prices_file="prices.yaml", routes=routes or [route(price=None)], **more))


def test_a_route_has_the_prices_of_the_file(tmp_path: Path) -> None:
    prices = """
weather: "0.003 usd"
maps:
  price: {base: "0.001 usd", per: {rows: "0.01 usd"}, maximum: "0.50 usd"}
  methods: {POST: "0.05 usd"}
  charge_when: {statuses: [2xx, 404]}
"""
    routes = [route(price=None), route(name="maps", match="/maps/", price=None), route(name="own", match="/own/")]
    plain, maps, own = with_prices(tmp_path, prices, routes).routes.routes
    assert [one.rule for one in (plain, own, maps.for_method("POST"))] == ["0.003 usd", "0.002 usd", "0.05 usd"]
    assert maps.rule == "0.001 usd + 0.01 usd (rows), at most 0.50 usd"
    assert all(one.price.charge.is_charged(404) for one in maps.variants)
    said = {"base": "0.001 usd", "per": {"rows": "0.01 usd"}, "maximum": "0.50 usd"}
    itself = route(name="maps", match="/maps/", price=said, methods={"POST": "0.05 usd"},
                   charge_when={"statuses": ["2xx", 404]})  # fmt: skip
    assert settings(tmp_path, full(routes=[itself])).routes.routes[0] == maps, "as if the route said it"


def test_a_variable_stands_in_the_file_as_in_any(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text('weather: "${AMOUNT} usd"\n')
    values = full(prices_file="prices.yaml", routes=[route(price=None)])
    assert settings(tmp_path, values, {"AMOUNT": "0.007"}).routes.routes[0].rule == "0.007 usd"
    named = full(routes=[route(price=None)])
    by_variable = settings(tmp_path, named, {"AMOUNT": "0.007", "GATEWAY_PRICES_FILE": "prices.yaml"})
    assert by_variable.routes.routes[0].rule == "0.007 usd"


@pytest.mark.parametrize(
    ("prices", "where", "words"),
    [
        ('weather: "0.01 eur"', "prices.yaml:1:10", "the price is in eur"),
        ("weather: 0.01", "prices.yaml:1:10", "write it quoted"),
        ('weather: {price: "0.01 usd", match: /x/}', "prices.yaml:1:30", "there is no setting `match` here; there is"),
        ('weather: {methods: {post: "0.01 usd"}, price: free}', "prices.yaml:1:21", "capital letters"),
        ('weather: {methods: {POST: "0.01 usd"}}', "gateway.yaml:19:5", "the route has no price"),
        ('weather: "0.01 usd"\nwether: "0.01 usd"', "prices.yaml:2:1", "there is no route `wether`; did you mean"),
        ('weather: "0.01 usd"\nstatus: free', "prices.yaml:2:1", "the route says this itself, in gateway.yaml:"),
        ('weather: "0.01 usd"\nweather: free', "prices.yaml:2:1", "this key is given twice"),
        ('weather: {price: "0.01 usd"', "prices.yaml:1:28", "not YAML"),
        ("- weather", "prices.yaml:1:1", "must be a mapping of prices"),
    ],
)
def test_a_mistake_is_shown_in_the_file_where_it_stands(prices: str, where: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(prices)
    text = FULL.replace(', price: "0.002 usd"', "") + "prices_file: prices.yaml\n"
    found = mistakes_in(text, tmp_path)
    assert len(found) == 1, found
    assert found[0].where == where
    assert words in found[0].words.replace(str(tmp_path) + "/", "")


def test_a_file_that_is_not_there_is_one_mistake(tmp_path: Path) -> None:
    [found] = mistakes(tmp_path, full(prices_file="nowhere.yaml", routes=[route(price=None)]))
    assert (found.path, found.words) == (
        "prices_file",
        f"{tmp_path}/nowhere.yaml cannot be read: no such file or directory",
    )


@pytest.mark.parametrize(
    "text", [f"weathr: {SECRET}\nweather: free", f"weather: free\nkeys: [{SECRET}", f"[{SECRET}]", f"- @{SECRET}"]
)
def test_of_a_file_that_is_another_one_nothing_is_shown(text: str, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(text)
    found = mistakes(tmp_path, full(prices_file="prices.yaml", routes=[route(price=None)]))
    assert SECRET not in "".join(map(str, found))
