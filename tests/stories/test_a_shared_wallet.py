"""A wallet is shared: its owner hands out tokens with a role, a cap and a statement each; members enter and leave."""

import csv
import io
import re
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage
from tests.callers import BROWSER, Funded, funded

TOKENS = "/-/api/v1/tokens"


class Wallet:
    """One account's members, by the API."""

    def __init__(self, stage: Stage, session: ClientSession, owner: Funded) -> None:
        self.stage = stage
        self._session = session
        self.owner = owner

    async def asks(
        self, who: Funded, path: str, *, method: str = "GET", json: dict[str, Any] | None = None
    ) -> tuple[int, Any]:
        async with self._session.request(method, self.stage.url + path, json=json, headers=who.headers) as answer:
            is_json = "json" in answer.content_type
            return answer.status, await answer.json() if is_json else await answer.text()

    async def member(self, role: str, by: Funded | None = None, **terms: Any) -> tuple[str, Funded]:
        status, told = await self.asks(by or self.owner, TOKENS, method="POST", json={"role": role, **terms})
        assert status == 201, told
        assert told["token"]["role"] == role
        return told["token"]["id"], Funded(told["access_token"], self.owner.account)

    async def spends(self, who: Funded, *, times: int = 1) -> list[int]:
        return [(await self.asks(who, "/weather/oslo"))[0] for _ in range(times)]

    async def statement(self, who: Funded, query: str = "") -> list[dict[str, str]]:
        await self.stage.gateway.ledger.durable()
        status, text = await self.asks(who, f"/-/wallet/statement.csv{query}")
        assert status == 200, text
        return list(csv.DictReader(io.StringIO(text)))


@pytest.fixture
async def wallet(stage: Stage) -> Any:
    [owner] = await funded(stage, "5.00 usd")
    async with ClientSession() as session:
        yield Wallet(stage, session, owner)


async def test_a_spender_spends_up_to_its_cap_and_a_viewer_not_at_all(wallet: Wallet) -> None:
    id, spender = await wallet.member("spender", caps={"total": "0.005 usd", "month": "1.00 usd"})
    _, viewer = await wallet.member("viewer")
    assert await wallet.spends(spender, times=3) == [200, 200, 403]
    await wallet.stage.gateway.ledger.durable()
    _, told = await wallet.asks(wallet.owner, f"{TOKENS}/{id}")
    assert told["spent"] == {"total": "0.004 usd", "month": "0.004 usd"}
    assert (
        "At most 0.005 usd at all, 0.004 usd of it spent." in (await wallet.asks(wallet.owner, "/-/wallet/tokens"))[1]
    )
    status, told = await wallet.asks(viewer, "/weather/oslo")
    assert (status, told["code"]) == (403, "token_out_of_scope")
    assert (await wallet.asks(viewer, "/status/oslo"))[0] == 200, "what is free is free for all"


async def test_a_viewer_sees_the_wallet_and_changes_nothing(wallet: Wallet) -> None:
    _, viewer = await wallet.member("viewer")
    await wallet.spends(wallet.owner, times=2)
    status, page = await wallet.asks(viewer, "/-/wallet")
    assert (status, "4.996 USD" in page, "spend nothing of it" in page) == (200, True, True)
    assert "/-/wallet/auto-top-up" not in page
    assert [row["type"] for row in await wallet.statement(viewer, "?by=request")].count("request") == 2
    assert "/-/wallet/receipt" not in page
    status, told = await wallet.asks(viewer, "/-/wallet/receipt?payment=pi_1")
    assert (status, told["code"]) == (403, "token_out_of_scope")


async def test_a_spender_has_its_own_statement_whichever_secret_it_used(wallet: Wallet) -> None:
    id, spender = await wallet.member("spender")
    _, other = await wallet.member("spender")
    assert (await wallet.asks(spender, "/-/wallet"))[0] == 403
    assert await wallet.spends(spender) + await wallet.spends(other) + await wallet.spends(wallet.owner) == [200] * 3
    _, told = await wallet.asks(spender, "/-/rotate-token", method="POST")
    renewed = Funded(told["access_token"], spender.account)
    _, child = await wallet.member("spender", by=renewed)
    assert await wallet.spends(renewed) + await wallet.spends(child) == [200] * 2
    mine = await wallet.statement(renewed)
    assert [(row["type"], row["cost"]) for row in mine] == [("request", "0.002")] * 3
    assert await wallet.statement(wallet.owner, f"?token={id}") == mine
    assert len([row for row in await wallet.statement(wallet.owner, "?by=request") if row["type"] == "request"]) == 5


async def test_a_statement_of_a_token_is_for_those_who_may_know_of_it(wallet: Wallet) -> None:
    id, spender = await wallet.member("spender")
    other_id, _ = await wallet.member("spender")
    [stranger] = await funded(wallet.stage, "1.00 usd")
    for who, which in ((spender, other_id), (stranger, id)):
        status, told = await wallet.asks(who, f"/-/wallet/statement.csv?token={which}")
        assert (status, told["code"]) == (404, "no_such_token")
    status, told = await wallet.asks(spender, "/-/wallet/statement.csv?by=hour")
    assert (status, told["code"]) == (400, "bad_request")
    assert "by: request" in told["detail"]


@pytest.mark.parametrize(("role", "child"), [("spender", "viewer"), ("spender", "owner"), ("viewer", "spender")])
async def test_nobody_makes_more_of_a_role_than_it_is(wallet: Wallet, role: str, child: str) -> None:
    id, member = await wallet.member(role)
    status, told = await wallet.asks(member, TOKENS, method="POST", json={"role": child})
    assert (status, f"its parent is a {role}" in told["detail"]) == (400, True)
    status, told = await wallet.asks(member, f"{TOKENS}/{id}", method="PATCH", json={"role": child})
    assert status == 400
    status, told = await wallet.asks(member, TOKENS, method="POST", json={})
    assert (status, told["token"]["role"]) == (201, role)
    assert (await wallet.asks(member, TOKENS, method="POST", json={"role": "king"}))[0] == 400


async def test_a_token_that_is_made_a_viewer_spends_no_more(wallet: Wallet) -> None:
    id, member = await wallet.member("owner")
    assert await wallet.spends(member) == [200]
    assert (await wallet.asks(wallet.owner, f"{TOKENS}/{id}", method="PATCH", json={"role": "viewer"}))[0] == 200
    assert await wallet.spends(member) == [403]


async def test_a_member_enters_by_its_token_and_only_by_one_that_was_made_here(wallet: Wallet) -> None:
    _, viewer = await wallet.member("viewer")
    name = wallet.stage.gateway.identity.cookies.name
    async with ClientSession() as session:

        async def enters(token: str, **headers: str) -> tuple[int, str, str]:
            url = f"{wallet.stage.url}/-/wallet/enter"
            sent = {**BROWSER, "Sec-Fetch-Site": "same-origin", **headers}
            async with session.post(url, data={"token": token}, headers=sent, allow_redirects=False) as answer:
                cookie = answer.cookies[name].value if name in answer.cookies else ""
                return answer.status, cookie, answer.headers.get("Location", "")

        assert await enters(f" {viewer.token} ") == (303, viewer.token, "/-/wallet")
        other = viewer.token[:-8] + viewer.token[-8:].swapcase()
        for chosen in ("mine", "", other, "fb_test_" + "A" * 44):
            assert await enters(chosen) == (401, "", "")
        assert await enters(viewer.token, **{"Sec-Fetch-Site": "cross-site"}) == (403, "", "")
    async with ClientSession() as session, session.get(f"{wallet.stage.url}/-/wallet/enter") as answer:
        assert re.search(r'name="token" type="password"', await answer.text())
