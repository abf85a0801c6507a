"""Each panel of the dashboard is filled: its expressions find series in what a gateway that has served says of itself.

Asked is what the gateway's own scrape can tell: is there a series of this name, with the labels that are chosen and the
labels that are grouped by? `instance` and `job` are Prometheus' own. No PromQL is evaluated, but for a comparison at
the end, which a gateway that is well may not meet.
"""

import re
from collections.abc import Iterator

import pytest
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families as parsed

from tests.callers import funded, pay
from tests.conftest import StageMaker
from tests.providers import provider
from tests.shipped.test_observed import DASHBOARD

Series = dict[str, list[tuple[dict[str, str], float]]]
TROUBLE = {
    "max by (alert) (gateway_alerts_open) > 0": "alerts that are open, and none is",
    "sum by (outcome) (rate(gateway_limits_down_total[$__rate_interval]))": "no shared store of limits was away",
}
"""What finds nothing while nothing is wrong, and why that is so."""
NOTICES_SECRET = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
OF_PROMETHEUS = {"instance", "job"}


def expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def selectors(expression: str) -> list[tuple[str, dict[str, str], set[str]]]:
    """Names, what their labels must match (of each `=~` or `=`), and the labels that are grouped by."""
    grouped = {label.strip() for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in group.split(",")}
    found = []
    for name, chosen in re.findall(r"\b(gateway_\w+)(?:\{([^}]*)\})?", expression):
        wanted = {
            label: (text if sign == "=~" else re.escape(text)).replace("$route", ".*")
            for label, sign, text in re.findall(r'(\w+)\s*(=~|=)\s*"([^"]*)"', chosen)
        }
        found.append((name, wanted, grouped - OF_PROMETHEUS))
    return found


def is_filled(expression: str, scraped: Series) -> bool:
    above = re.search(r">\s*([0-9.]+)\s*$", expression)
    least = float(above[1]) if above else -1.0
    return all(
        any(
            grouped <= labels.keys()
            and value > least
            and all(re.fullmatch(pattern, labels.get(label, "")) for label, pattern in wanted.items())
            for labels, value in scraped.get(name, ())
        )
        for name, wanted, grouped in selectors(expression)
    )


def read(text: str) -> Series:
    found: Series = {}
    for family in parsed(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


async def test_each_panel_finds_what_it_shows(make_stage: StageMaker) -> None:
    """A gateway that was paid, has served and refused; with an issuer, notices to send, and a refusal of each kind."""
    async with provider("clerk") as clerk:
        issuer = {"name": "clerk", "preset": "clerk", "issuer": clerk.issuer, "azp": ["https://shop.example"]}
        told = {
            "url": "http://127.0.0.1:9/told",
            "secrets": ["0f1e2d3c4b5a69788796a5b4c3d2e1f0"],
            "private_addresses": True,
        }
        stage = await make_stage(
            identity={"issuers": [issuer], "private_addresses": True}, notices=told,
            routes=[{"name": "weather", "match": "/weather/", "upstream": "weather", "price": "0.002 usd",
                     "limit": "2/day", "public": True}],
        )  # fmt: skip
        [caller] = await funded(stage, "5.00 usd")
        async with ClientSession() as session:
            async with session.get(f"{stage.url}/weather/oslo") as answer:
                link = (await answer.json())["payment_url"]
            await pay(stage, link)
            for _ in range(3):
                async with session.get(f"{stage.url}/weather/oslo", headers=caller.headers) as answer:
                    await answer.read()
            signed_in = {"Authorization": f"Bearer {clerk.token('user_2abc', azp=issuer['azp'][0])}"}
            async with session.get(f"{stage.url}/weather/oslo", headers=signed_in) as answer:
                assert answer.status == 402
            assert stage.running is not None
            assert stage.settings.secrets.operator_token is not None
            fields = {"Authorization": f"Bearer {stage.settings.secrets.operator_token.reveal()}"}
            freeze = f"{stage.running.admin_address}/accounts/{caller.account}/freeze"
            async with session.post(freeze, json={"reason": "for a notice"}, headers=fields) as answer:
                assert answer.status == 200
            async with session.get(f"{stage.running.admin_address}/metrics") as answer:
                scraped = read(await answer.text())
    empty = {expression for expression in expressions() if not is_filled(expression, scraped)}
    assert empty == TROUBLE.keys()


@pytest.mark.parametrize(
    ("expression", "filled"),
    [
        ('sum by (route, instance) (rate(gateway_requests_total{route=~"$route",status=~"402|429"}[5m]))', True),
        ('sum(gateway_requests_total{status="500"})', False),
        ("sum by (worker) (gateway_requests_total)", False),
        ("max(gateway_nothing)", False),
        ("time() - max(gateway_requests_total)", True),
        ("max(gateway_requests_total) > 1", True),
        ("max(gateway_requests_total) > 2", False),
    ],
)
def test_an_empty_panel_is_noticed(expression: str, filled: bool) -> None:
    scraped = read('# TYPE gateway_requests counter\ngateway_requests_total{route="a",status="402"} 2.0\n')
    assert is_filled(expression, scraped) is filled
