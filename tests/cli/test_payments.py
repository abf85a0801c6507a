"""What an operator does about payments that reached nobody, beside a running gateway and without one."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from gateway.core.ledger import Credit
from gateway.core.money import Money
from tests import programs
from tests.callers import audited, pay, reference_in, signed, unpaid
from tests.conftest import StageMaker

ACCOUNT = "acct_" + "0" * 31 + "a"
OTHER = "acct_" + "0" * 31 + "b"


class Operator:
    """Types commands at a stage."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self._config = folder / "gateway.yaml"
        admin, listen = stage.settings.admin, stage.settings.public_url.rpartition(":")[2]
        config = {**stage._config(int(listen), admin[1]), "store": f"sqlite:{stage.settings.store_path}"}
        self._config.write_text(json.dumps(config))

    async def types(self, *words: str, code: int = 0) -> str:
        done = await asyncio.to_thread(programs.run, *words, "--config", str(self._config))
        assert done.returncode == code, done
        return done.stdout + done.stderr

    async def asks(self, *words: str, code: int = 0) -> Any:
        return json.loads(await self.types(*words, "--json", code=code))


@pytest.fixture
async def scene(make_stage: StageMaker, tmp_path: Path) -> tuple[Stage, Operator]:
    stage = await make_stage()
    return stage, Operator(stage, tmp_path / "stage0")


async def lost(stage: Stage) -> dict[str, Any]:
    """A payment that names nobody."""
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
    bought = stage.stand_in.pay(refused["payment_url"], client_reference_id="nobody-knows-this-one")
    await heard(stage)
    return bought


async def heard(stage: Stage) -> None:
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()


@pytest.mark.parametrize("runs", [True, False], ids=["beside a running gateway", "without one"])
async def test_a_parked_payment_is_seen_and_assigned_once(scene: tuple[Stage, Operator], runs: bool) -> None:
    stage, operator = scene
    bought = await lost(stage)
    stage.stand_in.refund(bought["id"], 100)
    await heard(stage)
    if not runs:
        await stage.stop_gateway()
    [payment, refund_, *rest] = await operator.asks("payments", "parked")
    assert (payment["payment"], payment["amount"], payment["status"]) == (bought["id"], "5.00 usd", "parked")
    assert "names no account" in payment["why"]
    assert (refund_["payment"], refund_["status"]) == (bought["payment_intent"], "waiting")
    assert "nobody-knows" not in await operator.types("payments", "parked")

    would = await operator.types("payments", "assign", bought["id"], ACCOUNT)
    assert "would be credited" in would
    assert "--yes" in would
    assert len(await operator.asks("payments", "parked")) == 2 + len(rest), "a dry run does nothing"

    done = await operator.asks("payments", "assign", bought["id"], ACCOUNT, "--yes")
    assert (done["account"], done["outcome"]) == (ACCOUNT, "credited")
    for words in (("--yes",), ()):
        again = await operator.asks("payments", "assign", bought["id"], ACCOUNT, *words)
        assert again["account"] == ACCOUNT
    other = await operator.asks("payments", "assign", bought["id"], OTHER, "--yes", code=1)
    assert other["account"] == ACCOUNT
    assert "no payment is parked" in await operator.types("payments", "parked")
    assert "4.00 usd" in await operator.types("balance", ACCOUNT)
    assert "0.00 usd" in await operator.types("balance", OTHER)
    assert audited(stage).clean


async def test_what_cannot_be_assigned_is_said(scene: tuple[Stage, Operator]) -> None:
    stage, operator = scene
    assert "is not an account id" in await operator.types("payments", "assign", "cs_test_x", "bob", code=2)
    assert "knows no checkout" in await operator.types("payments", "assign", "cs_test_x", ACCOUNT, code=3)
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        bought = await pay(stage, refused["payment_url"])
    taken = await operator.types("payments", "assign", bought["id"], ACCOUNT, code=1)
    assert refused["account"] in taken
    assert "it is another account's" in taken


async def test_a_payment_whose_webhook_was_lost_can_be_assigned_by_its_session(scene: tuple[Stage, Operator]) -> None:
    stage, operator = scene
    stage.stand_in.drop_next(20)
    bought = await lost(stage)
    assert (await operator.asks("payments", "assign", bought["id"], ACCOUNT, "--yes"))["outcome"] == "credited"


async def test_poison_is_seen_and_replayed(scene: tuple[Stage, Operator]) -> None:
    stage, operator = scene
    odd = {
        "id": "evt_odd", "object": "event", "type": "refund.created", "livemode": False, "created": 1,
        "data": {"object": {"id": "re_1", "payment_intent": "pi_1", "amount": "many"}},
    }  # fmt: skip
    body = json.dumps(odd).encode()
    async with ClientSession() as session:
        headers = {"Stripe-Signature": signed(body, stage.webhook_secret)}
        async with session.post(stage.url + "/-/webhooks/stripe", data=body, headers=headers) as answer:
            assert answer.status == 200
    bought = await lost(stage)
    listed = {one["id"]: one for one in await operator.asks("webhooks", "list")}
    assert listed["evt_odd"]["error"] == "ValueError: the refund has no amount"
    assert len(listed) == 2
    assert "evt_odd" in await operator.types("webhooks", "list")
    assert "evt_odd" in await operator.types("payments", "parked")
    assert "evt_odd" in await operator.types("webhooks", "replay", "evt_odd", code=1)
    await operator.types("payments", "assign", bought["id"], ACCOUNT, "--yes")
    done = await operator.asks("webhooks", "list", "--status", "done")
    assert [one["type"] for one in done] == ["checkout.session.completed"]
    again = await operator.asks("webhooks", "replay", done[0]["id"])
    assert again[0]["status"] == "done"
    assert audited(stage).credits == 1
    assert "no such event" in await operator.types("webhooks", "replay", "evt_none", code=3)
    await operator.types("webhooks", "replay", code=2)
    assert len(await operator.asks("webhooks", "list", "--status", "all", "--limit", "3")) == 3


async def test_an_event_that_was_parked_for_a_passing_reason_is_done_when_it_is_replayed(
    scene: tuple[Stage, Operator],
) -> None:
    stage, operator = scene
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        bought = await pay(stage, refused["payment_url"])
    [event] = [one for one in stage.stand_in.events if one["type"] == "checkout.session.completed"]
    await stage.gateway.records.close_event(event["id"], "parked", error="of yesterday")
    assert bought["id"] in await operator.types("payments", "parked")
    done = await operator.asks("webhooks", "replay", "--parked")
    assert [one["status"] for one in done] == ["done"]
    assert audited(stage).credits == 1


async def test_entries_are_written_for_operators_and_payments_only(stage: Stage) -> None:
    token = stage.settings.secrets.operator_token
    assert token is not None
    url = f"http://127.0.0.1:{stage.settings.admin[1]}/entries"
    right = {"verb": "credit", "ref": "stripe:x", "account": ACCOUNT, "amount": "1.00 usd", "kind": "x", "reason": "x"}
    operator = {"Authorization": f"Bearer {token.reveal()}"}
    async with ClientSession() as session:
        async with session.post(url, json=right) as answer:
            assert answer.status == 401
        for new in (True, False):
            async with session.post(url, json=right, headers=operator) as answer:
                assert await answer.json() == {"new": new}
        reverse = {**right, "verb": "reverse", "ref": "stripe:y", "amount": "3.00 usd"}
        async with session.post(url, json=reverse, headers=operator) as answer:
            assert await answer.json() == {"new": True}
        assert str((await stage.gateway.ledger.balance(ACCOUNT, "usd")).available) == "-2.00 usd"
        for wrong in (
            {"verb": "take"}, {"ref": "manual:x"}, {"account": "bob"}, {"amount": "5"}, {"amount": "0.00 usd"},
            {"amount": "1.00 eur"}, {"kind": 7}, {"reason": None},
        ):  # fmt: skip
            async with session.post(url, json={**right, **wrong}, headers=operator) as answer:
                assert answer.status == 400, wrong
        async with session.post(url, json=[], headers=operator) as answer:
            assert answer.status == 400


# --- reconciliation ---------------------------------------------------------------------------------------------------


async def unheard(stage: Stage) -> tuple[dict[str, Any], dict[str, Any]]:
    """A payment of an account, of which no webhook comes: the refusal and the session."""
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
    stage.stand_in.drop_next(100)
    bought = stage.stand_in.pay(refused["payment_url"], client_reference_id=reference_in(refused["payment_url"]))
    await heard(stage)
    return refused, bought


@pytest.mark.parametrize("runs", [True, False], ids=["beside a running gateway", "without one"])
async def test_what_was_paid_and_not_credited_is_found_and_credited(scene: tuple[Stage, Operator], runs: bool) -> None:
    stage, operator = scene
    refused, bought = await unheard(stage)
    stage.stand_in.pay(refused["payment_url"], client_reference_id="nobody-knows-this-one")
    made_up = Credit("stripe:cs_test_madeup", ACCOUNT, Money.parse("5.00 usd"), "payment", "checkout")
    await stage.gateway.ledger.credit(made_up)
    if not runs:
        await stage.stop_gateway()
    for _ in range(2):
        seen = await operator.asks("reconcile", "--from", "2026-01-01", "--dry-run", code=1)
        assert {(one["session"], one["what"], one["done"]) for one in seen["differences"]} >= {
            (bought["id"], "paid at Stripe, not credited here", None),
            ("cs_test_madeup", "credited here, not paid at Stripe", None),
        }
        assert (seen["compared"], len(seen["differences"])) == (3, 3)
    healed = await operator.asks("reconcile", "--from", "2026-01-01", code=1)
    done = {one["session"]: one["done"] for one in healed["differences"]}
    assert sorted(map(str, done.values())) == ["None", "credited", "no account"]
    assert done[bought["id"]] == "credited"
    shown = await operator.types("reconcile", "--from", "2026-01-01", code=1)
    assert "3 payments compared, 2 differences, 2 left" in shown
    assert "5.00 usd" in await operator.types("balance", refused["account"])
    await operator.types("reconcile", "--from", "2026-02-01", "--to", "2026-01-01", code=2)
    await operator.types("reconcile", "--from", "yesterday", code=2)
    empty = await operator.types("reconcile", "--from", "2025-01-01", "--to", "2025-02-01")
    assert "0 payments compared, 0 differences, 0 left" in empty


async def test_without_stripe_the_command_says_so(scene: tuple[Stage, Operator]) -> None:
    stage, operator = scene
    await stage.stand_in.stop()
    assert "Stripe cannot be reached" in await operator.types("reconcile", "--from", "2026-01-01", "--dry-run", code=3)
