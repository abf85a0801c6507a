"""The newest key seals, every key still opens: tokens, links, the books' head, and revocations."""

from dataclasses import replace

from aiohttp import ClientSession

from gateway.adapters.sqlite.records import SqliteRecords
from gateway.cli.stage import Stage
from gateway.core.secrets import Secret
from gateway.settings import Settings
from tests.callers import audited, pay, unpaid


def rotated(settings: Settings) -> Settings:
    secrets = settings.secrets
    return replace(
        settings,
        secrets=replace(
            secrets,
            sealing_keys=(Secret("n" * 40), *secrets.sealing_keys),
            peppers=(Secret("q" * 40), *secrets.peppers),
        ),
    )


async def test_tokens_and_links_outlive_a_rotation_of_every_key(stage: Stage) -> None:
    async with ClientSession() as session:
        early, late = await unpaid(stage, session), await unpaid(stage, session)
        await pay(stage, early["payment_url"])
        await stage.stop_gateway()
        await stage.start_gateway(rotated(stage.settings))
        await pay(stage, late["payment_url"])
        for refused in (early, late):
            token = {"Authorization": f"Bearer {refused['access_token']}"}
            async with session.get(stage.url + "/weather/oslo", headers=token) as answer:
                assert answer.status == 200
                assert answer.headers["Gateway-Balance"] == "4.998 usd"
        fresh = await unpaid(stage, session)
        assert fresh["access_token"][8:12] != early["access_token"][8:12], "the newest key makes new tokens"
    settings = stage.settings
    await stage.stop_gateway()
    await stage.start_gateway(settings)
    assert audited(stage).head == "verified"


async def test_a_revoked_token_stays_revoked_after_a_rotation(stage: Stage) -> None:
    async with ClientSession() as session:
        refused = await unpaid(stage, session)
        await pay(stage, refused["payment_url"])
        assert isinstance(stage.gateway.records, SqliteRecords)
        await stage.gateway.records._write("UPDATE token SET revoked = ?", (1,))
        await stage.stop_gateway()
        await stage.start_gateway(rotated(stage.settings))
        token = {"Authorization": f"Bearer {refused['access_token']}"}
        async with session.get(stage.url + "/weather/oslo", headers=token) as answer:
            assert answer.status == 401


async def test_a_key_of_another_mode_waits_for_the_restart_that_changes_the_mode(stage: Stage) -> None:
    settings = stage.settings
    assert settings.stripe is not None
    live = replace(settings.stripe, secret_key=Secret("sk_live_" + "1a" * 20))
    told = stage.gateway.reload(replace(settings, mode="live", stripe=live))
    assert (told["keys"], told["needs_restart"]) == ([], ["mode", "stripe"])
    assert stage.gateway.settings.stripe == settings.stripe
    told = stage.gateway.reload(
        replace(settings, stripe=replace(settings.stripe, secret_key=Secret("rk_test_" + "1a" * 20)))
    )
    assert (told["keys"], told["needs_restart"]) == (["stripe.secret_key"], [])
