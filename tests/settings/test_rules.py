"""What must agree between settings."""

from pathlib import Path
from typing import Any

import pytest

from gateway.core.plans import by_price
from gateway.settings import Mistake
from tests.settings.asking import full, mistakes, only, route, settings


def wrong(base: Path, **changes: Any) -> Mistake:
    return only(mistakes(base, full(**changes)))


def test_only_version_1_is_known(tmp_path: Path) -> None:
    for version in (2, 0, "1", True):
        assert wrong(tmp_path, version=version).words == "the only version of this format is 1"


def test_listen_and_admin_need_an_address_each(tmp_path: Path) -> None:
    for listen, admin in (
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("0.0.0.0:80", "127.0.0.1:80"),
        ("localhost:80", "127.0.0.1:80"),
    ):
        found = wrong(tmp_path, listen=listen, admin=admin)
        assert (found.path, found.words) == ("admin", "listen and admin are the same address; give each its own port")
    assert wrong(tmp_path, listen="127.0.0.1:8403", admin=None).path == "listen"
    for listen, admin in (("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:80", "127.0.0.2:80")):
        settings(tmp_path, full(listen=listen, admin=admin))


def test_live_mode_needs_https_but_on_loopback(tmp_path: Path) -> None:
    live: dict[str, Any] = {"mode": "live", "stripe": None}
    assert "https://" in wrong(tmp_path, public_url="http://pay.example.com", **live).words
    settings(tmp_path, full(public_url="https://pay.example.com", **live))
    settings(tmp_path, full(public_url="http://localhost:8402", **live))
    settings(tmp_path, full(public_url="http://pay.example.com"))


def test_a_cookie_that_browsers_would_drop_is_a_mistake(tmp_path: Path) -> None:
    assert wrong(tmp_path, tokens={"cookie": "__Host-token"}).path == "tokens.cookie"
    assert wrong(tmp_path, tokens={"cookie": "__Host-token"}, public_url=None).path == "tokens.cookie"
    settings(tmp_path, full(tokens={"cookie": "__Host-token"}, public_url="https://a.example"))


def test_a_stand_in_for_stripe_is_local_and_never_live(tmp_path: Path) -> None:
    settings(tmp_path, full(stripe={"api_url": "http://127.0.0.1:12111"}))
    settings(tmp_path, full(stripe={"api_url": "https://stand-in.example"}))
    assert "in the clear" in wrong(tmp_path, stripe={"api_url": "http://stand-in.example"}).words
    live = full(mode="live", public_url="https://a.example", stripe={"api_url": "https://stand-in.example"})
    assert "stripe.api_url" in {mistake.path for mistake in mistakes(tmp_path, live)}


def test_an_upstream_that_is_the_gateway_itself_is_a_mistake(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:8402", "http://localhost:8403"):
        assert "the gateway itself" in wrong(tmp_path, upstreams={"weather": {"url": url}}).words
    settings(tmp_path, full(upstreams={"weather": {"url": "http://10.0.0.7:8402"}}))


def test_prices_and_top_up_are_of_the_one_currency(tmp_path: Path) -> None:
    found = wrong(tmp_path, routes=[route(price="0.002 eur")])
    assert (found.path, found.words) == ("routes[0].price", "the price is in eur, but `currency` is usd")
    found = wrong(tmp_path, stripe={"top_up": "5.00 eur"})
    assert (found.path, found.words) == ("stripe.top_up", "the top-up is in eur, but `currency` is usd")


@pytest.mark.parametrize(
    ("currency", "top_up", "words"),
    [
        ("usd", "0.49 usd", "Stripe takes no payment below 0.50 usd"),
        ("usd", "5.001 usd", "a payment in usd has two decimals"),
        ("usd", "1000000 usd", "Stripe takes no payment of more than eight digits"),
        ("jpy", "49 jpy", "Stripe takes no payment below 50.00 jpy"),
        ("jpy", "500.5 jpy", "a payment in jpy has no decimals"),
        ("kwd", "5.001 kwd", "a payment in kwd has two decimals and a 0"),
        ("krw", None, 'say what a payment link sells, such as "500 krw"'),
    ],
)
def test_a_top_up_must_be_payable(currency: str, top_up: str | None, words: str, tmp_path: Path) -> None:
    found = wrong(tmp_path, currency=currency, stripe={"top_up": top_up}, routes=[route(price="free")])
    assert (found.path, found.words) == ("stripe.top_up", words)


@pytest.mark.parametrize(
    ("currency", "top_up"),
    [("usd", "0.50 usd"), ("usd", "999999.99 usd"), ("jpy", "50 jpy"), ("kwd", "5.01 kwd"), ("krw", "500 krw")],
)
def test_a_top_up_at_the_edge_is_payable(currency: str, top_up: str, tmp_path: Path) -> None:
    settings(tmp_path, full(currency=currency, stripe={"top_up": top_up}, routes=[route(price="free")]))


def test_a_route_without_a_price_is_never_free_by_accident(tmp_path: Path) -> None:
    found = wrong(tmp_path, routes=[route(price=None)])
    assert (found.path, found.words) == (
        "routes[0].price",
        'the route has no price; write one such as "0.002 usd", or say: free',
    )


@pytest.mark.parametrize("price", [0.002, 5, 0, "0.002", True, []])
def test_a_price_that_is_no_text_with_a_currency_is_a_mistake(price: object, tmp_path: Path) -> None:
    assert wrong(tmp_path, routes=[route(price=price)]).path == "routes[0].price"


def test_an_unquoted_amount_is_answered_with_the_right_way_to_write_it(tmp_path: Path) -> None:
    free = [route(price="free")]
    found = wrong(tmp_path, currency="eur", routes=[route(price=0.25)], stripe=None)
    assert found.words == 'write it quoted, with a currency: "0.25 eur"'
    assert wrong(tmp_path, stripe={"top_up": 5}, routes=free).words == 'write it quoted, with a currency: "5 usd"'


def test_names_of_routes_are_unique(tmp_path: Path) -> None:
    found = wrong(tmp_path, routes=[route(), route(match="/b/")])
    assert (found.path, found.words) == ("routes[1].name", "routes[0] has this name")
    found = wrong(tmp_path, routes=[route(name="a-b"), route(name="a_b", match="/b/")])
    assert "the same in a variable" in found.words


def test_names_of_upstreams_differ_in_variables_too(tmp_path: Path) -> None:
    more = {"a-b": {"url": "http://127.0.0.1:1"}, "a_b": {"url": "http://127.0.0.1:2"}}
    assert "the same name in a variable" in wrong(tmp_path, upstreams=more).words


def test_an_unknown_upstream_is_a_mistake_with_a_guess(tmp_path: Path) -> None:
    found = wrong(tmp_path, routes=[route(upstream="wether")])
    assert found.words == "there is no upstream `wether`; did you mean `weather`?"


def test_routes_must_not_shadow_one_another(tmp_path: Path) -> None:
    found = wrong(tmp_path, routes=[route(), route(name="b")])
    assert found.path == "routes[1].match"
    assert found.words == "routes[0] (`weather`) has the same match, so one of the two would never be reached"
    found = wrong(tmp_path, routes=[route(), route(name="b", match="/WEATHER/")])
    assert "only in capital letters" in found.words
    settings(tmp_path, full(routes=[route(), route(name="b", match="/weather"), route(name="c", match="/")]))


@pytest.mark.parametrize("match", ["/-/", "/-/wallet", "/-", "/.well-known/x", "/.well-known", "/.Well-Known/"])
def test_our_own_addresses_are_no_routes(match: str, tmp_path: Path) -> None:
    assert "belong to the gateway itself" in wrong(tmp_path, routes=[route(match=match)]).words


def test_addresses_that_only_look_like_ours_are_routes(tmp_path: Path) -> None:
    for match in ("/-x/", "/.well-known-x/", "/a/-/"):
        settings(tmp_path, full(routes=[route(match=match)]))


def test_a_webhook_alias_is_no_route(tmp_path: Path) -> None:
    aliases = {"webhook_aliases": ["/stripe-webhook"]}
    for match in ("/stripe-webhook", "/stripe-webhook/"):
        assert "receives webhooks" in wrong(tmp_path, stripe=aliases, routes=[route(match=match)]).words
    settings(tmp_path, full(routes=[route(match="/stripe-webhook")]))
    found = wrong(tmp_path, stripe={"webhook_aliases": ["/stripe-webhok"]})
    assert "did you mean `/stripe-webhook`?" in found.words


@pytest.mark.parametrize("match", ["/llms.txt", "/"])
def test_an_alias_of_the_price_list_hides_no_route(match: str, tmp_path: Path) -> None:
    found = wrong(tmp_path, price_list={"aliases": ["/llms.txt"]}, routes=[route(name="theirs", match=match)])
    assert (found.path, found.words) == ("price_list.aliases[0]", "the route `theirs` serves this path")
    for other in ("/llms.txt/", "/llms", "/pricing/"):
        made = settings(tmp_path, full(price_list={"aliases": ["/llms.txt"]}, routes=[route(match=other)]))
        assert made.price_list_aliases == ("/llms.txt",)
    assert "did you mean `/pricing`?" in wrong(tmp_path, price_list={"aliases": ["/prices"]}).words


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"routes": {"a": 1}}, "routes", "a list of routes"),
        ({"routes": ["x"]}, "routes[0]", "each as `name: value`"),
        ({"upstreams": ["x"]}, "upstreams", "each as `name: value`"),
        ({"tokens": "x"}, "tokens", "each as `name: value`"),
        (
            {"stripe": {"webhook_secrets": "whsec_9fK2mQ7xTzB4nH8vLc3YpR6s"}},
            "stripe.webhook_secrets",
            "a list of secret",
        ),
        ({"stripe": {"webhook_secrets": []}}, "stripe.webhook_secrets", "the list is empty"),
        ({"stripe": {"webhook_secrets": None}}, "stripe.webhook_secrets", "is missing; give it a list"),
        ({"stripe": {"webhook_tolerance_seconds": 0}}, "stripe.webhook_tolerance_seconds", "it must be 1 or more"),
        ({"stripe": {"webhook_tolerance_seconds": 86_401}}, "stripe.webhook_tolerance_seconds", "86400 or less"),
        ({"stripe": {"reconcile_seconds": -1}}, "stripe.reconcile_seconds", "it must be 0 or more"),
        ({"stripe": {"reconcile_seconds": 86_401}}, "stripe.reconcile_seconds", "86400 or less"),
        ({"stripe": {"webhook_tolerance_seconds": "5"}}, "stripe.webhook_tolerance_seconds", "without quotes"),
        ({"log": {"level": ["info"]}}, "log.level", "expected here is `debug` or"),
        ({"log": {"colour": "red"}}, "log.colour", "there is no setting `colour` here; there is: format, level"),
        ({"admin": ["x"]}, "admin", "a host:port, not a list"),
        ({"secret_key": "x"}, "secret_key", "did you mean `stripe.secret_key`?"),
        ({"store": "mysql://db"}, "store", "the kinds there are: sqlite:"),
        ({"store": "postgres://db"}, "store", "write a database as postgresql://"),
    ],
)
def test_what_is_not_of_the_shape_is_explained(changes: dict[str, Any], path: str, words: str, tmp_path: Path) -> None:
    found = wrong(tmp_path, **changes)
    assert found.path == path
    assert words in found.words


def test_an_upstream_given_as_an_address_is_shown_how_to_write_it(tmp_path: Path) -> None:
    values = full()
    values["upstreams"]["weather"] = "http://127.0.0.1:9001"
    assert only(mistakes(tmp_path, values)).words.endswith("write {url: http://127.0.0.1:9001}")


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert "is a folder" in wrong(tmp_path, store="sqlite:./data").words


def test_a_path_that_no_file_system_takes_is_a_mistake(tmp_path: Path) -> None:
    found = mistakes(tmp_path, full(store="sqlite:" + "a" * 5000 + "/x.db", secrets=None))
    assert all("cannot be read: File name too long" in mistake.words for mistake in found)


def test_a_rule_is_silent_about_what_is_wrong_by_itself(tmp_path: Path) -> None:
    found = wrong(tmp_path, currency="dollars")
    assert found.path == "currency"
    found = wrong(tmp_path, routes=[route(match="x"), route(name="b", match="/b/")])
    assert found.path == "routes[0].match"


POSTGRES = "postgresql://gateway@db.example/gateway"


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"store": "postgresql://a:pw1@db/x", "store_password": "pw2"}, "store_password", "write it once"),
        ({"store_password": "pw2"}, "store_password", "for a store at postgresql://"),
        ({"host_name": "shop-1"}, "host_name", "for a store at postgresql://"),
    ],
)
def test_a_database_is_shared_as_it_can_be(changes: dict[str, Any], path: str, words: str, tmp_path: Path) -> None:
    [mistake] = mistakes(tmp_path, full(**changes))
    assert mistake.path == path
    assert words in mistake.words
    assert "pw" not in str(mistake).replace("postgresql", "")


def test_a_store_may_be_a_database(tmp_path: Path) -> None:
    found = settings(tmp_path, full(store=POSTGRES, listen="127.0.0.1:8402"), {"GATEWAY_STORE_PASSWORD": "hush"})
    assert found.store_url is not None
    assert found.store_password is not None
    assert (found.store_url.reveal(), found.store_password.reveal()) == (POSTGRES, "hush")
    assert found.host_name.endswith(":8402")
    assert found.secrets_path == tmp_path / "data/secrets"
    assert settings(tmp_path, full(store=POSTGRES, host_name="shop-1")).host_name == "shop-1"
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("environment", "mode"), [("production", "test"), ("staging", "live"), ("development", "live")]
)
def test_an_environment_that_is_not_of_the_mode_is_a_mistake(tmp_path: Path, environment: str, mode: str) -> None:
    found = wrong(tmp_path, environment=environment, mode=mode, stripe=None)
    assert found.path == "environment"
    assert "mode is" in found.words


def test_an_environment_follows_the_mode_if_it_is_not_given(tmp_path: Path) -> None:
    for given, mode, environment in (
        (None, "test", "development"),
        (None, "live", "production"),
        ("staging", "test", "staging"),
        ("production", "live", "production"),
    ):
        assert settings(tmp_path, full(mode=mode, environment=given, stripe=None)).environment == environment


@pytest.mark.parametrize("text", ["0d", "90", "36501d", "1.5d", "90 days"])
def test_events_are_kept_for_whole_days(tmp_path: Path, text: str) -> None:
    assert "90d" in wrong(tmp_path, webhooks={"keep_events": text}).words
    assert settings(tmp_path, full(webhooks={"keep_events": "36500d"})).retention.events_days == 36_500
    assert settings(tmp_path, full()).retention.events_days == 90


def test_amounts_to_choose_from_can_be_paid_and_lie_within_their_bounds(tmp_path: Path) -> None:
    outside = "the payment link suggests stripe.top_up, 5.00 usd, which is outside"
    low, high = "this is less than stripe.amount_min, 2.00 usd", "this is more than stripe.amount_max, 8.00 usd"
    for stripe, path, words in (
        ({"amounts": ["5.00 usd", "5.00 eur"]}, "stripe.amounts[1]", "this is in eur, but `currency` is usd"),
        ({"amounts": ["0.49 usd"]}, "stripe.amounts[0]", "Stripe takes no payment below 0.50 usd"),
        ({"amount_min": "0.001 usd"}, "stripe.amount_min", "a payment in usd has two decimals"),
        ({"amount_min": "2 usd", "amount_max": "1 usd"}, "stripe.amount_max", low),
        ({"amounts": ["1 usd"], "amount_min": "2 usd"}, "stripe.amounts[0]", low),
        ({"payment_link": "choose", "top_up": "5 usd", "amount_min": "6 usd"}, "stripe.amount_min", outside),
        ({"payment_link": "choose", "top_up": "5 usd", "amount_max": "4 usd"}, "stripe.amount_max", outside),
        ({"payment_link": "choose", "amount_max": "4 usd"}, "stripe.amount_max", outside),
        ({"amounts": ["9 usd"], "amount_max": "8 usd"}, "stripe.amounts[0]", high),
        ({"auto_top_up": {"per_day": "9 eur"}}, "stripe.auto_top_up.per_day", "this is in eur, but `currency` is usd"),
        (
            {"auto_top_up": {"per_day": "9 usd", "per_month": "8 usd"}},
            "stripe.auto_top_up.per_month",
            "this is less than per_day, 9.00 usd",
        ),
    ):
        found = wrong(tmp_path, stripe=stripe)
        assert (found.path, found.words) == (path, words)


def test_what_may_be_chosen_follows_from_the_top_up(tmp_path: Path) -> None:
    made = settings(tmp_path, full(stripe={"top_up": "4 usd", "auto_top_up": {}})).stripe
    assert made is not None
    assert [str(one) for one in made.choice.presets] == ["4.00 usd", "8.00 usd", "20.00 usd"]
    assert (str(made.choice.least), str(made.choice.most)) == ("4.00 usd", "400.00 usd")
    assert made.auto_top_up is not None
    assert (str(made.auto_top_up.day), str(made.auto_top_up.month)) == ("40.00 usd", "160.00 usd")
    made = settings(tmp_path, full(stripe={"amounts": ["3 usd", "30 usd"], "amount_max": "50 usd"})).stripe
    assert made is not None
    assert (str(made.choice.least), str(made.choice.most), made.auto_top_up) == ("3.00 usd", "50.00 usd", None)


def test_notices_leave_by_https_and_to_the_internet(tmp_path: Path) -> None:
    def told(url: str, **more: Any) -> dict[str, Any]:
        return {"notices": {"url": url, "secrets": ["a-long-secret-of-our-own-0123456789"], **more}}

    for url, word in (
        ("http://shop.example/told", "in the clear"),
        ("https://169.254.169.254/told", "no address of the internet"),
        ("https://[::1]/told", "no address of the internet"),
        ("ftp://shop.example", "http:// or https://"),
        ("https://shop.example/told#x", "fragment"),
        ("https://user:password@shop.example/told", "user name"),
    ):
        found = wrong(tmp_path, **told(url))
        assert found.path == "notices.url"
        assert word in found.words
    assert wrong(tmp_path, **told("https://shop.example/", low_balance="1.00 eur")).path == "notices.low_balance"
    for url, private in (
        ("https://shop.example/told?by=us&to=them", False),
        ("https://93.184.215.14:8443/", False),
        ("http://127.0.0.1:9000/told", True),
        ("https://10.0.0.7/told", True),
    ):
        made = settings(tmp_path, full(**told(url, private_addresses=private, low_balance="1.00 usd"))).notices
        assert made is not None
        assert (made.url, str(made.low_balance)) == (url, "1.00 usd")


def test_all_answers_that_are_kept_have_room_for_one(tmp_path: Path) -> None:
    found = wrong(tmp_path, idempotency={"answer_max": "2 KiB", "answers_max": "2047 B"})
    assert (found.path, "less than idempotency.answer_max" in found.words) == ("idempotency.answers_max", True)
    assert wrong(tmp_path, idempotency={"answer_max": "2 GiB"}).path == "idempotency.answers_max"
    made = settings(tmp_path, full(idempotency={"answer_max": "2 KiB", "answers_max": "2 KiB"})).idempotency
    assert (made.answer_bytes_max, made.answers_bytes_max) == (2048, 2048)


def test_the_most_of_a_day_is_of_our_currency_and_at_least_one_payment(tmp_path: Path) -> None:
    stripe = full()["stripe"]
    most = {**stripe, "amount_max": "50.00 usd"}
    for day, word in (("100.00 eur", "`currency` is usd"), ("49.99 usd", "less than stripe.amount_max")):
        found = wrong(tmp_path, stripe={**most, "amount_day_max": day})
        assert found.path == "stripe.amount_day_max"
        assert word in found.words
    made = settings(tmp_path, full(stripe={**most, "amount_day_max": "50.00 usd"})).stripe
    usual = settings(tmp_path, full(stripe=most)).stripe
    assert made is not None
    assert usual is not None
    assert [str(one.choice.day_most) for one in (made, usual)] == ["50.00 usd", "250.00 usd"]


PLAN = {"price": "price_1", "costs": "10 usd"}


def test_plans_are_sold_in_our_currency_each_at_a_price_of_its_own(tmp_path: Path) -> None:
    for plans, path, words in (
        ({"a": {**PLAN, "costs": "10 eur"}}, "plans.a.costs", "this is in eur, but `currency` is usd"),
        ({"a": {**PLAN, "grants": "1 eur"}}, "plans.a.grants", "this is in eur, but `currency` is usd"),
        ({"a": {**PLAN, "costs": "0 usd"}}, "plans.a.costs", "an amount of nothing is no amount"),
        ({"a": PLAN, "b": PLAN}, "plans.b.price", "has the same price, and one price can be one plan"),
        (
            {"a": PLAN, "b": {**PLAN, "price": "price_2", "older_prices": {"price_1": "9 usd"}}},
            "plans.b.older_prices.price_1",
            "`a` has the same price",
        ),
        (
            {"a": {**PLAN, "older_prices": {"price_1": "9 usd"}}},
            "plans.a.older_prices.price_1",
            "one price can be one plan",
        ),
        ({"a": {**PLAN, "older_prices": {"price_0": "9 eur"}}}, "plans.a.older_prices.price_0", "this is in eur"),
        ({"a": {**PLAN, "older_prices": {"prod_1": "9 usd"}}}, "plans.a.older_prices.prod_1", "begins with price_"),
        ({"a": {**PLAN, "price": "prod_1"}}, "plans.a.price", "is not the id of a price at Stripe"),
        ({"a": {**PLAN, "priority": 1001}}, "plans.a.priority", ""),
    ):
        found = wrong(tmp_path, plans=plans)
        assert found.path == path
        assert words in found.words
    assert "add `stripe`" in wrong(tmp_path, stripe=None, plans={"a": PLAN}).words


def test_a_plan_counts_at_the_prices_that_it_had_before(tmp_path: Path) -> None:
    plans = {"a": {**PLAN, "grants": "20 usd", "older_prices": {"price_0": "8 usd"}}}
    [plan] = settings(tmp_path, full(plans=plans)).plans
    assert plan.prices == ("price_1", "price_0")
    assert {price: (str(one.costs), str(one.grants)) for price, one in by_price([plan]).items()} == {
        "price_1": ("10.00 usd", "20.00 usd"),
        "price_0": ("8.00 usd", "20.00 usd"),
    }


def test_a_plan_may_grant_a_named_credit_and_a_flat_price_be_one(tmp_path: Path) -> None:
    plans = {"a": {**PLAN, "grants": "3 unit:export"}}
    steps = {"period": "day", "steps": [{"up_to": 5, "price": "free"}, {"price": "1 unit:export"}]}
    found = settings(tmp_path, full(plans=plans, routes=[route(price="1 unit:export")]))
    assert (str(found.plans[0].grants), found.routes.routes[0].rule) == ("3 unit:export", "1 unit:export")
    for changes, path, words in (
        ({"plans": {"a": {**PLAN, "costs": "3 unit:export"}}}, "plans.a.costs", "is not an amount"),
        ({"plans": {"a": {**PLAN, "grants": "0.5 unit:export"}}}, "plans.a.grants", "a whole number"),
        ({"plans": {"a": {**PLAN, "grants": "0 unit:export"}}}, "plans.a.grants", "nothing to grant"),
        ({"routes": [route(price="0 unit:export")]}, "routes[0].price", "nothing to grant or to ask for"),
        ({"routes": [route(price="1 unit:Export")]}, "routes[0].price", "small letters"),
        (
            {"routes": [route(price=steps)]},
            "routes[0].price.steps[1].price", "steps are of money",
        ),
    ):  # fmt: skip
        mistake = wrong(tmp_path, **changes)
        assert mistake.path == path
        assert words in mistake.words


def test_a_plan_grants_what_it_costs_unless_it_says_otherwise(tmp_path: Path) -> None:
    more = {"price": "price_2", "costs": "10 usd", "grants": "15 usd", "expires": "period_end", "grace": "2h"}
    plain, other = settings(tmp_path, full(plans={"a": PLAN, "b": {**more, "priority": -7}})).plans
    assert (plain.name, plain.grants, plain.ends, plain.priority) == ("a", plain.costs, False, 0)
    assert (str(other.grants), other.ends, other.grace_ms, other.priority) == ("15.00 usd", True, 7_200_000, -7)
