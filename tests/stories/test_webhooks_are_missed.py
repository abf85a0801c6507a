"""No webhook comes, for a while or ever: the payment is credited all the same, and its refund taken back."""

import asyncio

from aiohttp import ClientSession

from gateway.cli.stage import Stage
from tests.callers import audited, reference_in, unpaid
from tests.conftest import StageMaker


async def until_balance(stage: Stage, account: str, wanted: str) -> None:
    async with asyncio.timeout(10):
        while str((await stage.gateway.ledger.balance(account, "usd")).available) != wanted:
            await asyncio.sleep(0.05)


async def test_a_lost_webhook_is_made_up_for_while_the_gateway_runs(make_stage: StageMaker) -> None:
    stage = await make_stage(stripe={"reconcile_seconds": 1})
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        stage.stand_in.drop_next(100)
        bought = stage.stand_in.pay(refused["payment_url"], client_reference_id=reference_in(refused["payment_url"]))
        await until_balance(stage, refused["account"], "5.00 usd")
        stage.stand_in.refund(bought["id"], 200)
        await until_balance(stage, refused["account"], "3.00 usd")
        headers = {"Authorization": f"Bearer {refused['access_token']}"}
        async with session.get(stage.url + "/weather/oslo", headers=headers) as answer:
            assert answer.status == 200
    assert audited(stage).credits == 1


async def test_what_happened_while_the_gateway_was_down_is_made_up_for_at_start(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
    settings = stage.settings
    await stage.stop_gateway()
    stage.stand_in.drop_next(100)
    stage.stand_in.pay(refused["payment_url"], client_reference_id=reference_in(refused["payment_url"]))
    await stage.start_gateway(settings)
    await until_balance(stage, refused["account"], "5.00 usd")
    assert audited(stage).credits == 1


async def test_while_stripe_is_down_callers_with_money_are_served(make_stage: StageMaker) -> None:
    stage = await make_stage(stripe={"reconcile_seconds": 1})
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        stage.stand_in.pay(refused["payment_url"], client_reference_id=reference_in(refused["payment_url"]))
        await until_balance(stage, refused["account"], "5.00 usd")
        await stage.stand_in.stop()
        headers = {"Authorization": f"Bearer {refused['access_token']}"}
        for _ in range(20):
            async with session.get(stage.url + "/weather/oslo", headers=headers) as answer:
                assert answer.status == 200
            await asyncio.sleep(0.1)
    audited(stage)
