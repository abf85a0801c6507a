"""A buyer comes back with another browser, pays with the same card, and finds what was left; and nobody else does."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar

from gateway.adapters.stripe.cards import payer
from gateway.cli.stage import Stage
from gateway.core.payers import Payer
from gateway.core.secrets import Secret
from tests.callers import BROWSER, audited, pay, reference_in, unpaid
from tests.conftest import StageMaker

CARD, OTHER_CARD = "4242424242424242", "5555555555554444"
HOUR_MS = 3_600_000
FOUND, FOREIGN = "You have paid before", "credited to the wallet that it was for"


@asynccontextmanager
async def browser() -> AsyncIterator[ClientSession]:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True), headers=BROWSER) as session:
        yield session


async def shop(make_stage: StageMaker, mode: str = "same_browser") -> Stage:
    stage = await make_stage(stripe={"login_by_payment": mode})
    assert stage.gateway.paying.log_in is not None
    stage.gateway.paying.log_in.grace_ms = HOUR_MS  # so that only `counts` lets anybody count
    return stage


async def begin(stage: Stage, session: ClientSession) -> str:
    """Where a browser is sent that has not paid."""
    async with session.get(stage.url + "/weather/oslo", allow_redirects=False) as answer:
        assert answer.status == 303
        return answer.headers["Location"]


async def buys(stage: Stage, url: str, **how: Any) -> str:
    """The id of a checkout that was paid."""
    session = stage.stand_in.pay(url, client_reference_id=reference_in(url), **how)
    await stage.stand_in.settled()
    assert stage.gateway.paying.webhooks is not None
    await stage.gateway.paying.webhooks.settled()
    return str(session["id"])


async def comes_back(stage: Stage, session: ClientSession, id: str) -> str:
    async with session.get(f"{stage.url}/-/paid?session_id={id}") as answer:
        return await answer.text()


async def wallet(stage: Stage, session: ClientSession) -> str:
    async with session.get(stage.url + "/-/wallet") as answer:
        found = re.search("<h1>([^<]*)</h1>", await answer.text())
        assert found is not None
        return found[1]


async def counts(stage: Stage) -> None:
    """Whoever waits has waited for long enough."""
    assert stage.gateway.paying.log_in is not None
    stage.gateway.paying.log_in.grace_ms = -1
    await stage.gateway.paying.recognise()
    stage.gateway.paying.log_in.grace_ms = HOUR_MS
    async with asyncio.timeout(20):
        while await stage.gateway.records.aliases.unjoined():  # what a slow disk kept is joined at the next look
            await stage.gateway.paying.recognise()


async def bought(stage: Stage, session: ClientSession, **how: Any) -> str:
    """A browser that pays and comes back, and counts; what it was told first."""
    id = await buys(stage, await begin(stage, session), **how)
    told = await comes_back(stage, session, id)
    await counts(stage)
    return told


@pytest.mark.parametrize("how", [{"card": CARD}, {"method": "link", "email": "Ann@Example.org"}])
async def test_another_browser_finds_what_was_left(make_stage: StageMaker, how: dict[str, str]) -> None:
    stage = await shop(make_stage)
    async with browser() as old, browser() as new:
        assert FOUND not in await bought(stage, old, **how)
        id = await buys(stage, await begin(stage, new), **how)
        told = await comes_back(stage, new, id)
        assert FOUND in told
        assert f"url=/-/paid?session_id={id}&amp;look=1" in told
        await counts(stage)
        welcome = await comes_back(stage, new, id)
        assert "You have 10.00 USD" in welcome
        assert "Welcome back" in welcome
        assert "/weather/oslo" in welcome
        for one, has in ((old, "10.00 USD"), (new, "9.998 USD")):
            assert await wallet(stage, one) == has
            async with one.get(stage.url + "/weather/oslo") as answer:
                assert answer.status == 200
        assert await wallet(stage, old) == "9.996 USD"
        async with old.get(stage.url + f"/-/wallet/receipt?payment={id}", allow_redirects=False) as receipt:
            assert receipt.status == 303, "what the new browser paid is in the one wallet"
    [told_owner] = await stage.gateway.records.outbox.entries(None, count=9)
    assert (told_owner.type, told_owner.content["by"]) == ("wallet.joined", how.get("method", "card"))
    assert audited(stage).totals["usd"].credited == 10_000_000


async def test_a_third_and_a_fourth_browser_find_it_too_with_other_keys_in_between(make_stage: StageMaker) -> None:
    stage = await shop(make_stage)
    async with browser() as one, browser() as two, browser() as three:
        held = list(stage.gateway.settings.secrets.peppers)
        for number, session in enumerate((one, two, three)):
            await bought(stage, session, card=CARD)
            held = [Secret(f"{number}" * 40), *held]
            stage.gateway.identity.peppers.renew(held)
            stage.gateway.identity.callers.forget_all()
        assert [await wallet(stage, session) for session in (one, two, three)] == ["15.00 USD"] * 3


async def test_another_card_is_another_wallet(make_stage: StageMaker) -> None:
    stage = await shop(make_stage)
    async with browser() as old, browser() as new:
        await bought(stage, old, card=CARD)
        assert FOUND not in await bought(stage, new, card=OTHER_CARD)
        assert [await wallet(stage, one) for one in (old, new)] == ["5.00 USD", "5.00 USD"]
        # Each has a payer: the same card in the other's wallet makes none of them the other's.
        async with new.get(stage.url + "/-/wallet") as answer:
            [url] = re.findall('href="(http[^"]*client_reference_id=[^"]*)"', await answer.text())
        await buys(stage, url, card=CARD)
        await counts(stage)
        assert [await wallet(stage, one) for one in (old, new)] == ["5.00 USD", "10.00 USD"]


async def test_a_typed_address_proves_nothing(make_stage: StageMaker) -> None:
    stage = await shop(make_stage)
    async with browser() as old, browser() as new:
        await bought(stage, old, method="link", email="ann@example.org")
        assert FOUND not in await bought(stage, new, card=CARD, email="ann@example.org")
        assert await wallet(stage, new) == "5.00 USD"


async def test_switched_off_nobody_is_recognised(make_stage: StageMaker) -> None:
    stage = await shop(make_stage, "off")
    async with browser() as old, browser() as new:
        await bought(stage, old, card=CARD)
        assert FOUND not in await bought(stage, new, card=CARD)
        assert await wallet(stage, new) == "5.00 USD"
        assert await stage.gateway.records.payers.waiting(2**60) == []


async def test_a_webhook_alone_makes_nobody_known(make_stage: StageMaker) -> None:
    stage = await shop(make_stage)
    async with browser() as old, browser() as new:
        await bought(stage, old, card=CARD)
        await buys(stage, await begin(stage, new), card=CARD)
        await counts(stage)
        assert (await stage.gateway.records.aliases.aliases_after(0)) == []


async def test_who_lets_another_pay_gets_the_money_and_not_the_wallet(make_stage: StageMaker) -> None:
    """The one who was tricked is sent back by the provider; the other comes with cookie and id, before or after."""
    stage = await shop(make_stage)
    for thief_first in (True, False):
        async with browser() as victim, browser() as thief:
            await bought(stage, victim, card=CARD)
            had = await wallet(stage, victim)
            id = await buys(stage, await begin(stage, thief), card=CARD)
            for one in (thief, victim) if thief_first else (victim, thief):
                told = await comes_back(stage, one, id)
                assert (FOREIGN in told) is (one is victim)
            await counts(stage)
            assert await wallet(stage, thief) == "5.00 USD"
            assert await wallet(stage, victim) == had


async def test_who_waits_at_the_return_page_before_it_was_paid_is_not_the_payer(make_stage: StageMaker) -> None:
    stage = await shop(make_stage)
    async with browser() as victim, browser() as thief:
        await bought(stage, victim, card=CARD)
        url = await begin(stage, thief)
        async with thief.get(url, allow_redirects=False) as checkout:
            id = checkout.headers["Location"].rpartition("/")[2]
        assert "There is no such payment" in await comes_back(stage, thief, id)
        stage.stand_in.pay(id, card=CARD)
        await stage.stand_in.settled()
        assert FOUND not in await comes_back(stage, thief, id)
        await counts(stage)
        assert await wallet(stage, thief) == "5.00 USD"


async def test_the_token_alone_is_not_the_browser_that_began(make_stage: StageMaker) -> None:
    stage = await shop(make_stage)
    async with browser() as old, ClientSession() as program:
        await bought(stage, old, card=CARD)
        refused = await unpaid(stage, program)
        id = await buys(stage, refused["payment_url"], card=CARD)
        token = {"Authorization": f"Bearer {refused['access_token']}"}
        async with program.get(f"{stage.url}/-/paid?session_id={id}", headers=token) as answer:
            told = await answer.text()
        assert "You have 5.00 USD" in told
        assert FOUND not in told
        await counts(stage)
        assert (await stage.gateway.records.aliases.aliases_after(0)) == []


async def test_it_counts_only_when_the_payer_has_had_time_to_come(make_stage: StageMaker) -> None:
    stage = await shop(make_stage)
    async with browser() as old, browser() as new:
        await bought(stage, old, card=CARD)
        id = await buys(stage, await begin(stage, new), card=CARD)
        assert FOUND in await comes_back(stage, new, id)
        await stage.gateway.paying.recognise()
        assert await wallet(stage, new) == "5.00 USD"
        assert FOUND in await comes_back(stage, new, id)
        await counts(stage)
        assert await wallet(stage, new) == "10.00 USD"


@pytest.mark.parametrize("id", ["cs_test_forged", "", "cs_live_1", "pi_1", "../v1/customers"])
async def test_a_forged_session_is_no_payment(make_stage: StageMaker, id: str) -> None:
    stage = await shop(make_stage)
    async with browser() as session:
        await begin(stage, session)
        assert "There is no such payment" in await comes_back(stage, session, id)
    assert await stage.gateway.records.payers.find_homecoming(id) is None


async def test_somebody_elses_session_is_not_ours(make_stage: StageMaker) -> None:
    """With the cookie of a checkout of one's own, and the id of another's."""
    stage = await shop(make_stage)
    async with browser() as victim, browser() as thief:
        id = await buys(stage, await begin(stage, victim), card=CARD)
        await buys(stage, await begin(stage, thief), card=OTHER_CARD)
        assert FOREIGN in await comes_back(stage, thief, id)
        await counts(stage)
        assert await wallet(stage, thief) == "5.00 USD"
        assert (await stage.gateway.records.aliases.aliases_after(0)) == []


# --- begun elsewhere --------------------------------------------------------------------------------------------------


async def code_of(stage: Stage, session: ClientSession, id: str) -> str:
    found = re.search(r"Your code</dt><dd class=\"id\">([\w-]+)</dd>", await comes_back(stage, session, id))
    assert found is not None
    return found[1]


async def says(stage: Stage, token: str, code: str) -> int:
    async with ClientSession(headers={"Authorization": f"Bearer {token}"}) as program:
        async with program.post(stage.url + "/-/api/v1/codes", json={"code": code}) as answer:
            await answer.read()
            return answer.status


async def test_a_program_says_the_code_that_its_payer_was_shown_once(make_stage: StageMaker) -> None:
    stage = await shop(make_stage, "on")
    async with browser() as old, browser() as payers, ClientSession() as program:
        await bought(stage, old, card=CARD)
        refused = await unpaid(stage, program)
        other = await unpaid(stage, program)
        id = await buys(stage, refused["payment_url"], card=CARD)
        code = await code_of(stage, payers, id)
        assert await code_of(stage, payers, id) == code, "the same browser may look again"
        await counts(stage)
        assert await wallet(stage, old) == "5.00 USD", "nobody has said it"
        assert await says(stage, other["access_token"], code) == 400, "it is for who began the checkout"
        assert await says(stage, refused["access_token"], "A" * 16) == 400
        assert await says(stage, refused["access_token"], code.lower()) == 202
        assert await says(stage, refused["access_token"], code) == 400, "it is good once"
        await counts(stage)
        assert await wallet(stage, old) == "10.00 USD"


async def test_a_code_that_two_browsers_ask_for_is_good_for_nobody(make_stage: StageMaker) -> None:
    stage = await shop(make_stage, "on")
    async with browser() as old, browser() as thief, browser() as victim, ClientSession() as program:
        await bought(stage, old, card=CARD)
        refused = await unpaid(stage, program)
        id = await buys(stage, refused["payment_url"], card=CARD)
        code = await code_of(stage, thief, id)
        assert FOREIGN in await comes_back(stage, victim, id)
        assert await says(stage, refused["access_token"], code) == 400


async def test_without_the_setting_there_are_no_codes(make_stage: StageMaker) -> None:
    stage = await shop(make_stage)
    async with browser() as payers, ClientSession() as program:
        refused = await unpaid(stage, program)
        id = (await pay(stage, refused["payment_url"]))["id"]
        assert FOREIGN in await comes_back(stage, payers, id)
        assert await says(stage, refused["access_token"], "A" * 16) == 404


# --- what the provider says -------------------------------------------------------------------------------------------


def session(**method: Any) -> dict[str, Any]:
    typed = {"email": "typed@example.org"}
    intent = {"payment_method": method} if method else None
    return {"status": "complete", "customer_details": typed, "payment_intent": intent}


@pytest.mark.parametrize(
    ("read", "who"),
    [
        (session(type="card", card={"fingerprint": "f1"}), Payer("card", "f1")),
        (session(type="card", card={"fingerprint": "f2", "wallet": {"type": "apple_pay"}}), Payer("card", "f2")),
        (session(type="card", card={"fingerprint": "f3", "wallet": {"type": "google_pay"}}), Payer("card", "f3")),
        (session(type="link", link={"email": "ann@example.org"}), Payer("link", "ann@example.org")),
        (session(type="card", card={"fingerprint": None}), None),
        (session(type="card", card={"fingerprint": ""}), None),
        (session(type="link", link={"email": " "}), None),
        (session(type="us_bank_account", billing_details={"email": "ann@example.org"}), None),
        (session(type="card", link={"email": "ann@example.org"}), None),
        (session(), None),
        ({**session(type="card", card={"fingerprint": "f1"}), "status": "open"}, None),
    ],
)
def test_a_payer_is_what_was_paid_with(read: dict[str, Any], who: Payer | None) -> None:
    assert payer(read) == who
