"""Whoever tries to have what a person allowed another program: each way in is shut, and costs the thief the rest."""

import base64
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from gateway.cli.stage import Stage
from gateway.core.oauth import AGENTS_SCHEMES, Client
from gateway.core.refusals import RateLimited
from gateway.flows.authorize import CODE_MS
from tests.agents import CALLBACK, CHALLENGE, VERIFIER, Agent, called, hidden, query_of
from tests.callers import funded, pay
from tests.fakes import FakeClock
from tests.stories.test_an_agent_is_allowed import allowed


async def test_a_code_that_comes_twice_ends_what_it_bought(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (_, agent, _server):
        code = await agent.code()
        _, tokens = await agent.redeem(code)
        assert (await agent.call(tokens["access_token"], called("search")))[0].status == 200
        assert await agent.redeem(code) == (400, {"error": "invalid_grant", "error_description": USED})
        answer, said = await agent.call(tokens["access_token"], called("search"))
        assert (answer.status, said["code"]) == (401, "unknown_token")
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
        assert (await agent.refresh(tokens["refresh_token"]))[1]["error"] == "invalid_grant"


USED = "it was used before; all that came of it is over"


async def test_a_refresh_token_that_comes_twice_ends_its_family(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (_, agent, _server):
        first = await agent.tokens()
        status, second = await agent.refresh(first["refresh_token"])
        assert status == 200
        assert (await agent.call(second["access_token"], called("search")))[0].status == 200
        assert (await agent.refresh(first["refresh_token"]))[1]["error_description"] == USED
        assert (await agent.call(second["access_token"], called("search")))[0].status == 401
        assert (await agent.refresh(second["refresh_token"]))[1]["error"] == "invalid_grant"


@contextmanager
def failing(stage: Stage) -> Iterator[None]:
    """The store takes no more tickets for now, whatever it was asked to write before them."""
    path = stage.settings.store_path
    with closing(sqlite3.connect(path.with_name(f"{path.stem}.records.db"), timeout=5)) as records:
        records.execute(
            "CREATE TRIGGER fails BEFORE INSERT ON oauth_ticket BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        )
        yield
        records.execute("DROP TRIGGER fails")


async def test_whoever_is_told_to_come_later_is_no_thief_when_they_do(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        code = await agent.code()
        with failing(stage):
            status, said = await agent.redeem(code)
        assert (status, said["code"]) == (503, "records_unavailable")
        status, tokens = await agent.redeem(code)
        assert status == 200, tokens
        with failing(stage):
            assert (await agent.refresh(tokens["refresh_token"]))[0] == 503
        assert (await agent.call(tokens["access_token"], called("search")))[0].status == 200
        status, tokens = await agent.refresh(tokens["refresh_token"])
        assert status == 200, tokens
        assert (await agent.call(tokens["access_token"], called("search")))[0].status == 200


async def test_a_code_that_comes_too_late_leaves_nothing_in_the_wallet(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        code = await agent.code()
        assert stage.gateway.oauth is not None
        authorize = stage.gateway.oauth.authorize
        authorize._clock = FakeClock(stage.gateway.clock.now_ms() + CODE_MS + 1)
        assert (await agent.redeem(code))[1]["error_description"] == "it is over"
        await authorize.clean()
        async with agent.session.get(f"{stage.url}/-/api/v1/tokens", cookies=agent.cookies) as answer:
            told = {one["name"]: one["state"] for one in (await answer.json())["tokens"]}
        assert told["Research agent"] == "revoked"


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge_method": "plain", "code_challenge": "v" * 43},
        {"code_challenge_method": None},
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": "short"},
    ],
)
async def test_without_a_challenge_by_s256_nobody_is_asked(tmp_path: Path, changes: dict[str, str | None]) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        await agent.tokens()  # or a mistake of its is told here
        answer = await agent.page(agent.asks(**changes))
        told = query_of(answer)
        assert (answer.status, told["error"], told["iss"], told["state"]) == (303, "invalid_request", stage.url, "st")


@pytest.mark.parametrize("to", ["https://evil.example/phish", "com.example.evil:/run", "cursor://x/y"])
async def test_a_mistake_leads_nobody_to_a_program_that_they_have_allowed_nothing(tmp_path: Path, to: str) -> None:
    async with allowed(tmp_path) as (stage, agent, _), Agent(stage, None) as nobody:
        await agent.register(redirect_uris=[to], client_name="<b>Prize</b>")
        wrong = agent.asks(redirect_uri=to, response_type="x")
        nobody.client = agent.client
        for whoever in (nobody, agent):
            answer = await whoever.page(wrong)
            page = await answer.text()
            assert (answer.status, "Location" in answer.headers) == (400, False)
            assert f'href="{to}?error=unsupported_response_type&amp;' in page, "it is a link, which they may follow"
            assert ("<b>" in page, "nobody has checked" in page) == (False, True)
        await agent.decide(await agent.page(agent.asks(redirect_uri=to)))
        assert query_of(await agent.page(wrong))["error"] == "unsupported_response_type"
        assert (await nobody.page(wrong)).status == 400
        mine = (await stage.gateway.records.grants.grants_of([await account_of(agent)]))[-1]
        await stage.gateway.records.grants.revoke_grant(mine.id, now_ms=stage.gateway.clock.now_ms())
        assert (await agent.page(wrong)).status == 400, "what was taken back is no trust"


async def account_of(agent: Agent) -> str:
    async with agent.session.get(f"{agent.url}/-/me", cookies=agent.cookies) as answer:
        return str((await answer.json())["account"])


async def test_a_code_needs_its_verifier_its_address_its_client_and_its_resource(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        mine = agent.client["client_id"]
        theirs = (await agent.register())["client_id"]
        agent.client = {"client_id": mine}
        code = await agent.code()
        for wrong in (
            {"code_verifier": "w" * 50},
            {"code_verifier": ""},
            {"code_verifier": CHALLENGE},
            {"redirect_uri": "http://127.0.0.1:5556/callback"},
            {"client_id": theirs},
        ):
            status, said = await agent.redeem(code, **wrong)
            assert (status, said["error"]) == (400, "invalid_grant"), wrong
        assert (await agent.redeem(code, resource=f"{stage.url}/other"))[1]["error"] == "invalid_target"
        assert (await agent.redeem(code))[0] == 200


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:5555/callback/",
        "http://127.0.0.1:5555/other",
        "http://127.0.0.1:5555/callback?x=1",
        "http://127.0.0.1.evil.example:5555/callback",
        "http://evil@127.0.0.1:5555/callback",
        "http://localhost:5555/callback",
        "https://127.0.0.1:5555/callback",
        "https://evil.example/callback",
    ],
)
async def test_an_answer_goes_to_no_other_address(tmp_path: Path, address: str) -> None:
    async with allowed(tmp_path) as (_, agent, _server):
        answer = await agent.page(agent.asks(redirect_uri=address))
        assert answer.status == 400
        assert "Location" not in answer.headers


async def test_a_program_on_ones_own_machine_may_choose_its_port(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (_, agent, _server):
        other = CALLBACK.replace("5555", "61234")
        answer = await agent.decide(await agent.page(agent.asks(redirect_uri=other)))
        assert answer.headers["Location"].startswith(f"{other}?")
        status, _ = await agent.redeem(query_of(answer)["code"], redirect_uri=other)
        assert status == 200


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.example/cb",
        "javascript:alert(1)//",
        "data:text/html,x",
        "https://a.example/#x",
        "https:x",
        "ms-msdt:/id",
        "search-ms:query=x",
        "x-apple.systempreferences:x",
        "microsoft.windows.camera:x",
        "agent:/cb",
    ],
)
async def test_no_client_registers_an_address_that_leads_astray(tmp_path: Path, address: str) -> None:
    async with allowed(tmp_path) as (_, agent, _server):
        said = {"redirect_uris": [address]}
        async with agent.session.post(f"{agent.url}/-/oauth/register", json=said) as answer:
            assert (answer.status, (await answer.json())["error"]) == (400, "invalid_redirect_uri")


@pytest.mark.parametrize("address", ["com.example.my-app:/cb", "cursor://anysphere.cursor-mcp/oauth/callback"])
async def test_a_program_registers_a_scheme_of_its_own(tmp_path: Path, address: str) -> None:
    async with allowed(tmp_path) as (_, agent, _server):
        await agent.register(redirect_uris=[address])
        answer = await agent.decide(await agent.page(agent.asks(redirect_uri=address)))
        assert answer.headers["Location"].startswith(f"{address}?code=")


REGISTERED = {"redirect_uris": ["https://x.example/"], "token_endpoint_auth_method": "none"}


async def test_who_registers_many_clients_keeps_nobody_out(tmp_path: Path) -> None:
    async with allowed(tmp_path, clients_max=20, registrations="20/hour") as (stage, agent, _):
        assert stage.gateway.oauth is not None
        clients = stage.gateway.oauth.clients
        await agent.tokens()
        for number in range(60):  # each from a network of its own, in one of 48 bits
            await clients.register(REGISTERED, f"2001:db8:0:{number:x}::1")
        await clients.register(REGISTERED, "203.0.113.9")
        assert (await agent.page(agent.asks())).status == 200, "and whom somebody has allowed something stays"


async def test_a_network_of_48_bits_registers_five_times_as_many_as_an_address(tmp_path: Path) -> None:
    async with allowed(tmp_path, registrations="2/hour") as (stage, _, _server):
        assert stage.gateway.oauth is not None
        clients = stage.gateway.oauth.clients
        for number in range(10):
            await clients.register(REGISTERED, f"2001:db8:0:{number // 2:x}::1")
        with pytest.raises(RateLimited) as refused:
            await clients.register(REGISTERED, "2001:db8:0:ffff::1")
        assert refused.value.policy == "10/hour"
        await clients.register(REGISTERED, "2001:db8:1::1")
        for _ in range(2):
            await clients.register(REGISTERED, "203.0.113.9")
        with pytest.raises(RateLimited):
            await clients.register(REGISTERED, "203.0.113.9")


def test_the_schemes_of_well_known_agents_are_in_the_reference() -> None:
    reference = (Path(__file__).parents[2] / "config" / "REFERENCE.md").read_text()
    assert ", ".join(sorted(AGENTS_SCHEMES)) in reference


async def test_a_scheme_that_was_registered_once_and_is_no_more_leads_nowhere(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        older = Client("client_older", "Older", ("ms-msdt:/id",))
        assert await stage.gateway.records.oauth.add_client(older, now_ms=stage.gateway.clock.now_ms(), count_max=9)
        for redirect in ("ms-msdt:/id", None):
            answer = await agent.page(agent.asks(client_id=older.id, redirect_uri=redirect))
            assert (answer.status, "ms-msdt" in await answer.text()) == (400, False)


async def test_what_is_for_one_resource_is_shown_at_no_other(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, server):
        tokens = await agent.tokens()
        for path in ("/other/x", "/closed"):
            answer, said = await agent.call(tokens["access_token"], called("search"), path=path)
            assert (answer.status, said["code"]) == (401, "unknown_token")
        wide = await agent.tokens(resource=stage.url, scope="tools")
        answer, said = await agent.call(wide["access_token"], called("search"), path="/other/x")
        assert (answer.status, said["code"]) == (403, "token_out_of_scope")
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
        assert 'scope="other"' in answer.headers["WWW-Authenticate"]
        assert server.called == []
        assert query_of(await agent.page(agent.asks(resource=f"{stage.url}/closed")))["error"] == "invalid_target"
        assert query_of(await agent.page(agent.asks(scope="closed")))["error"] == "invalid_scope"


async def test_what_an_agent_holds_opens_nothing_of_the_wallet(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        tokens = await agent.tokens()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        for method, path in (("GET", "/-/me"), ("POST", "/-/rotate-token"), ("GET", "/-/api/v1/tokens")):
            async with agent.session.request(method, stage.url + path, headers=headers) as answer:
                assert answer.status == 401, path
        fields = {"token": tokens["access_token"]}
        async with agent.session.post(f"{stage.url}/-/wallet/enter", data=fields, allow_redirects=False) as answer:
            assert answer.status == 401


async def test_a_payment_makes_no_wallets_token_of_what_an_agent_holds(tmp_path: Path) -> None:
    async with allowed(tmp_path, balance="0.005 usd") as (stage, agent, _):
        tokens = await agent.tokens()
        _, said = await agent.call(tokens["access_token"], called("search"))
        assert said["error"]["code"] == 402
        before = await stage.gateway.records.grants.grants_of([said["error"]["data"]["account"]])
        await pay(stage, said["error"]["data"]["payment_url"])
        after = await stage.gateway.records.grants.grants_of([said["error"]["data"]["account"]])
        assert [one.id for one in after] == [one.id for one in before]
        assert (await agent.call(tokens["access_token"], called("search")))[1]["result"]


async def test_only_the_browser_that_saw_the_page_can_send_its_form(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        page = await agent.page(agent.asks())
        for elsewhere in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await agent.decide(page, headers=elsewhere)).status == 403
        assert (await agent.decide(page, mark="")).status == 400
        [victim] = await funded(stage, "5.00 usd")
        async with Agent(stage, victim) as other:
            assert (await other.decide(page)).status == 400  # its mark is the thief's own
        assert (await agent.decide(page)).status == 303


async def test_the_page_is_framed_nowhere_and_leads_nowhere_else(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (_, agent, _server):
        page = await agent.page(agent.asks())
        policy = page.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self' http://127.0.0.1:5555;" in policy
        assert page.headers["X-Frame-Options"] == "DENY"
        assert "<script" not in await page.text()
        assert hidden(await page.text()).keys() == {"mark", "asked"}


async def test_a_document_is_not_fetched_from_inside_nor_after_a_redirect(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (_, agent, _server):
        for address in ("https://127.0.0.1:9/client.json", "https://169.254.169.254/latest/x", "https://[::1]/c.json"):
            answer = await agent.page(agent.asks(client_id=address))
            assert answer.status == 400
            assert "private address" in await answer.text()
        answer = await agent.page(agent.asks(client_id="http://127.0.0.1:9/client.json"))
        assert "there is no such client" in await answer.text()


async def test_a_secret_is_asked_for_where_one_was_given(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (_, agent, _server):
        known = await agent.register(token_endpoint_auth_method="client_secret_basic")
        code = await agent.code()
        assert (await agent.redeem(code))[0] == 401
        said = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        for word, expected in (("wrong", 401), (known["client_secret"], 200)):
            pair = base64.b64encode(f"{known['client_id']}:{word}".encode()).decode()
            status, _ = await agent.post("token", said, headers={"Authorization": f"Basic {pair}"})
            assert status == expected


async def test_the_key_of_a_programs_secret_is_counted_from_when_it_is_allowed_something(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        records, newest = stage.gateway.records, stage.gateway.keyring.newest.id
        known = await agent.register(token_endpoint_auth_method="client_secret_post")
        code = await agent.code()
        assert (await records.key_roll.use("sealing_key")).clients == {newest: 1}
        await records.ask("UPDATE oauth_client SET key_id = NULL")  # as one from before it was counted
        assert (await agent.redeem(code, client_secret="wrong"))[0] == 401
        assert (await records.key_roll.use("sealing_key")).clients == {None: 1}
        assert (await agent.redeem(code, client_secret=known["client_secret"]))[0] == 200
        assert (await records.key_roll.use("sealing_key")).clients == {newest: 1}


async def test_tokens_are_told_of_and_taken_back_by_their_own_client_alone(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        tokens = await agent.tokens()
        mine = {"client_id": agent.client["client_id"]}
        theirs = {"client_id": (await agent.register())["client_id"]}
        for name in ("access_token", "refresh_token"):
            _, told = await agent.post("introspect", {**mine, "token": tokens[name]})
            assert (told["active"], told["aud"], told["scope"]) == (True, f"{stage.url}/mcp", "tools")
            assert await agent.post("introspect", {**theirs, "token": tokens[name]}) == (200, {"active": False})
            assert await agent.post("revoke", {**theirs, "token": tokens[name]}) == (200, {})
        assert (await agent.call(tokens["access_token"], called("search")))[0].status == 200
        assert await agent.post("revoke", {**mine, "token": tokens["refresh_token"]}) == (200, {})
        assert (await agent.call(tokens["access_token"], called("search")))[0].status == 401
        assert await agent.post("introspect", {**mine, "token": tokens["access_token"]}) == (200, {"active": False})


def test_the_challenge_of_these_tests_is_of_their_verifier() -> None:
    made = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
    assert made == CHALLENGE
