"""The settings of owners: whose commission counts, and who there is."""

from pathlib import Path
from typing import Any

import pytest

from gateway.app.owning import wishes
from gateway.settings import Mistake
from tests.settings.asking import full, mistakes, only, route, settings

SIGN_IN: dict[str, Any] = {
    "providers": [
        {"name": "amazon", "preset": "amazon", "client_id": "c", "client_secret": "s" * 32},
        {"name": "seller", "preset": "amazon-sp", "client_id": "c", "client_secret": "s" * 32, "application_id": "a"},
    ]
}


def points(base: Path, one: dict[str, Any], **changes: Any) -> int:
    return settings(base, full(routes=[one], **changes)).routes.routes[0].tariff.commission_points


def wrong(base: Path, **changes: Any) -> Mistake:
    return only(mistakes(base, full(**changes)))


def test_a_commission_is_the_routes_own_or_its_owners_or_that_of_all(tmp_path: Path) -> None:
    anna, owners = route(owner="anna"), {"anna": {"commission_bps": 1500}}
    assert points(tmp_path, anna) == 2000
    assert points(tmp_path, anna, commission_bps=100) == 100
    assert points(tmp_path, anna, commission_bps=100, owners={"anna": {}}) == 100
    assert points(tmp_path, anna, commission_bps=100, owners=owners) == 1500
    assert points(tmp_path, anna | {"commission_bps": 0}, owners=owners) == 0
    assert points(tmp_path, anna | {"commission_bps": 10_000}, owners=owners) == 10_000


def test_the_platforms_own_routes_pay_none(tmp_path: Path) -> None:
    assert points(tmp_path, route(), commission_bps=5000) == 0


def test_every_price_of_a_route_has_its_commission(tmp_path: Path) -> None:
    steps = {"period": "month", "steps": [{"up_to": 3, "price": "0.003 usd"}, {"price": "0.001 usd"}]}
    one = route(owner="anna", price=steps, methods={"POST": "0.01 usd"})
    [made] = settings(tmp_path, full(routes=[one])).routes.routes
    assert len(made.variants) > 3
    assert {variant.tariff.commission_points for variant in made.variants} == {2000}


def test_owners_are_those_that_are_named_and_those_of_routes(tmp_path: Path) -> None:
    found = settings(tmp_path, full(owners={"bert": {"commission_bps": 7}})).owners
    assert {name: owner.commission_points for name, owner in found.items()} == {"bert": 7, "operator": 0}
    found = settings(tmp_path, full(routes=[route(owner="anna")])).owners
    assert {name: owner.commission_points for name, owner in found.items()} == {"anna": 2000}


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"commission_bps": 10_001}, "commission_bps", "10000"),
        ({"commission_bps": -1}, "commission_bps", "0"),
        ({"owners": {"anna": {"commission_bps": 10_001}}}, "owners.anna.commission_bps", "10000"),
        ({"owners": {"operator": {}}}, "owners.operator", "the platform itself"),
        ({"owners": {"a-b": {}, "a_b": {}}}, "owners.a_b", "the same name in a variable"),
        ({"routes": [route(commission_bps=10)]}, "routes[0].commission_bps", "pays no commission"),
        ({"owners": {"anna": {"stripe_account": "ac_1"}}}, "owners.anna.stripe_account", "begins with acct_"),
        ({"owners": {"anna": {"country": "us"}}}, "owners.anna.country", "did you mean `US`?"),
        ({"owners": {"anna": {"signs_in": ["ann@example.com"]}}}, "owners.anna.signs_in[0]", "names nobody"),
        ({"owners": {"anna": {"signs_in": ["google:"]}}}, "owners.anna.signs_in[0]", "names nobody"),
        ({"owners": {"anna": {"signs_in": ["google:1"]}}}, "owners.anna.signs_in[0]", "there is no `google`"),
        (
            {"sign_in": SIGN_IN, "owners": {"anna": {"signs_in": ["amazn:1"]}}},
            "owners.anna.signs_in[0]",
            "did you mean `amazon`?",
        ),
        (
            {"sign_in": SIGN_IN, "owners": {"anna": {"signs_in": ["seller:1"]}}},
            "owners.anna.signs_in[0]",
            "nobody signs in by it",
        ),
        (
            {"sign_in": SIGN_IN, "owners": {"anna": {"signs_in": ["amazon:1"]}, "bert": {"signs_in": ["amazon:1"]}}},
            "owners.bert.signs_in[0]",
            "act for `anna` already",
        ),
        ({"sign_in": SIGN_IN, "connect": {"country": "US"}, "stripe": None}, "connect", "`stripe` has to be set"),
        ({"connect": {"country": "US"}}, "connect", "`sign_in.providers` have to be set"),
        ({"sign_in": SIGN_IN, "connect": {"country": "US", "api": "v3"}}, "connect.api", "v2"),
        ({"sign_in": SIGN_IN, "connect": {}}, "connect.country", "missing"),
        ({"owners": {"anna": {}}, "routes": [route(owner="anne")]}, "routes[0].owner", "did you mean `anna`?"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, changes: dict[str, Any], path: str, words: str) -> None:
    found = wrong(tmp_path, **changes)
    assert found.path == path
    assert words in found.words


def test_an_owner_can_be_set_by_a_variable(tmp_path: Path) -> None:
    environ = {"GATEWAY_COMMISSION_BPS": "50", "GATEWAY_OWNERS__ANNA__COMMISSION_BPS": "70"}
    values = full(owners={"anna": {}}, routes=[route(owner="anna")])
    found = settings(tmp_path, values, environ)
    assert found.owners["anna"].commission_points == 70


def test_accounts_are_opened_where_an_owner_is_and_not_for_whom_the_operator_sees_to(tmp_path: Path) -> None:
    owners = {"anna": {"signs_in": ["amazon:a:b"]}, "bert": {"country": "DE"}, "carl": {"stripe_account": "acct_1abc"}}
    changes = {"sign_in": SIGN_IN, "connect": {"country": "US", "api": "v1"}, "owners": owners}
    found = settings(tmp_path, full(routes=[route(owner="anna")], **changes))
    assert found.owners["anna"].signs_in == (("amazon", "a:b"),)
    made = wishes(found)
    assert {name: (wish.api, wish.country, wish.name) for name, wish in made.items()} == {
        "anna": ("v1", "US", "anna"), "bert": ("v1", "DE", "bert")
    }  # fmt: skip


def test_accounts_can_be_set_by_variables(tmp_path: Path) -> None:
    environ = {"GATEWAY_CONNECT__COUNTRY": "NO", "GATEWAY_OWNERS__ANNA__STRIPE_ACCOUNT": "acct_2"}
    found = settings(tmp_path, full(owners={"anna": {}}, sign_in=SIGN_IN), environ)
    assert found.connect is not None
    assert (found.connect.country, found.connect.api, found.owners["anna"].stripe_account) == ("NO", "v2", "acct_2")
