"""What one caller can do is bounded: how often, how fast, from where, how much at a time, and how large."""

import io
import json
from pathlib import Path

import pytest
from aiohttp import ClientSession

from gateway.core.payments import Event
from gateway.settings import SettingsInvalid, from_mapping
from tests.callers import funded, unpaid
from tests.conftest import StageMaker
from tests.geo_database import write
from tests.settings.asking import full

TOP_UPS = "/-/api/v1/top-ups"


async def test_a_caller_has_limits_and_so_has_who_guesses_tokens(make_stage: StageMaker) -> None:
    stage = await make_stage(limits={"failed_credentials": "3/minute"})
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        said = []
        for _ in range(102):
            async with session.get(f"{stage.url}/weather/oslo", headers=ann.headers) as answer:
                said.append(answer.status)
        assert (said[:100], set(said[100:])) == ([200] * 100, {429}), "100/minute, as the route says"
        guesses = []
        for _ in range(6):
            forged = {"Authorization": f"Bearer {ann.token[:-4]}AAAA"}
            async with session.get(f"{stage.url}/echo/x", headers=forged) as answer:
                guesses.append(answer.status)
        assert guesses[0] == 401
        assert guesses[-1] == 429


async def test_an_amount_and_how_often_one_pays_are_bounded(make_stage: StageMaker) -> None:
    """Limits of a transaction, and how fast an account may begin payments."""
    stage = await make_stage(
        stripe={"amount_min": "2.00 usd", "amount_max": "20.00 usd", "checkouts_per_account": "3/hour"}
    )
    async with ClientSession() as session:
        token = (await unpaid(stage, session))["access_token"]
        fields = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

        async def begun(amount: str) -> int:
            async with session.post(
                f"{stage.url}{TOP_UPS}", data=json.dumps({"amount": amount}), headers=fields
            ) as done:
                return done.status

        assert [await begun(amount) for amount in ("1.99 usd", "20.01 usd", "-5.00 usd", "5.00 eur")] == [400] * 4
        assert [await begun("2.00 usd") for _ in range(3)] == [201] * 3
        assert await begun("2.00 usd") == 429


async def test_what_is_too_large_or_no_request_is_refused_before_anybody_is_asked(make_stage: StageMaker) -> None:
    stage = await make_stage(limits={"request_body_max": "64 KiB"})
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        for path, body, more, status in (
            ("/echo/x", b"x" * 70_000, {}, 413),
            ("/-/webhooks/stripe", io.BytesIO(b"x" * 1_100_000), {}, 413),
            ("/-/api/v1/tokens", b"{" * 100, {"Content-Type": "application/json"}, 400),
            ("/-/api/v1/tokens", b'{"nme": 1}', {"Content-Type": "application/json"}, 400),
            ("/echo/x", b"", {"X-Long": "x" * 40_000}, 431),
        ):
            fields = {**ann.headers, **more}
            async with session.post(stage.url + path, data=body, headers=fields) as answer:
                assert answer.status == status, (path, await answer.text())


async def test_a_spending_cap_is_a_limit_that_no_request_passes(make_stage: StageMaker) -> None:
    stage = await make_stage()
    [ann] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        wish = {"name": "capped", "caps": {"day": "0.003 usd"}}
        async with session.post(f"{stage.url}/-/api/v1/tokens", json=wish, headers=ann.headers) as made:
            fields = {"Authorization": f"Bearer {(await made.json())['access_token']}"}
        said = []
        for _ in range(5):
            async with session.get(f"{stage.url}/echo/x", headers=fields) as answer:
                said.append(answer.status)
        assert said == [200, 200, 200, 403, 403]


async def test_who_is_in_a_denied_country_is_offered_no_way_to_pay(make_stage: StageMaker, tmp_path: Path) -> None:
    database = write(tmp_path / "country.mmdb", {"203.0.113.0/24": {"country": {"iso_code": "SE"}}})
    stage = await make_stage(trusted_proxies=["127.0.0.1"], geo={"database": str(database), "deny": ["SE"]})
    async with ClientSession() as session:
        for address, status in (("203.0.113.9", 403), ("198.51.100.7", 402)):
            fields = {"X-Forwarded-For": address, "Accept": "application/json"}
            async with session.get(f"{stage.url}/echo/x", headers=fields) as answer:
                assert answer.status == status, address
                assert ("payment_url" in await answer.json()) is (status == 402)


async def test_what_providers_told_is_kept_for_a_time_and_no_longer(make_stage: StageMaker, tmp_path: Path) -> None:
    """Events that were acted on go; those that still wait, and what the books need, stay."""
    stage = await make_stage()
    records = stage.gateway.records
    for id, status in (("evt_done", "done"), ("evt_ignored", "ignored"), ("evt_parked", "parked")):
        await records.claim(Event(id, "x.y", False, 1, {"email": "ann@example.org"}), now_ms=1)
        await records.close_event(id, status)  # type: ignore[arg-type]
    await records.claim(Event("evt_new", "x.y", False, 1, {}), now_ms=9_000)
    await records.close_event("evt_new", "done")
    assert await records.drop_events(before_ms=5_000, count=100) == 2
    left = await records.ask("SELECT id FROM event WHERE type = 'x.y' ORDER BY id")
    assert [id for (id,) in left] == ["evt_new", "evt_parked"]
    with pytest.raises(SettingsInvalid, match=r"retention\.batches_days"):
        from_mapping(full(retention={"batches_days": 0}), base=tmp_path, make_secrets=True)
