"""Metered prices and `charge_when` as they are written, and every mistake in them."""

from pathlib import Path
from typing import Any

import pytest

from gateway.core.charging import ChargeWhen
from gateway.core.money import Money
from gateway.core.pricing import MeteredPrice, Price, UnitPrice
from gateway.core.routes import Route
from gateway.settings import price_forms
from tests.settings.asking import full, mistakes, route, settings

TOKENS = {"base": "0.001 usd", "per": {"input_tokens": "3.00 usd per 1M"}, "maximum": "0.50 usd"}


def price_of(tmp_path: Path, **changes: Any) -> object:
    return settings(tmp_path, full(routes=[route(**changes)])).routes.routes[0].price


def test_a_metered_price_is_read(tmp_path: Path) -> None:
    assert price_of(tmp_path, price=TOKENS) == MeteredPrice(
        maximum=Money(500_000, "usd"), base=Money(1_000, "usd"),
        per=(UnitPrice("input_tokens", Money(3_000_000, "usd"), 1_000_000, "3.00 usd per 1M"),),
    )  # fmt: skip


def test_where_only_a_base_costs_it_is_the_maximum(tmp_path: Path) -> None:
    found = price_of(tmp_path, price={"base": "0.001 usd"})
    assert isinstance(found, MeteredPrice)
    assert found.ceiling == Money(1_000, "usd")


def test_a_flat_price_is_metered_only_if_it_is_charged_in_another_way(tmp_path: Path) -> None:
    assert isinstance(price_of(tmp_path, price="0.01 usd"), Price)
    found = price_of(tmp_path, price="0.01 usd", charge_when={"statuses": [404, "2xx"], "late": {"after": "2s"}})
    assert isinstance(found, MeteredPrice)
    assert str(found) == "0.01 usd"
    assert found.charge == ChargeWhen(
        statuses=frozenset((*range(200, 300), 404)), empty=100, cut=0, late=0, late_seconds=2
    )


@pytest.mark.parametrize(
    ("text", "count", "of"),
    [
        ("1 usd", 1, ""), ("1 usd per 1000", 1000, ""), ("1 usd/k", 1000, ""), ("1 usd per 2 M", 2_000_000, ""),
        ("1 usd per GiB", 2**30, "bytes"), ("1 usd / 10 MB", 10_000_000, "bytes"), ("1 usd per hour", 3600, "time"),
    ],
)  # fmt: skip
def test_an_amount_is_for_so_many(text: str, count: int, of: str) -> None:
    assert price_forms.amount_per(text) == price_forms.Amounts(Money(1_000_000, "usd"), count, of)


@pytest.mark.parametrize(
    "text", ["1 usd per", "1 usd per 0", "1 usd per 1.5", "per 1M", "1 usd per day", "1", "0 usd per k"]
)
def test_what_is_no_amount_for_so_many_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        price_forms.amount_per(text)


@pytest.mark.parametrize(
    ("price", "path", "words"),
    [
        ({}, "", "adds up to nothing"),
        ({"per": {"rows": "1 usd"}}, ".maximum", "say in `maximum`"),
        ({"reported": True}, ".maximum", "say in `maximum`"),
        ({**TOKENS, "maximum": "0.0001 usd"}, ".maximum", "less than `base`"),
        ({**TOKENS, "minimum": "1 usd"}, ".maximum", "less than `minimum`"),
        ({**TOKENS, "base": "0.001 eur"}, ".base", "`currency` is usd"),
        ({**TOKENS, "per": {"rows": "1 eur"}}, ".per.rows", "`currency` is usd"),
        ({**TOKENS, "per": {"input_tokns": "1 usd"}}, ".per.input_tokns", "did you mean `input_tokens`"),
        ({**TOKENS, "per": {"pages": "1 usd"}}, ".per.pages", "say in `fields`"),
        ({**TOKENS, "per": {"rows": "1 usd per GiB"}}, ".per.rows", "not bytes"),
        ({**TOKENS, "per": {"rows": "1 usd per hour"}}, ".per.rows", "no time"),
        ({**TOKENS, "per": {"rows": 3}}, ".per.rows", "quoted"),
        ({**TOKENS, "fields": {"pages": "a.b"}}, ".fields.pages", "no price"),
        ({**TOKENS, "fields": {"rows": "a.b"}}, ".fields.rows", "another name"),
        ({**TOKENS, "rows": "a.b"}, ".rows", "no price"),
        ({**TOKENS, "unreported": "free"}, ".unreported", "`maximum` or `minimum`"),
        ({**TOKENS, "maximun": "1 usd"}, ".maximun", "did you mean `maximum`"),
        ({**TOKENS, "bounds": {"rows": "n"}}, ".bounds.rows", "no price"),
        ({**TOKENS, "bounds": {"input_tokens": "a..b"}}, ".bounds.input_tokens", "no path"),
        ({**TOKENS, "slice": "0.01 usd"}, ".slice", "only at the end"),
        ({**TOKENS, "per": {"rows": "1 usd"}, "slice": "0.0001 usd"}, ".slice", "less than `base`"),
        ({"usd": 1}, ".usd", "there is no setting"),
    ],
)
def test_a_mistake_in_a_price_is_told_where_it_is(price: object, path: str, words: str, tmp_path: Path) -> None:
    [found] = mistakes(tmp_path, full(routes=[route(price=price)]))
    assert (found.path, words in found.words) == (f"routes[0].price{path}", True), found.words


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"charge_when": {"statuses": ["9xx"]}}, "statuses[0]"),
        ({"charge_when": {"statuses": [199]}}, "statuses[0]"),
        ({"charge_when": {"statuses": []}}, "statuses"),
        ({"charge_when": {"cut": "101%"}}, "cut"),
        ({"charge_when": {"late": {"due": "50%"}}}, "late.after"),
        ({"charge_when": {"empty": "free"}, "price": "free"}, ""),
    ],
)
def test_a_mistake_in_a_contract_is_told_where_it_is(changes: dict[str, Any], path: str, tmp_path: Path) -> None:
    [found] = mistakes(tmp_path, full(routes=[route(**changes)]))
    assert found.path == ".".join(filter(None, ("routes[0].charge_when", path)))


def test_methods_have_prices_of_their_own_and_all_else_of_the_route(tmp_path: Path) -> None:
    made = settings(
        tmp_path,
        full(routes=[route(price="free", methods={"POST": "0.01 usd", "M-SEARCH": TOKENS}, limit="5/minute")]),
    ).routes.routes[0]
    assert [one.price.ceiling.micros for one in made.variants] == [0, 10_000, 500_000]
    assert {(one.name, one.match, one.limits, one.request_fields) for one in made.variants} == {
        (made.name, made.match, made.limits, made.request_fields)
    }
    assert "x-http-method-override" in made.request_fields.remove
    assert settings(tmp_path, full(routes=[route()])).routes.routes[0].request_fields.remove == frozenset()


@pytest.mark.parametrize(
    ("methods", "path", "words"),
    [
        ({"post": "0.01 usd"}, "methods.post", "write one in capital letters, such as POST"),
        ({"TRACE": "0.01 usd"}, "methods.TRACE", "not a method that is served"),
        ({"POST": "0.01 eur"}, "methods.POST", "the price is in eur, but `currency` is usd"),
        ({"POST": 0.01}, "methods.POST", 'write it quoted, with a currency: "0.01 usd"'),
        ({"POST": {"per": {"rows": "1 usd"}}}, "methods.POST.maximum", "say in `maximum` what an answer costs at most"),
        ({"POST": {"bass": "1 usd"}}, "methods.POST.bass", "did you mean `base`?"),
        ({"POST": {"base": "1 eur"}}, "methods.POST.base", "this is in eur, but `currency` is usd"),
    ],
)
def test_what_is_wrong_with_the_price_of_a_method_is_said_where_it_stands(
    methods: dict[str, Any], path: str, words: str, tmp_path: Path
) -> None:
    found = mistakes(tmp_path, full(routes=[route(methods=methods)]))
    assert [one.path for one in found] == [f"routes[0].{path}"], found
    assert words in found[0].words


def test_what_is_charged_for_a_method_may_be_limited_and_have_a_contract(tmp_path: Path) -> None:
    limits = [{"rate": "5.00 usd/hour"}]
    mixed = route(price="free", methods={"POST": "0.01 usd"}, charge_when={"cut": "50%"}, limits=limits)
    made = settings(tmp_path, full(routes=[mixed])).routes.routes[0]
    assert made.for_method("POST").price.charge.cut == 50
    free = route(price="free", methods={"POST": "free"}, charge_when={"cut": "50%"})
    assert "the route is free" in mistakes(tmp_path, full(routes=[free]))[0].words
    dear = route(price="free", methods={"POST": "9.00 usd"}, limits=limits)
    assert "nobody could ever call it" in mistakes(tmp_path, full(routes=[dear]))[0].words


PLANS = {name: {"price": f"price_{name}", "costs": "10.00 usd"} for name in ("small", "large")}


def by_plan(tmp_path: Path, plans: Any, **changes: Any) -> Route:
    values = full(routes=[route(plans=plans, **changes)], plans=PLANS)
    return settings(tmp_path, values).routes.routes[0]


def test_plans_have_prices_of_their_own_and_the_first_that_is_held_counts(tmp_path: Path) -> None:
    plans = {
        "large": {"price": "free"},
        "small": {"price": TOKENS, "methods": {"GET": "0.003 usd", "PUT": "0.004 usd"}},
    }
    made = by_plan(tmp_path, plans, price="0.01 usd", methods={"POST": "0.05 usd"})
    rules = {
        (method, plans): made.for_method(method).for_plans(plans).rule
        for method in ("HEAD", "GET", "POST", "PUT")
        for plans in ((), ("small",), ("small", "large"), ("other",))
    }
    assert [rules[method, ()] for method in ("HEAD", "GET", "POST")] == ["0.01 usd", "0.01 usd", "0.05 usd"]
    assert [rules[method, ("other",)] for method in ("HEAD", "GET")] == ["0.01 usd"] * 2
    assert rules["HEAD", ("small",)].endswith("at most 0.50 usd (plan small)")
    assert rules["GET", ("small",)] == "0.003 usd (plan small)"
    assert rules["PUT", ("small",)] == "0.004 usd (plan small)"
    assert rules["POST", ("small",)] == "0.05 usd", "what it does not name costs its accounts what it costs others"
    assert rules["HEAD", ("small", "large")] == "free (plan large)"
    assert {one.tariff.price for one in made.variants} >= set(rules.values())
    assert len({(one.name, one.match, one.limits) for one in made.variants}) == 1


def test_every_price_of_a_plan_has_the_contract_of_its_route(tmp_path: Path) -> None:
    made = by_plan(tmp_path, {"small": {"methods": {"GET": "0.01 usd"}}}, charge_when={"cut": "50%"})
    assert made.for_method("GET").for_plans({"small"}).price.charge.cut == 50


def test_where_a_plan_tells_methods_apart_none_poses_as_another(tmp_path: Path) -> None:
    made = by_plan(tmp_path, {"small": {"methods": {"GET": "free"}}})
    assert all("x-http-method-override" in one.request_fields.remove for one in made.variants)
    assert not by_plan(tmp_path, {"small": {"price": "free"}}).request_fields.remove


@pytest.mark.parametrize(
    ("plans", "path", "words"),
    [
        ({"smal": {"price": "free"}}, "plans.smal", "did you mean `small`?"),
        ({"other": {"price": "free"}}, "plans.other", "plans are sold by `plans`"),
        ({"small": {}}, "plans.small", "give it a `price`, or `methods`"),
        ({"small": {"price": "0.01 eur"}}, "plans.small.price", "the price is in eur"),
        ({"small": {"methods": {"GET": "0.01 eur"}}}, "plans.small.methods.GET", "the price is in eur"),
        ({"small": {"price": {"per": {"rows": "1 usd"}}}}, "plans.small.price.maximum", "say in `maximum`"),
        ({"small": {"price": {"base": "1 eur"}}}, "plans.small.price.base", "this is in eur"),
        ({"small": {"methods": {"DELETE": "0.01 usd"}}}, "plans.small.methods.DELETE", "others have this for nothing"),
        ({"small": {"prices": "free"}}, "plans.small.prices", "there is no setting"),
        ({"small": {"price": 0.01}}, "plans.small.price", "write it quoted"),
    ],
)
def test_what_is_wrong_with_the_price_of_a_plan_is_said_where_it_stands(
    plans: dict[str, Any], path: str, words: str, tmp_path: Path
) -> None:
    values = full(routes=[route(plans=plans, methods={"DELETE": "free"})], plans=PLANS)
    found = mistakes(tmp_path, values)
    assert [one.path for one in found] == [f"routes[0].{path}"], found
    assert words in found[0].words


def test_what_everybody_has_for_nothing_costs_no_plan(tmp_path: Path) -> None:
    plans = {"small": {"price": "0.01 usd", "methods": {"GET": "free"}}}
    [found] = mistakes(tmp_path, full(routes=[route(price="free", plans=plans)], plans=PLANS))
    assert (found.path, "nobody would say" in found.words) == ("routes[0].plans.small.price", True)


STEPS = {"period": "week", "steps": [{"price": "free", "up_to": 10}, {"price": TOKENS, "up_to": 30}, {"price": "0.002 usd"}]}  # fmt: skip  # noqa: E501


def test_a_price_may_go_by_the_calls_of_a_period(tmp_path: Path) -> None:
    values = full(routes=[route(price=STEPS, methods={"POST": STEPS})], caps={"time_zone": "Europe/Berlin"})
    [made] = settings(tmp_path, values).routes.routes
    assert made.price.ceiling == Money(500_000, "usd")
    assert [step.rule for step in made.steps] == [
        "free (the first 10 calls of a week)",
        "0.001 usd + 3.00 usd per 1M (input_tokens), at most 0.50 usd (calls 11 to 30 of a week)",
        "0.002 usd (from the 31st call of a week)",
    ]
    caps = [step.step.cap("acct_a") for step in made.steps if step.step is not None]
    assert [(cap.amount, cap.zone) for cap in caps if cap is not None] == [
        (Money(10, "quota:weather:1"), "Europe/Berlin"),
        (Money(20, "quota:weather:2"), "Europe/Berlin"),
    ]
    counted = [step.step.unit for step in made.for_method("POST").steps if step.step is not None]
    assert counted == ["quota:weather.POST:1", "quota:weather.POST:2", "quota:weather.POST:3"]
    assert {one.rule for one in made.variants} > {step.rule for step in made.steps}


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([{"price": "free", "up_to": 10}], "one step alone"),
        ([{"price": "free", "up_to": 10}, {"price": "0.002 usd", "up_to": 20}], "the last step has no end"),
        ([{"price": "free"}, {"price": "0.002 usd"}], "say up to which call this one holds"),
        (
            [{"price": "free", "up_to": 10}, {"price": "0.01 usd", "up_to": 10}, {"price": "0.002 usd"}],
            "not more than that of the step before, 10",
        ),
        ([{"price": "0.01 usd", "up_to": 10}, {"price": "free"}], "the last step cannot be free"),
        ([{"price": "free", "up_to": 10}, {"price": "0.002 eur"}], "the price is in eur"),
        ([{"price": "free", "up_to": 10}, {"price": {"base": "0.002 eur"}}], "this is in eur"),
        ([{"price": "free", "up_to": 10}, {"price": STEPS}], "steps"),
        ([{"price": "free", "up_to": 0}, {"price": "0.002 usd"}], "it must be 1 or more"),
    ],
)
def test_steps_that_do_not_follow_one_another_are_refused(tmp_path: Path, steps: list[Any], words: str) -> None:
    values = full(routes=[route(price={"period": "day", "steps": steps})])
    assert words in str(mistakes(tmp_path, values))


def test_a_price_by_steps_needs_a_period(tmp_path: Path) -> None:
    found = str(mistakes(tmp_path, full(routes=[route(price={"steps": STEPS["steps"]})])))
    assert "period" in found
