"""Somebody subscribes without an account, works with a signed licence, loses the device, and cancels."""

import asyncio
import base64
import hmac
import json
import re
from collections.abc import AsyncIterator
from email.message import Message
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession, CookieJar
from joserfc import jwk
from joserfc import jwt as joserfc_jwt

from gateway.adapters.ended_tokens import EndedTokens
from gateway.cli.erase import _erase
from gateway.cli.stage import Stage
from gateway.licence import Licences
from tests.callers import audited
from tests.cli.test_payments import Operator
from tests.conftest import StageMaker
from tests.mail_server import MailServer, serving
from tests.stories.test_subscriptions import heard

ENTITLEMENT = "/-/api/v1/entitlement"
ANN = "ann@example.org"
APP = "https://app.example.com"
AUDIENCE = "app"
PLANS = {"pro": {"price": "price_pro", "costs": "10.00 usd"}, "other": {"price": "price_other", "costs": "5.00 usd"}}


@pytest.fixture
async def mail() -> AsyncIterator[MailServer]:
    async with serving() as server:
        yield server


@pytest.fixture
async def client() -> AsyncIterator[ClientSession]:
    async with browser() as session:
        yield session


def browser() -> ClientSession:
    return ClientSession(cookie_jar=CookieJar(unsafe=True))  # unsafe: the host is an address


async def opened(make_stage: StageMaker, mail: MailServer, **licences: Any) -> Stage:
    stage = await make_stage(
        plans=PLANS,
        licences={"plans": ["pro"], "audience": AUDIENCE, "origins": [APP], **licences},
        mail={"host": "127.0.0.1", "port": mail.port, "sender": "shop@example.com", "starttls": False},
        stripe={"reconcile_seconds": 0, "customer_portal": True},
    )
    pro = next(route for route in stage.settings.routes.routes if route.name == "forecast")
    assert pro.price.ceiling.micros == 250_000
    stage.stand_in.recurring_price("price_pro", 1000)
    stage.stand_in.recurring_price("price_other", 500)
    return stage


@pytest.fixture
async def shop(make_stage: StageMaker, mail: MailServer) -> Stage:
    return await opened(make_stage, mail)


async def told(client: ClientSession, stage: Stage, path: str, status: int = 200, **content: str) -> Any:
    async with client.post(stage.url + path, json=content) as answer:
        assert answer.status == status, await answer.text()
        return await answer.json()


async def begun(client: ClientSession, stage: Stage, email: str = ANN, **more: str) -> str:
    """The provider's page, to which this browser was sent."""
    made = await told(client, stage, "/-/api/v1/subscribe", 201, plan="pro", email=email, **more)
    async with client.get(made["payment_url"], allow_redirects=False) as answer:
        assert answer.status == 303
        return answer.headers["Location"]


async def subscribed(client: ClientSession, stage: Stage, email: str = ANN, **more: str) -> str:
    """A licence, as the page after the checkout shows it."""
    session = stage.stand_in.pay(await begun(client, stage, email, **more))
    async with client.get(f"{stage.url}/-/licensed?session_id={session['id']}") as answer:
        page = await answer.text()
    found = re.search(r"<pre>([^<]+)</pre>", page)
    assert found is not None, page
    return found[1]


async def checked_out(client: ClientSession, stage: Stage) -> tuple[dict[str, Any], str]:
    """The session that was paid, and the page after it, where this browser has been."""
    session = stage.stand_in.pay(await begun(client, stage))
    back = f"{stage.url}/-/licensed?session_id={session['id']}"
    async with client.get(back) as answer:
        assert answer.status == 200
    await heard(stage)
    return session, back


async def letters(stage: Stage, mail: MailServer, to: str = ANN) -> list[Message]:
    licensing = stage.gateway.paying.licensing
    assert licensing is not None
    await licensing.restore.settled()
    return mail.letters(to)


async def code_in(letter: Message) -> str:
    payload = letter.get_payload(decode=True)
    assert isinstance(payload, bytes)
    found = re.search(r"Your code: (\S+)", payload.decode())
    assert found is not None
    return found[1]


async def verified(client: ClientSession, stage: Stage, licence: str) -> dict[str, Any]:
    """By two libraries, with the published keys in both forms."""
    async with client.get(stage.url + "/-/licence.pem") as answer:
        pem = await answer.text()
    async with client.get(stage.url + "/.well-known/jwks.json") as answer:
        keys = jwk.KeySet.import_key_set(await answer.json())
    said: dict[str, Any] = jwt.decode(licence, pem, algorithms=["RS256"], audience=AUDIENCE, issuer=stage.url)
    assert joserfc_jwt.decode(licence, keys, algorithms=["RS256"]).claims == said
    assert Licences(keys.as_dict(), issuer=stage.url, audience=AUDIENCE).verify(licence) == said
    return said


async def status_with(client: ClientSession, stage: Stage, licence: str, path: str = "/forecast/oslo") -> int:
    async with client.get(stage.url + path, headers={"Authorization": f"Bearer {licence}"}) as answer:
        return answer.status


async def test_the_page_after_the_checkout_issues_the_licence_before_any_webhook(
    shop: Stage, client: ClientSession
) -> None:
    shop.stand_in.drop_next(1000)
    licence = await subscribed(client, shop)
    said = await verified(client, shop, licence)
    assert (said["email"], said["proActive"], said["exportCredits"]) == (ANN, True, 0)
    assert said["customerId"] == shop.stand_in.subscriptions[0]["customer"]
    assert said["exp"] - said["iat"] == 30 * 86_400
    assert await status_with(client, shop, licence) == 200, "it spends what its plan granted"
    audited(shop)


async def test_another_application_gets_it_by_a_code_that_is_good_once(shop: Stage, client: ClientSession) -> None:
    session = shop.stand_in.pay(await begun(client, shop, return_to=f"{APP}/done?x=1#old"))
    back = f"{shop.url}/-/licensed?session_id={session['id']}&to={APP}/done"
    async with browser() as stranger, stranger.get(back, allow_redirects=False) as answer:
        assert (answer.status, "licence_code" in await answer.text()) == (200, False), "another browser gets nothing"
    async with client.get(back, allow_redirects=False) as answer:
        where, _, code = answer.headers["Location"].partition("#licence_code=")
    assert (where, session["success_url"]) == (f"{APP}/done", session["success_url"])
    assert "to=https%3A%2F%2Fapp.example.com%2Fdone%3Fx%3D1" in session["success_url"]
    with_origin = {"Origin": APP, "Sec-Fetch-Site": "cross-site"}
    url = shop.url + ENTITLEMENT + "/exchange"
    async with client.post(url, json={"code": code}, headers={**with_origin, "Origin": "https://evil.example"}) as no:
        assert (no.status, no.headers.get("Access-Control-Allow-Origin")) == (403, None)
    async with client.post(url, json={"code": code.lower()}, headers=with_origin) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, APP)
        told_of = await answer.json()
    await verified(client, shop, told_of["license"])
    assert told_of["user"]["subscriptionStatus"] == "active"
    assert (await told(client, shop, ENTITLEMENT + "/exchange", 404, code=code))["code"] == "no_licence"
    preflight = {"Origin": APP, "Access-Control-Request-Method": "POST"}
    async with client.options(url, headers=preflight) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, APP)
    for wrong in (
        "https://evil.example/",
        "https://app.example.com.evil.example/",
        "https://app.example.com@evil/",
        "/x",
    ):
        await told(client, shop, "/-/api/v1/subscribe", 400, plan="pro", email=ANN, return_to=wrong)
        async with client.get(f"{shop.url}/-/licensed?session_id={session['id']}&to={wrong}") as answer:
            assert "licence_code" not in str(answer.url)


async def test_a_lost_device_is_replaced_by_a_code_in_the_mail(
    shop: Stage, client: ClientSession, mail: MailServer
) -> None:
    first = await subscribed(client, shop)
    await heard(shop)
    async with browser() as other:
        answers = [
            await told(other, shop, ENTITLEMENT, 202, email=who) for who in (" Ann@Example.org ", "bob@b.example")
        ]
        assert answers[0] == answers[1]
        [letter] = await letters(shop, mail)
        assert await letters(shop, mail, "bob@b.example") == []
        assert letter["List-Unsubscribe"] is None
        restored = await told(other, shop, ENTITLEMENT + "/exchange", code=await code_in(letter))
    said, was = await verified(client, shop, restored["license"]), await verified(client, shop, first)
    assert (said["customerId"], said["sub"]) == (was["customerId"], was["sub"])
    ends = shop.stand_in.subscriptions[0]["items"]["data"][0]["current_period_end"]
    assert restored["user"] == {
        "email": ANN, "proActive": True, "subscriptionStatus": "active", "currentPeriodEnd": ends * 1000,
    }  # fmt: skip
    actions = [step.act.action for step in await shop.gateway.records.trail.steps_after(0, count=100)]
    assert actions.count("licence.restore") == 1
    assert actions.count("licence.issue") == 2


async def test_who_restores_is_looked_for_only_after_the_answer(
    shop: Stage, client: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    payments = shop.gateway.paying.payments
    licensing = shop.gateway.paying.licensing
    assert payments is not None
    assert licensing is not None
    answered, asked = asyncio.Event(), []
    really = payments.customers_of

    async def slowly(email: str, *, now_seconds: int) -> Any:
        await answered.wait()  # were it asked before the answer, there would never be one
        asked.append(email)
        return await really(email, now_seconds=now_seconds)

    monkeypatch.setattr(payments, "customers_of", slowly)
    async with asyncio.timeout(60):
        await told(client, shop, ENTITLEMENT, 202, email="nobody@b.example")
    answered.set()
    await licensing.restore.settled()
    assert asked == ["nobody@b.example"]


async def test_an_address_is_asked_for_a_few_times_whether_it_is_known_or_not(
    make_stage: StageMaker, mail: MailServer, client: ClientSession
) -> None:
    shop = await opened(make_stage, mail, restores_per_address="2/hour", restores_per_client="7/hour")
    await subscribed(client, shop)
    for email in (ANN, "bob@b.example"):
        for status in (202, 202, 429):
            await told(client, shop, ENTITLEMENT, status, email=email)
    await told(client, shop, ENTITLEMENT, 202, email="carl@c.example")
    await told(client, shop, ENTITLEMENT, 429, email="dora@d.example")
    assert len(await letters(shop, mail)) == 2


async def test_a_cancelled_subscriber_is_told_so_and_pays_again(shop: Stage, client: ClientSession) -> None:
    licence = await subscribed(client, shop)
    await heard(shop)
    customer = shop.stand_in.subscriptions[0]["customer"]
    payments = shop.gateway.paying.payments
    assert payments is not None
    await payments.cancel_subscription(shop.stand_in.subscriptions[0]["id"])
    shop.stand_in.advance(31)
    await heard(shop)
    renewed = await told(client, shop, ENTITLEMENT + "/refresh", license=licence)
    said = await verified(client, shop, renewed["license"])
    assert (said["proActive"], said["customerId"]) == (False, customer)
    assert renewed["user"]["subscriptionStatus"] == "canceled"


async def test_what_is_no_licence_of_ours_is_refused(shop: Stage, client: ClientSession) -> None:
    licence = await subscribed(client, shop)
    await heard(shop)
    said = await verified(client, shop, licence)
    async with client.get(shop.url + "/-/licence.pem") as answer:
        pem = await answer.text()
    kid = jwt.get_unverified_header(licence)["kid"]
    head = {"kid": kid, "typ": "licence+jwt"}
    signs = shop.gateway.identity.signs
    forged = {
        "none": jwt.encode(said, "", algorithm="none", headers=head),
        "the public key": hs256(said, pem.encode(), head),
        "another issuer": signs.sign({**said, "iss": "https://evil.example"}, kind="licence+jwt"),
        "another audience": signs.sign({**said, "aud": "another"}, kind="licence+jwt"),
        "another kind": signs.sign(said),
        "nobody": signs.sign({**said, "sub": None}, kind="licence+jwt"),
        "cut": licence[:-4],
        "changed": changed(licence, said),
    }
    async with client.get(shop.url + "/.well-known/jwks.json") as answer:
        ours = Licences(await answer.json(), issuer=shop.url, audience=AUDIENCE)
    for what, token in forged.items():
        assert what == "nobody" or ours.verify(token) is None, what
        assert (await told(client, shop, ENTITLEMENT + "/refresh", 401, license=token))["code"] == "unknown_token", what
        assert await status_with(client, shop, token) == 401, what
    assert await status_with(client, shop, licence) == 200


def hs256(said: dict[str, Any], key: bytes, head: dict[str, str]) -> str:
    """Made by hand: no library signs with a public key as a secret."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in ({"alg": "HS256", **head}, said)
    ]
    signed = b".".join(parts)
    signature = base64.urlsafe_b64encode(hmac.digest(key, signed, "sha256")).rstrip(b"=")
    return b".".join((signed, signature)).decode()


def changed(licence: str, said: dict[str, Any]) -> str:
    head, _, signature = licence.split(".")
    claims = base64.urlsafe_b64encode(json.dumps({**said, "sub": "acct_" + "0" * 32}).encode()).rstrip(b"=")
    return f"{head}.{claims.decode()}.{signature}"


async def test_a_licence_ends_and_is_renewed_all_the_same(
    shop: Stage, client: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    licence = await subscribed(client, shop)
    await heard(shop)
    assert await status_with(client, shop, licence) == 200
    later = shop.gateway.clock.now_ms() + 31 * 86_400_000
    monkeypatch.setattr(type(shop.gateway.clock), "now_ms", lambda self: later)
    assert await status_with(client, shop, licence) == 401, "it was remembered, and has ended"
    renewed = await told(client, shop, ENTITLEMENT + "/refresh", license=licence)
    assert await status_with(client, shop, renewed["license"]) == 200


@pytest.mark.parametrize("everyone", [False, True])
async def test_a_licence_is_over_with_all_tokens_of_its_account(
    shop: Stage, client: ClientSession, mail: MailServer, monkeypatch: pytest.MonkeyPatch, everyone: bool
) -> None:
    licence = await subscribed(client, shop)
    await heard(shop)
    assert await status_with(client, shop, licence) == 200
    account = str((await verified(client, shop, licence))["sub"])
    clock, records = shop.gateway.clock, shop.gateway.records
    await EndedTokens(records.ask).end_tokens(["" if everyone else account], before_ms=clock.now_ms() + 1)
    await shop.gateway.identity.ended.look()
    assert await status_with(client, shop, licence) == 401
    await told(client, shop, ENTITLEMENT + "/refresh", 401, license=licence)
    later = clock.now_ms() + 2_000
    monkeypatch.setattr(type(clock), "now_ms", lambda self: later)
    async with browser() as other:
        await told(other, shop, ENTITLEMENT, 202, email=ANN)
        [letter] = await letters(shop, mail)
        new = await told(other, shop, ENTITLEMENT + "/exchange", code=await code_in(letter))
    assert await status_with(client, shop, new["license"]) == 200


async def test_a_licence_manages_no_wallet_and_reaches_no_upstream(shop: Stage, client: ClientSession) -> None:
    licence = await subscribed(client, shop)
    await heard(shop)
    bearer = {"Authorization": f"Bearer {licence}"}
    async with browser() as other:
        for path in ("/-/api/v1/tokens", "/-/rotate-token"):
            async with other.post(shop.url + path, json={}, headers=bearer) as answer:
                assert answer.status == 403, path
        for path in ("/-/me", "/-/wallet", "/-/api/v1/tokens", "/-/api/v1/subscriptions"):
            async with other.get(shop.url + path, headers=bearer) as answer:
                assert answer.status == 403, path
        async with other.post(
            shop.url + "/-/api/v1/subscribe", json={"plan": "pro", "email": ANN}, headers=bearer
        ) as no:
            assert no.status == 403
        sent = {**bearer, "X-Other": f"see {licence}", "Cookie": f"mine=1; theirs={licence}"}
        async with other.get(shop.url + "/echo/headers", headers=sent) as answer:
            assert answer.status == 200
            seen = await answer.text()
    assert "mine=1" in seen
    assert licence.split(".")[1] not in seen


async def test_after_a_change_of_address_only_the_new_one_restores(
    shop: Stage, client: ClientSession, mail: MailServer
) -> None:
    await subscribed(client, shop)
    await heard(shop)
    await told(client, shop, ENTITLEMENT, 202, email=ANN)
    [letter] = await letters(shop, mail)
    await rename(shop, shop.stand_in.subscriptions[0]["customer"], "new@example.org")
    code = await code_in(letter)
    await told(client, shop, ENTITLEMENT + "/exchange", 404, code=code)
    for email in (ANN, "new@example.org"):
        await told(client, shop, ENTITLEMENT, 202, email=email)
    assert len(await letters(shop, mail)) == 1
    [letter] = await letters(shop, mail, "new@example.org")
    await told(client, shop, ENTITLEMENT + "/exchange", code=await code_in(letter))


async def test_the_page_after_an_old_checkout_brings_no_old_address_back(
    shop: Stage, client: ClientSession, mail: MailServer
) -> None:
    session, back = await checked_out(client, shop)
    shop.stand_in._world.get("checkout.session", session["id"], "session")["created"] -= 60  # no wait of a second
    await rename(shop, session["customer"], "new@example.org")
    async with browser() as stranger:
        async with stranger.get(back) as answer:
            assert answer.status == 200
        await told(stranger, shop, ENTITLEMENT, 202, email=ANN)
        await told(stranger, shop, ENTITLEMENT, 202, email="new@example.org")
    assert (len(await letters(shop, mail)), len(await letters(shop, mail, "new@example.org"))) == (0, 1)


async def test_who_was_erased_is_not_known_again_by_what_was_before(
    shop: Stage, client: ClientSession, mail: MailServer
) -> None:
    session, back = await checked_out(client, shop)
    gateway = shop.gateway
    known = await gateway.records.licensees.find_licensee(session["customer"])
    assert known is not None
    erase = _erase(shop.settings, gateway.records, gateway.identity.aliases)
    await erase.now(known.account, [known.account], "asked", at_provider=False)
    async with browser() as stranger:
        async with stranger.get(back) as answer:
            assert answer.status == 404
        await told(stranger, shop, ENTITLEMENT, 202, email=ANN)
    assert await letters(shop, mail) == []
    assert await gateway.records.licensees.find_licensee(session["customer"]) is None
    async with browser() as again:
        await subscribed(again, shop)
        await heard(shop)
        await told(again, shop, ENTITLEMENT, 202, email=ANN)
    assert len(await letters(shop, mail)) == 1, "who pays again is known again"


async def test_who_takes_anothers_address_gets_nothing_of_theirs(
    shop: Stage, client: ClientSession, mail: MailServer
) -> None:
    victims = await verified(client, shop, await subscribed(client, shop))
    async with browser() as mallory:
        own = await subscribed(mallory, shop, "mallory@m.example")
        await heard(shop)
        await told(mallory, shop, ENTITLEMENT, 202, email="mallory@m.example")
        [letter] = await letters(shop, mail, "mallory@m.example")
        mallorys = shop.stand_in.subscriptions[1]["customer"]
        await rename(shop, mallorys, ANN)
        renewed = await told(mallory, shop, ENTITLEMENT + "/refresh", license=own)
        await told(mallory, shop, ENTITLEMENT + "/exchange", 404, code=await code_in(letter))
    said = await verified(client, shop, renewed["license"])
    assert (said["customerId"], said["sub"] == victims["sub"]) == (mallorys, False)


async def test_who_subscribes_with_anothers_address_gets_their_own_licence_back(
    shop: Stage, client: ClientSession
) -> None:
    victims = await verified(client, shop, await subscribed(client, shop))
    async with browser() as mallory:
        session = shop.stand_in.pay(await begun(mallory, shop, ANN, return_to=APP))
        back = f"{shop.url}/-/licensed?session_id={session['id']}&to={APP}"
        shop.stand_in.advance(31)  # theirs began later, and both go on as long
        await heard(shop)
        async with mallory.get(back, allow_redirects=False) as answer:
            code = answer.headers["Location"].partition("=")[2]
        got = await told(mallory, shop, ENTITLEMENT + "/exchange", code=code)
    said = await verified(client, shop, got["license"])
    assert said["customerId"] == session["customer"]
    assert said["sub"] != victims["sub"]


async def test_the_issuer_is_what_the_settings_say(
    make_stage: StageMaker, mail: MailServer, client: ClientSession
) -> None:
    shop = await opened(make_stage, mail, issuer="https://shop.example")
    licence = await subscribed(client, shop)
    assert jwt.decode(licence, options={"verify_signature": False})["iss"] == "https://shop.example"
    await heard(shop)
    assert await status_with(client, shop, licence) == 200


async def rename(stage: Stage, customer: str, email: str) -> None:
    """As the customer does at the provider's page."""
    assert stage.settings.stripe is not None
    bearer = {"Authorization": f"Bearer {stage.settings.stripe.secret_key.reveal()}"}
    async with ClientSession() as stripe:
        url = f"{stage.stand_in.url}/v1/customers/{customer}"
        async with stripe.post(url, data={"email": email}, headers=bearer) as answer:
            assert answer.status == 200
    await heard(stage)


async def test_of_two_subscriptions_the_one_that_counts_is_restored_and_the_other_told_of(
    shop: Stage, client: ClientSession, mail: MailServer
) -> None:
    for _ in range(2):
        await subscribed(client, shop)
    await heard(shop)
    await told(client, shop, ENTITLEMENT, 202, email=ANN)
    [letter] = await letters(shop, mail)
    assert "Another subscription of yours is paid for besides" in str(letter.get_payload())
    async with ClientSession() as stripe:
        first, second = shop.stand_in.subscriptions
        bearer = {"Authorization": f"Bearer {shop.settings.stripe.secret_key.reveal() if shop.settings.stripe else ''}"}
        async with stripe.delete(f"{shop.stand_in.url}/v1/subscriptions/{second['id']}", headers=bearer) as answer:
            assert answer.status == 200
    await heard(shop)
    await told(client, shop, ENTITLEMENT, 202, email=ANN)
    letter = (await letters(shop, mail))[1]
    assert "Another subscription" not in str(letter.get_payload())
    restored = await told(client, shop, ENTITLEMENT + "/exchange", code=await code_in(letter))
    said = await verified(client, shop, restored["license"])
    assert (said["customerId"], said["proActive"]) == (first["customer"], True)


async def test_a_subscriber_of_before_is_found_at_the_provider(
    shop: Stage, client: ClientSession, mail: MailServer
) -> None:
    """Subscribed elsewhere, with capitals in the address: the list of customers does not find it, the search does."""
    shop.stand_in.drop_next(1000)
    shop.stand_in.pay(shop.stand_in.checkout_of("price_pro", "x", {}), email="Old@Example.org")
    await told(client, shop, ENTITLEMENT, 202, email="old@example.org")
    [letter] = await letters(shop, mail, "Old@Example.org")
    restored = await told(client, shop, ENTITLEMENT + "/exchange", code=await code_in(letter))
    assert (await verified(client, shop, restored["license"]))["proActive"] is True


async def test_whoever_pays_for_anothers_wallet_gets_no_licence_of_it(
    shop: Stage, client: ClientSession, mail: MailServer
) -> None:
    async with client.post(shop.url + "/-/api/v1/subscriptions", json={"plan": "pro"}) as answer:
        of_another = await answer.json()
    shop.stand_in.pay(of_another["payment_url"], email="mallory@m.example")
    await heard(shop)
    await told(client, shop, ENTITLEMENT, 202, email="mallory@m.example")
    assert await letters(shop, mail, "mallory@m.example") == []


async def test_without_a_proof_the_address_is_enough(
    make_stage: StageMaker, mail: MailServer, client: ClientSession
) -> None:
    shop = await opened(make_stage, mail, restore_proof="none", aliases=["/api/entitlement"], devices=1)
    await subscribed(client, shop)
    await heard(shop)
    given = await told(client, shop, "/api/entitlement", email=ANN)
    assert (await verified(client, shop, given["license"]))["email"] == given["user"]["email"] == ANN
    assert set(given) == {"license", "user"}
    assert (await told(client, shop, ENTITLEMENT, 404, email="bob@b.example"))["code"] == "no_licence"


async def test_addresses_are_at_rest_only_sealed(shop: Stage, client: ClientSession) -> None:
    await subscribed(client, shop)
    await heard(shop)
    [row] = await shop.gateway.records.licensees.find_licensees(
        shop.gateway.identity.peppers.digests(f"licensee {ANN}")
    )
    assert ANN.encode() not in row.sealed
    for file in shop.settings.store_path.parent.glob("*.records.db*"):
        assert ANN.encode() not in file.read_bytes(), file.name


async def test_operators_find_what_an_address_has_bought_and_nobody_else_does(
    make_stage: StageMaker, mail: MailServer, client: ClientSession, tmp_path: Path
) -> None:
    shop = await opened(make_stage, mail, aliases=["/api/stripe/subscription"])
    command = Operator(shop, tmp_path / "stage0")
    licence = await subscribed(client, shop)
    token = shop.settings.secrets.operator_token
    assert token is not None
    operator = {"Authorization": f"Bearer {token.reveal()}", "Gateway-Operator": "kim"}

    async def looked(path: str, email: str, headers: dict[str, str]) -> tuple[int, Any]:
        async with (
            ClientSession() as stranger,
            stranger.get(shop.url + path, params={"email": email}, headers=headers) as answer,
        ):
            return answer.status, await answer.json()

    for path in ("/-/api/v1/subscriptions", "/api/stripe/subscription"):
        for headers in ({}, {"Authorization": f"Bearer {licence}"}, {"Authorization": "Bearer "}):
            status, refusal = await looked(path, ANN, headers)
            assert (status, refusal["code"]) == (401, "unknown_token")
        status, found = await looked(path, ANN.upper(), operator)
        assert status == 200
        [one] = found["subscriptions"]
        assert (one["plan"], one["state"], one["proActive"]) == ("pro", "active", True)
        assert one["customer"] == shop.stand_in.subscriptions[0]["customer"]
        assert await looked(path, "bob@example.org", operator) == (200, {"subscriptions": []})
        assert (await looked(path, "bob", operator))[1]["code"] == "bad_request"

    entries = [one async for one in _looks(shop)]
    assert entries == [("operator:kim", one["customer"]), ("operator:kim", "nobody")] * 2
    assert [row["id"] for row in await command.asks("subscriptions", "--email", ANN)] == [one["id"]]
    assert "no subscriptions" in await command.types("subscriptions", "--email", "bob@example.org")
    assert "no ACCOUNT beside it" in await command.types("subscriptions", one["account"], "--email", ANN, code=2)
    guesses = [(await looked(path, ANN, {"Authorization": "Bearer guess"}))[0] for _ in range(50)]
    assert set(guesses) == {401, 429}
    assert (await looked(path, ANN, operator))[0] == 429, "from there nobody is believed for a while"


async def _looks(stage: Stage) -> AsyncIterator[tuple[str, str]]:
    for entry in await stage.gateway.records.trail.steps_after(0, count=100):
        if entry.act.action == "subscription.look":
            assert ANN not in str(entry)
            yield entry.act.actor, entry.act.object
