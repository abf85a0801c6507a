"""What an operator sees of money that came: `gateway payments list`, and the purses in `gateway account show`."""

from pathlib import Path

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from gateway.core.ledger import Credit
from gateway.core.money import Money
from gateway.core.purses import Purse
from tests.callers import pay, unpaid
from tests.cli.test_payments import ACCOUNT, Operator, heard
from tests.conftest import StageMaker

ENDS_MS = 4_102_444_800_000


@pytest.fixture
async def scene(make_stage: StageMaker, tmp_path: Path) -> tuple[Stage, Operator]:
    stage = await make_stage()
    return stage, Operator(stage, tmp_path / "stage0")


async def test_payments_are_listed_of_all_or_of_an_account_and_what_was_joined_to_it(
    scene: tuple[Stage, Operator],
) -> None:
    stage, operator = scene
    assert await operator.asks("payments", "list") == []
    assert "nothing was paid" in await operator.types("payments", "list")
    async with ClientSession() as session:
        bought = [await pay(stage, (await unpaid(stage, session))["payment_url"]) for _ in range(2)]
    await heard(stage)
    await stage.gateway.ledger.credit(Credit("manual:x", ACCOUNT, Money.parse("9.00 usd"), "manual", "a present"))
    told = await operator.asks("payments", "list")
    assert {one["payment"] for one in told} == {one["id"] for one in bought}, "what was given is not paid"
    assert {(one["amount"], one["kind"]) for one in told} == {("5.00 usd", "checkout")}
    assert [one["at"] for one in told] == sorted(one["at"] for one in told)
    first, second = (one["account"] for one in told)
    assert [one["account"] for one in await operator.asks("payments", "list", first)] == [first]
    assert await operator.asks("payments", "list", ACCOUNT) == []
    line = await operator.types("payments", "list", second)
    assert told[1]["payment"] in line
    assert told[0]["payment"] not in line
    await operator.types("account", "join", first, second, "--reason", "the same person", "--yes")
    for name in (first, second):
        assert [one["account"] for one in await operator.asks("payments", "list", name)] == [second] * 2


async def test_payments_are_listed_since_a_day(scene: tuple[Stage, Operator]) -> None:
    stage, operator = scene
    async with ClientSession() as session:
        await pay(stage, (await unpaid(stage, session))["payment_url"])
    await heard(stage)
    assert len(await operator.asks("payments", "list", "--since", "2020-01-01")) == 1
    assert await operator.asks("payments", "list", "--since", "2199-01-01") == []
    assert "--since: 'noon' is no date" in await operator.types("payments", "list", "--since", "noon", code=2)


async def test_an_account_is_shown_with_its_purses_in_the_order_in_which_they_are_spent(
    scene: tuple[Stage, Operator],
) -> None:
    stage, operator = scene
    for ref, amount, purse in (
        ("paid", "5.00 usd", Purse()),
        ("gift", "2.00 usd", Purse(-10, ENDS_MS)),
        ("empty", "1.00 usd", Purse(-20)),
        ("exports", "7 unit:export", Purse()),
    ):
        credit = Credit(f"manual:{ref}", ACCOUNT, Money.parse_grant(amount), "manual", "", purse)
        await stage.gateway.ledger.credit(credit)
    shown = await operator.asks("account", "show", ACCOUNT)
    assert shown["available"] == "8.00 usd"
    assert shown["purses"] == [
        {"unit": "unit:export", "priority": 0, "expires": None, "left": "7 unit:export"},
        {"unit": "usd", "priority": -20, "expires": None, "left": "1.00 usd"},
        {"unit": "usd", "priority": -10, "expires": "2100-01-01T00:00:00+00:00", "left": "2.00 usd"},
        {"unit": "usd", "priority": 0, "expires": None, "left": "5.00 usd"},
    ]
    said = await operator.types("account", "show", ACCOUNT)
    assert "  purse 2.00 usd  priority -10, until 2100-01-01T00:00:00+00:00" in said
    assert "  purse 5.00 usd  priority 0, for ever" in said
