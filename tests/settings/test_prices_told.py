"""What the trail is told of the prices of a configuration: each has a name of its own."""

from pathlib import Path

from gateway.core.price_changes import prices_of
from tests.settings.asking import full, route, settings


def test_a_price_is_told_for_each_method_and_plan_with_its_steps(tmp_path: Path) -> None:
    steps = {"period": "month", "steps": [{"up_to": 5, "price": "free"}, {"price": "0.02 usd"}]}
    pro = {"price": "0.004 usd", "methods": {"POST": "0.03 usd"}}
    priced = route(price=steps, methods={"POST": "0.05 usd"}, plans={"pro": pro})
    plans = {"pro": {"price": "price_1abc", "costs": "10.00 usd", "grants": "10.00 usd"}}
    given = full(routes=[priced], plans=plans)
    [(name, told), *others] = prices_of(settings(tmp_path, given).routes.routes).items()
    assert (name, told.partition(" (")[0]) == ("weather", "5 free a month, then 0.02 usd")
    assert {name: told.partition(" (")[0] for name, told in others} == {
        "weather POST": "0.05 usd",
        "weather for pro": "0.004 usd",
        "weather POST for pro": "0.03 usd",
    }
