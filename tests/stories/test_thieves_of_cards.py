"""Who tries stolen cards, or pays from where no payments are taken, gets no further; everybody else is served."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner

from gateway.cli import main
from gateway.cli.stage import Stage
from gateway.demo.standin.till import PaymentDeclined
from tests.callers import BROWSER, funded, reference_in, unpaid
from tests.conftest import StageMaker
from tests.geo_database import write

DECLINED = "4000000000000002"
REFUSED = (DECLINED, "4000000000009995", "4000000000000069")
NORWAY, SWEDEN, NOWHERE = "192.0.2.7", "198.51.100.7", "203.0.113.7"
TOP_UPS = "/-/api/v1/top-ups"


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
def database(tmp_path: Path) -> Path:
    networks = {"192.0.2.0/24": "NO", "198.51.100.0/24": "SE"}
    return write(tmp_path / "x.mmdb", {name: {"country": {"iso_code": code}} for name, code in networks.items()})


def at(address: str, **more: str) -> dict[str, str]:
    return {"X-Forwarded-For": address, **more}


async def asked(stage: Stage, client: ClientSession, headers: dict[str, str], path: str = "/weather/oslo") -> Any:
    async with client.get(stage.url + path, headers=headers, allow_redirects=False) as answer:
        told = await answer.json() if answer.content_type == "application/problem+json" else {}
        return answer.status, told.get("code"), await answer.text()


async def ordered(stage: Stage, client: ClientSession, headers: dict[str, str]) -> tuple[int, Any]:
    async with client.post(stage.url + TOP_UPS, json={"amount": "5.00"}, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_country_that_may_not_pay_is_offered_no_way_to(
    make_stage: StageMaker, client: ClientSession, database: Path
) -> None:
    stage = await make_stage(trusted_proxies=["127.0.0.1"], geo={"database": str(database), "deny": ["SE"]})
    assert (await asked(stage, client, at(NORWAY)))[:2] == (402, "payment_required")
    assert (await asked(stage, client, at(NOWHERE)))[:2] == (402, "payment_required")
    assert (await asked(stage, client, at(SWEDEN)))[:2] == (403, "country_refused")
    status, _, page = await asked(stage, client, at(SWEDEN, **BROWSER))
    assert (status, "No payments are taken from here" in page) == (403, True)
    status, told = await ordered(stage, client, at(SWEDEN))
    assert (status, told["code"]) == (403, "country_refused")
    assert (await ordered(stage, client, at(NORWAY)))[0] == 201
    _, _, page = await asked(stage, client, at(SWEDEN, **BROWSER), "/-/top-up")
    form = {"amount": "5.00 usd", "for": re.findall(r'name="for" value="([^"]+)"', page)[0]}
    async with client.post(stage.url + "/-/top-up", data=form, headers=at(SWEDEN)) as answer:
        assert (answer.status, "takes none from the country" in await answer.text()) == (403, True)
    assert len(stage.stand_in.sessions) == 1
    assert (await asked(stage, client, at(SWEDEN), "/status/oslo"))[0] == 200, "what is free is free from everywhere"


async def test_who_has_paid_is_served_wherever_they_are(
    make_stage: StageMaker, client: ClientSession, database: Path
) -> None:
    stage = await make_stage(trusted_proxies=["127.0.0.1"], geo={"database": str(database), "allow": ["NO"]})
    [caller] = await funded(stage, "1.00 usd")
    assert (await asked(stage, client, at(SWEDEN, **caller.headers)))[0] == 200
    assert (await asked(stage, client, at(NORWAY)))[0] == 402
    assert (await asked(stage, client, at(NOWHERE)))[0] == 403, "with a list of who may, nobody else may"


async def test_one_country_asks_for_so_many_checkouts(
    make_stage: StageMaker, client: ClientSession, database: Path
) -> None:
    stage = await make_stage(trusted_proxies=["127.0.0.1"], geo={"database": str(database), "checkouts": "2/hour"})
    codes = [(await ordered(stage, client, at(f"192.0.2.{number}")))[0] for number in range(3)]
    assert codes == [201, 201, 429]
    status, told = await ordered(stage, client, at("192.0.2.9"))
    assert (status, told["violated-policies"]) == (429, ["checkouts_per_country"])
    assert (await ordered(stage, client, at(SWEDEN)))[0] == 201


async def test_a_card_that_is_tried_again_and_again_freezes_the_account_that_it_is_tried_for(
    make_stage: StageMaker, client: ClientSession
) -> None:
    stage = await make_stage(stripe={"tries_per_card": "3/hour"})
    assert stage.gateway.paying.webhooks is not None
    made = [await ordered(stage, client, {}) for _ in range(2)]
    thief, victim = (told for _, told in made)

    async def tried(told: Any, card: str) -> None:
        with pytest.raises(PaymentDeclined):
            stage.stand_in.pay(told["payment_url"], card=card)
        await stage.stand_in.settled()
        assert stage.gateway.paying.webhooks is not None
        await stage.gateway.paying.webhooks.settled()

    stage.stand_in.pay(victim["payment_url"])
    await stage.stand_in.settled()
    await stage.gateway.paying.webhooks.settled()
    for _ in range(3):
        await tried(thief, DECLINED)
    assert await stage.gateway.records.freezes.freezes_of(thief["account"]) == []
    await tried(thief, DECLINED)
    [row] = await stage.gateway.records.freezes.freezes_of(thief["account"])
    assert (row.frozen, row.reason) == (True, "one card was tried more often than 3/hour")
    of_thief, of_victim = ({"Authorization": f"Bearer {told['access_token']}"} for told in (thief, victim))
    assert (await asked(stage, client, of_victim))[0] == 200
    assert (await asked(stage, client, of_thief))[:2] == (403, "account_frozen")


async def test_many_cards_that_are_tried_once_each_at_one_payment_link_freeze_its_account(
    make_stage: StageMaker, client: ClientSession
) -> None:
    stage = await make_stage(stripe={"declines_per_account": "2/hour"})
    refused = await unpaid(stage, client)
    assert stage.gateway.paying.webhooks is not None
    for card in REFUSED:
        with pytest.raises(PaymentDeclined):
            stage.stand_in.pay(
                refused["payment_url"], client_reference_id=reference_in(refused["payment_url"]), card=card
            )
        await stage.stand_in.settled()
        await stage.gateway.paying.webhooks.settled()
    [row] = await stage.gateway.records.freezes.freezes_of(refused["account"])
    assert (row.frozen, row.reason) == (True, "cards were refused more often than 2/hour")


def test_a_file_that_is_no_database_stops_the_start_with_plain_words(tmp_path: Path) -> None:
    (tmp_path / "country.mmdb").write_text("<html>not found</html>")
    config = tmp_path / "gateway.yaml"
    config.write_text(f"version: 1\nstore: sqlite:{tmp_path}/x.db\ngeo: {{database: {tmp_path}/country.mmdb}}\n")
    done = CliRunner().invoke(main, ["run", "--config", str(config)])
    assert done.exit_code != 0
    assert "is no database in MaxMind's format" in done.output
