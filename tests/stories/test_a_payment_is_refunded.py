"""Money goes back to the payer: what was spent of it by then is owed, and paid routes stay shut until it is paid."""

import asyncio
import json
from pathlib import Path

from aiohttp import ClientSession

from gateway.cli.stage import Stage
from tests import programs
from tests.callers import audited, pay, reference_in, unpaid
from tests.conftest import StageMaker
from tests.postgres_server import Server


async def heard(stage: Stage) -> None:
    """Until the gateway has acted on everything that happened at the stand-in."""
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()


async def spend_half(stage: Stage, session: ClientSession, token: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    for _ in range(10):
        async with session.get(stage.url + "/forecast/oslo", headers=headers) as answer:
            assert answer.status == 200
    assert answer.headers["Gateway-Balance"] == "2.50 usd"


async def test_pay_spend_half_refund_in_full_and_pay_again(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        headers = {"Authorization": f"Bearer {refused['access_token']}"}
        bought = await pay(stage, refused["payment_url"])
        await spend_half(stage, session, refused["access_token"])

        stage.stand_in.refund(bought["id"])
        await heard(stage)
        assert str((await stage.gateway.ledger.balance(refused["account"], "usd")).available) == "-2.50 usd"
        async with session.get(stage.url + "/weather/oslo", headers=headers) as answer:
            assert answer.status == 402
            owed = await answer.json()
            assert owed["balance"]["amount"] == "-2.50"
        async with session.get(stage.url + "/status/x", headers=headers) as answer:
            assert answer.status == 200, "what is free is served"

        await pay(stage, owed["payment_url"])
        async with session.get(stage.url + "/weather/oslo", headers=headers) as answer:
            assert answer.status == 200
            assert answer.headers["Gateway-Balance"] == "2.498 usd"
    report = audited(stage)
    assert report.totals["usd"].debt == 0


async def test_a_dispute_that_is_won_gives_back_what_it_took(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        bought = await pay(stage, refused["payment_url"])
        await spend_half(stage, session, refused["access_token"])
        dispute = stage.stand_in.dispute(bought["id"])
        await heard(stage)
        assert str((await stage.gateway.ledger.balance(refused["account"], "usd")).available) == "-2.50 usd"
        stage.stand_in.warn(bought["id"])
        stage.stand_in.close_dispute(dispute["id"], won=True)
        await heard(stage)
        assert str((await stage.gateway.ledger.balance(refused["account"], "usd")).available) == "2.50 usd"
    audited(stage)
    assert await stage.gateway.records.events("waiting") == []
    assert await stage.gateway.records.events("parked") == []


async def test_refunds_that_are_delivered_backwards_before_the_payment_and_twice(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        stage.stand_in.hold()
        bought = stage.stand_in.pay(refused["payment_url"], client_reference_id=reference_in(refused["payment_url"]))
        failing = stage.stand_in.refund(bought["id"], 300, later=True)
        stage.stand_in.settle_refund(failing["id"], succeed=False)
        stage.stand_in.refund(bought["id"], 120)
        for event in stage.stand_in.events[::-1]:
            stage.stand_in.deliver_again(event["id"], times=2)
            await heard(stage)
        stage.stand_in.release("shuffled")
        await heard(stage)
        assert str((await stage.gateway.ledger.balance(refused["account"], "usd")).available) == "3.80 usd"
    audited(stage)


async def test_on_a_database_that_hosts_share_it_is_the_same(
    make_stage: StageMaker, tmp_path: Path, postgres: Server
) -> None:
    dsn = await postgres.schema()
    stage = await make_stage(store=dsn, host_name="one")
    stage.stand_in.hold()
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        link = refused["payment_url"]
        bought = stage.stand_in.pay(link, client_reference_id=reference_in(link))
        lost = stage.stand_in.pay(link, client_reference_id="nobody-knows-this-one")
        stage.stand_in.refund(lost["id"], 100)
        stage.stand_in.release("reversed")
        await heard(stage)
        await spend_half(stage, session, refused["access_token"])
        stage.stand_in.refund(bought["id"])
        await heard(stage)
        assert str((await stage.gateway.ledger.balance(refused["account"], "usd")).available) == "-2.50 usd"

        secrets = stage.settings.secrets
        assert secrets.operator_token is not None
        config = stage._config(int(stage.url.rpartition(":")[2]), stage.settings.admin[1])
        config["secrets"] = {
            "sealing_keys": [key.reveal() for key in secrets.sealing_keys],
            "peppers": [pepper.reveal() for pepper in secrets.peppers],
            "operator_token": secrets.operator_token.reveal(),
        }
        (tmp_path / "gateway.yaml").write_text(json.dumps(config))
        account = "acct_" + "0" * 31 + "a"
        for words, expected in (
            (["payments", "parked"], lost["id"]),
            (["payments", "assign", lost["id"], account], "would be credited"),
            (["payments", "assign", lost["id"], account, "--yes"], "credited"),
            (["balance", account], "4.00 usd"),
            (["webhooks", "list"], "nothing waits"),
            (["reconcile", "--from", "2026-01-01"], "2 payments compared, 0 differences"),
        ):
            shown = await typed(*words, "--config", str(tmp_path / "gateway.yaml"))
            assert expected in shown
    await stage.stop_gateway()


async def typed(*words: str) -> str:
    done = await asyncio.to_thread(programs.run, *words)
    return done.stdout + done.stderr
