"""Deliveries that come twice, fifty times at once, late, forged or broken."""

import io
import json
import time
from collections.abc import Callable

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from tests.callers import audited, pay, reference_in, signed, unpaid
from tests.conftest import StageMaker

SECRET = "whsec_" + "5a" * 24
OLDER_SECRET = "whsec_" + "7b" * 24
EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "checkout.session.completed",
    "livemode": False,
    "created": 1,
    "data": {"object": {"id": "cs_test_1", "object": "checkout.session"}},
}


async def test_fifty_deliveries_at_once_credit_once(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        stage.stand_in.hold()
        stage.stand_in.pay(refused["payment_url"], client_reference_id=reference_in(refused["payment_url"]))
        [event] = [event for event in stage.stand_in.events if event["type"] == "checkout.session.completed"]
        stage.stand_in.deliver_again(event["id"], times=50)
        stage.stand_in.release()
        await stage.stand_in.settled()
        assert stage.gateway.paying.webhooks is not None
        await stage.gateway.paying.webhooks.settled()
    report = audited(stage)
    assert report.credits == 1
    assert report.totals["usd"].credited == 5_000_000


async def test_two_payments_through_one_link_are_two_credits(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        await pay(stage, refused["payment_url"])
        await pay(stage, refused["payment_url"])
    assert audited(stage).totals["usd"].credited == 10_000_000


async def test_an_event_that_was_claimed_before_a_crash_is_acted_on_at_start(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        stage.stand_in.hold()
        stage.stand_in.pay(refused["payment_url"], client_reference_id=reference_in(refused["payment_url"]))
    [event] = [event for event in stage.stand_in.events if event["type"] == "checkout.session.completed"]
    gateway = stage.gateway
    body = json.dumps(event).encode()
    assert gateway.paying.payments is not None
    claimed = gateway.paying.payments.verify(body, signed(body, stage.webhook_secret), now_seconds=int(time.time()))
    await gateway.records.claim(claimed, now_ms=1)
    settings = stage.settings
    await stage.stop_gateway()
    await stage.start_gateway(settings)
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()
    assert audited(stage).totals["usd"].credited == 5_000_000
    done = await stage.gateway.records.events("done")
    assert [found.id for found in done] == [event["id"]]


BAD: dict[str, Callable[[bytes, str], tuple[bytes, str | None]]] = {
    "no signature": lambda body, key: (body, None),
    "an empty signature": lambda body, key: (body, ""),
    "another secret": lambda body, key: (body, signed(body, "whsec_other")),
    "a body that was changed": lambda body, key: (body.replace(b"evt_1", b"evt_2"), signed(body, key)),
    "a timestamp of yesterday": lambda body, key: (body, signed(body, key, at=time.time() - 86_400)),
    "a timestamp of tomorrow": lambda body, key: (body, signed(body, key, at=time.time() + 86_400)),
    "no timestamp": lambda body, key: (body, "v1=" + signed(body, key).partition("v1=")[2]),
    "two timestamps": lambda body, key: (body, "t=1," + signed(body, key)),
    "a timestamp that is no number": lambda body, key: (body, signed(body, key).replace("t=", "t=x")),
    "an old scheme only": lambda body, key: (body, signed(body, key).replace("v1=", "v0=")),
    "a signature of another length": lambda body, key: (body, signed(body, key)[:-2]),
    "a signature that is not ASCII": lambda body, key: (body, signed(body, key)[:-1] + "é"),
    "a thousand signatures": lambda body, key: (body, "t=1" + ",v1=" + ",v1=".join(["0" * 64] * 100)),
    "a body that is no JSON": lambda body, key: (b"{", signed(b"{", key)),
    "a body that is not UTF-8": lambda body, key: (b"\xff\xfe", signed(b"\xff\xfe", key)),
    "a body that is a list": lambda body, key: (b"[]", signed(b"[]", key)),
    "an event without an id": lambda body, key: (b'{"type": "x"}', signed(b'{"type": "x"}', key)),
    "an event with numbers for texts": lambda body, key: (
        (odd := json.dumps({**EVENT, "id": 7, "type": 8}).encode()),
        signed(odd, key),
    ),
    "a body nested too deep": lambda body, key: (b"[" * 100_000, signed(b"[" * 100_000, key)),
    "an empty body": lambda body, key: (b"", signed(b"", key)),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_delivery_gets_400_and_no_credit(stage: Stage, kind: str) -> None:
    body, signature = BAD[kind](json.dumps(EVENT).encode(), stage.webhook_secret)
    headers = {} if signature is None else {"Stripe-Signature": signature}
    async with ClientSession() as session:
        async with session.post(stage.url + "/-/webhooks/stripe", data=body, headers=headers) as answer:
            assert answer.status == 400
            assert (await answer.json())["code"] == "webhook_refused"
    assert audited(stage).credits == 0


async def test_a_delivery_that_is_too_large_gets_413(stage: Stage) -> None:
    async with ClientSession() as session:
        async with session.post(stage.url + "/-/webhooks/stripe", data=io.BytesIO(b"x" * 1_100_000)) as answer:
            assert answer.status == 413


async def test_an_unknown_type_is_kept_and_ignored(stage: Stage) -> None:
    body = json.dumps({**EVENT, "type": "customer.updated"}).encode()
    async with ClientSession() as session:
        for _ in range(2):
            async with session.post(
                stage.url + "/-/webhooks/stripe",
                data=body,
                headers={"Stripe-Signature": signed(body, stage.webhook_secret)},
            ) as answer:
                assert answer.status == 200
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()
    ignored = await stage.gateway.records.events("ignored")
    assert [event.type for event in ignored if event.id == "evt_1"] == ["customer.updated"]


async def test_a_payment_that_names_no_account_is_parked(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
    stage.stand_in.pay(refused["payment_url"], client_reference_id="nobody-knows-this-one")
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()
    assert audited(stage).credits == 0
    parked = await stage.gateway.records.events("parked")
    assert [event.type for event in parked] == ["checkout.session.completed"]


async def test_either_of_two_secrets_is_taken(make_stage: StageMaker) -> None:
    stage = await make_stage(stripe={"webhook_secrets": [SECRET, OLDER_SECRET]})
    body = json.dumps({**EVENT, "type": "ping"}).encode()
    async with ClientSession() as session:
        for secret in (SECRET, OLDER_SECRET):
            headers = {"Stripe-Signature": signed(body, secret)}
            async with session.post(stage.url + "/-/webhooks/stripe", data=body, headers=headers) as answer:
                assert answer.status == 200


async def test_an_older_address_is_served_only_when_it_is_switched_on(make_stage: StageMaker) -> None:
    stage = await make_stage(stripe={"webhook_secrets": [SECRET], "webhook_aliases": ["/stripe-webhook"]})
    body = json.dumps({**EVENT, "type": "ping"}).encode()
    async with ClientSession() as session:
        for path, status in (("/stripe-webhook", 200), ("/stripe/webhooks", 404), ("/webhooks/stripe", 404)):
            headers = {"Stripe-Signature": signed(body, SECRET)}
            async with session.post(stage.url + path, data=body, headers=headers) as answer:
                assert answer.status == status
