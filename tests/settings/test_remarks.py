"""What is allowed but worth a word."""

from pathlib import Path
from typing import Any

from gateway.settings import from_mapping, notes
from tests.settings.asking import full, route, settings


def said(base: Path, **changes: Any) -> str:
    return "\n".join(notes(settings(base, full(**changes))))


def test_a_full_configuration_needs_no_words(tmp_path: Path) -> None:
    assert notes(settings(tmp_path)) == []


def test_a_gateway_without_stripe_is_told_that_nobody_can_pay(tmp_path: Path) -> None:
    assert said(tmp_path, stripe=None) == "stripe: not set; the gateway starts, but a 402 carries no payment_url."
    assert "no payment can be taken" in said(tmp_path, stripe=None, routes=[route(price="free")])


def test_named_credits_that_nobody_can_have_are_remarked_upon(tmp_path: Path) -> None:
    routes = [route(price="2 unit:export")]
    plan = {"price": "price_1", "costs": "10 usd"}
    assert "routes.weather.price: no plan grants unit:export" in said(tmp_path, routes=routes)
    granted = {"a": {**plan, "grants": "1 unit:export"}}
    assert "a period of a plan does not buy one call" in said(tmp_path, routes=routes, plans=granted)
    assert said(tmp_path, routes=routes, plans={"a": {**plan, "grants": "2 unit:export"}}) == ""


def test_addresses_that_others_reach_are_remarked_upon(tmp_path: Path) -> None:
    assert "admin: 0.0.0.0 can be reached" in said(tmp_path, admin="0.0.0.0:8403")
    assert "in the clear" in said(tmp_path, public_url="http://pay.example.com")
    assert said(tmp_path, public_url="https://pay.example.com") == ""
    assert "Stripe cannot send webhooks" in said(tmp_path, public_url=None)


def test_fronts_that_say_too_much_or_nothing_are_remarked_upon(tmp_path: Path) -> None:
    assert "0.0.0.0/0 is everybody" in said(tmp_path, trusted_proxies=["0.0.0.0/0"])
    assert said(tmp_path, trusted_proxies=["0.0.0.0/1"]) == ""
    assert "does not hold `unix`" in said(tmp_path, listen="unix:/run/x.sock")
    assert said(tmp_path, listen="unix:/run/x.sock", trusted_proxies=["unix"]) == ""


def test_routes_that_may_not_be_meant_are_remarked_upon(tmp_path: Path) -> None:
    assert "routes: none" in said(tmp_path, routes=[])
    assert "upstreams.spare: no route leads to it." in said(tmp_path, upstreams={"spare": {"url": "http://a"}})
    assert "/weather is this one path" in said(tmp_path, routes=[route(match="/weather")])
    assert "does not buy one call at 6.00 usd" in said(tmp_path, routes=[route(price="6 usd")])
    assert said(tmp_path, routes=[route(price="5 usd")]) == ""


def test_owners_that_only_a_route_names_are_remarked_upon(tmp_path: Path) -> None:
    routes = [route(owner="anna")]
    words = "owners: anna is named by a route alone; 2000 bps of what their routes take are the platform's."
    assert said(tmp_path, routes=routes) == words
    assert said(tmp_path, routes=routes, owners={"anna": {}}) == ""
    assert said(tmp_path, routes=routes, commission_bps=0) == ""


def test_secrets_that_are_yet_to_be_made_are_announced(tmp_path: Path) -> None:
    values = full(secrets=None)
    announced = [note for note in notes(settings(tmp_path, values)) if note.startswith("secrets: ")]
    assert len(announced) == 4
    made = from_mapping(values, base=tmp_path, make_secrets=True)
    assert notes(made) == []
