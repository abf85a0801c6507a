"""The settings of owners: whose commission counts, and who there is."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.app.owning import wishes
from gateway.core.money import Money
from gateway.core.payouts import PayoutTerms
from gateway.settings import Mistake, PayoutSettings, from_mapping
from tests.settings.asking import full, mistakes, only, route, settings

STRIPE: dict[str, Any] = full()["stripe"]
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


SECRET = "fbs_" + "1a2b3c4d" * 4
ANNA: dict[str, Any] = {"owners": {"anna": {}}}


def services(**named: dict[str, Any]) -> dict[str, Any]:
    """So many, each right but for what is said."""
    made = {name: {"role": "commission", "secret": SECRET, **said} for name, said in named.items()}
    return {"sign_in": SIGN_IN, "charging": {}, "services": made}


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
        ({"sign_in": SIGN_IN, "charging": {"hold_proceeds": True}}, "charging.hold_proceeds", "is paid by `payouts`"),
        ({"services": {"a": {"role": "auditor", "secret": SECRET}}}, "services.a", "without `charging`"),
        (services() | {"services": {"a": {"role": "auditor"}}}, "services.a.secret", "missing"),
        (services(a={"secret": "short"}), "services.a.secret", "32 characters"),
        (services(a={"secret": "changeme" + "1a2b3c4d" * 4}), "services.a.secret", "placeholder"),
        (services(a={"older_secret": SECRET}), "services.a.older_secret", "the same as services.a.secret"),
        (services(a={}, b={}), "services.b.secret", "this is the same as services.a.secret"),
        (services(a={}) | {"secrets": {"peppers": [SECRET]}}, "services.a.secret", "equal secrets for two purposes"),
        (services(a={"secret": "sk_test_" + "1a2b3c4d" * 4}), "services.a.secret", "a key of Stripe"),
        (services(a_b={}), "services.a_b", "no name of a service"),
        (services(a={"role": "boss"}), "services.a.role", "commission"),
        (services(a={"owner": "anna"}), "services.a.owner", "only a program in the role `owner`"),
        (services(a={"role": "owner"}), "services.a", "needs `owner`"),
        (services(a={"role": "owner", "owner": "anne"}) | ANNA, "services.a.owner", "did you mean `anna`?"),
        (services(a={"role": "owner", "owner": "anna"}) | ANNA, "services.a.owner", "set owners.anna.routes"),
        ({"payouts": {"minimum": "25.00 eur"}}, "payouts.minimum", "the minimum is in eur, but `currency` is usd"),
        ({"payouts": {"every": "hourly"}}, "payouts.every", "hourly"),
        ({"payouts": {"day": 3}}, "payouts.day", "it counts where `every` is monthly, and that is weekly"),
        ({"payouts": {"every": "monthly", "day": 29}}, "payouts.day", "28"),
        ({"payouts": {"every": "daily", "weekday": "friday"}}, "payouts.weekday", "that is daily"),
        ({"payouts": {"reserve_bps": 10_001}}, "payouts.reserve_bps", "10000"),
        ({"payouts": {"hold_back_days": 181}}, "payouts.hold_back_days", "180"),
        ({"payouts": {}, "owners": {"anna": {"payouts": {"day": 3}}}}, "owners.anna.payouts.day", "that is weekly"),
        (
            {"payouts": {}, "owners": {"anna": {"payouts": {"minimum": "1 eur"}}}},
            "owners.anna.payouts.minimum",
            "the minimum is in eur",
        ),
        ({"owners": {"anna": {"payouts": {"every": "daily"}}}}, "owners.anna.payouts", "nobody is paid without"),
        ({"payouts": {}, "stripe": None}, "payouts", "nobody can be paid without `stripe`"),
        ({"owners": {"anna": {"stripe_account": "ca_1"}}}, "owners.anna.stripe_account", "it begins with acct_"),
        ({"owners": {"anna": {"charge_bps": 10}}}, "owners.anna.charge_bps", "without `charging`"),
        ({"charging": {}}, "charging", "`sign_in.providers` have to be set"),
        ({"sign_in": SIGN_IN, "charging": {}, "stripe": None}, "charging", "`stripe` has to be set"),
        ({"sign_in": SIGN_IN, "charging": {"maximum": "5 eur"}}, "charging.maximum", "it is in eur"),
        ({"sign_in": SIGN_IN, "charging": {"per_day": "5 eur"}}, "charging.per_day", "it is in eur"),
        ({"sign_in": SIGN_IN, "charging": {"commission_bps": 10_001}}, "charging.commission_bps", "10000"),
        ({"sign_in": SIGN_IN, "charging": {"retry_hours": [0]}}, "charging.retry_hours[0]", "1"),
        ({"sign_in": SIGN_IN, "charging": {"retry_hours": [1] * 11}}, "charging.retry_hours", "10"),
        ({"sign_in": SIGN_IN, "charging": {"count_per_day": 0}}, "charging.count_per_day", "1"),
        ({"stripe": STRIPE | {"publishable_key": "sk_test_" + "1a" * 20}}, "stripe.publishable_key", "pk_"),
        (
            {"stripe": STRIPE | {"publishable_key": "pk_live_" + "1a" * 20}},
            "stripe.publishable_key",
            "a live key",
        ),
        (
            {"stripe": STRIPE | {"publishable_key": "pk_other"}},
            "stripe.publishable_key",
            "pk_test_ or pk_live_",
        ),
        (
            {"owners": {"anna": {"stripe_account": "acct_1"}, "bert": {"stripe_account": "acct_1"}}},
            "owners.bert.stripe_account",
            "the account of `anna`, too",
        ),
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


def test_without_the_setting_nobody_is_paid_and_an_empty_one_is_enough(tmp_path: Path) -> None:
    owners = {"anna": {"stripe_account": "acct_1"}}
    found = settings(tmp_path, full(owners=owners))
    assert (found.payouts, found.owners["anna"].terms) == (None, None)
    assert found.owners["anna"].stripe_account == "acct_1"
    found = settings(tmp_path, full(owners=owners, payouts={}))
    assert found.payouts == PayoutSettings(PayoutTerms("weekly", 0, {}, 7, 0, 90), owners_bear=True)
    assert found.owners["anna"].terms == PayoutTerms("weekly", 0, {}, 7, 0, 90)


def test_an_owner_is_paid_as_everybody_but_for_what_is_said_of_them(tmp_path: Path) -> None:
    usual = {"every": "monthly", "day": 5, "minimum": "25 usd", "reserve_bps": 1000, "claw_back": "platform"}
    own = {"every": "weekly", "weekday": "friday", "hold_back_days": 0, "minimum": "1 usd"}
    found = settings(tmp_path, full(owners={"anna": {"payouts": own}, "bert": {}}, payouts=usual))
    assert found.payouts is not None
    assert not found.payouts.owners_bear
    assert found.owners["bert"].terms == found.payouts.terms
    assert found.payouts.terms == PayoutTerms("monthly", 5, {"usd": Money.parse("25 usd")}, 7, 1000, 90)
    assert found.owners["anna"].terms == PayoutTerms("weekly", 4, {"usd": Money.parse("1 usd")}, 0, 1000, 90)


def test_payouts_can_be_set_by_variables(tmp_path: Path) -> None:
    environ = {"GATEWAY_PAYOUTS__MINIMUM": "3 usd", "GATEWAY_OWNERS__ANNA__PAYOUTS__EVERY": "daily"}
    found = settings(tmp_path, full(owners={"anna": {}}, payouts={}), environ)
    assert found.owners["anna"].terms == PayoutTerms("daily", 1, {"usd": Money.parse("3 usd")}, 7, 0, 90)


def test_fees_are_twenty_percent_unless_it_is_said_otherwise_of_all_or_of_an_owner(tmp_path: Path) -> None:
    assert settings(tmp_path, full()).charging is None
    made = settings(tmp_path, full(sign_in=SIGN_IN, charging={})).charging
    assert made is not None
    terms = made.terms
    assert (terms.points, dict(terms.of_owners), terms.maximum, terms.per_day) == (2000, {}, None, None)
    assert (terms.count_per_day, terms.hold_proceeds, made.older_paths) == (100, False, False)
    assert [ms // 3_600_000 for ms in terms.retry_ms] == [24, 72, 120]
    said = {"commission_bps": 1500, "maximum": "5.00 usd", "retry_hours": [], "hold_proceeds": True}
    owners = {"anna": {"charge_bps": 0}, "bert": {}}
    made = settings(tmp_path, full(sign_in=SIGN_IN, charging=said, owners=owners, payouts={})).charging
    assert made is not None
    terms = made.terms
    assert (terms.points, dict(terms.of_owners), terms.retry_ms) == (1500, {"anna": 0}, ())
    assert (terms.maximum, terms.hold_proceeds) == (Money(5_000_000, "usd"), True)


def test_services_are_set_with_their_secrets_from_a_file_or_a_variable(tmp_path: Path) -> None:
    kept = tmp_path / "secret"
    kept.write_text(SECRET + "\n")
    said = full(sign_in=SIGN_IN, charging={}, services={"refund-engine": {"role": "commission"}, "eye": {}})
    environ = {
        "GATEWAY_SERVICES__REFUND_ENGINE__SECRET_FILE": str(kept),
        "GATEWAY_SERVICES__EYE__SECRET": "fbs_" + "9z8y7x6w" * 4,
        "GATEWAY_SERVICES__EYE__ROLE": "auditor",
        "GATEWAY_SERVICES__REFUND_ENGINE__OLDER_SECRET": "fbs_" + "5t6u7v8w" * 4,
    }
    made = from_mapping(said, base=tmp_path, environ=environ, make_secrets=True)
    eye, engine = made.services
    assert (eye.name, eye.role, eye.older, engine.name, engine.owner) == ("eye", "auditor", None, "refund-engine", "")
    assert engine.secret.reveal() == SECRET
    assert engine.older is not None
    assert SECRET not in repr(made)


def test_names_that_begin_with_anothers_are_the_others(tmp_path: Path) -> None:
    """Or anna could keep anna-b's own routes from being served."""
    (tmp_path / "routes.d").mkdir()
    names = {"anna": "anna-api", "anna-b": "anna-b-api"}
    for owner, name in names.items():
        file = {"upstreams": {name: {"url": "https://api.shop.example"}}, "routes": []}
        (tmp_path / "routes.d" / f"{owner}.yaml").write_text(json.dumps(file))
    may = {"routes": {"hosts": ["*.shop.example"], "price_max": "1.00 usd"}, "signs_in": ["amazon:a"]}
    changes: dict[str, Any] = {
        "owners": {"anna": may, "anna-b": {**may, "signs_in": ["amazon:b"]}},
        "sign_in": {"providers": SIGN_IN["providers"][:1]},
        "routes_folder": "routes.d",
    }
    assert set(names.values()) <= set(settings(tmp_path, full(**changes)).upstreams)
    taken = {"upstreams": {"anna-b-api": {"url": "https://api.shop.example"}}, "routes": []}
    (tmp_path / "routes.d/anna.yaml").write_text(json.dumps(taken))
    mistake = wrong(tmp_path, **changes)
    assert mistake.words == "names of yours begin with `anna-`, and with none of `anna-b-`"
