"""Clients that others wrote: the MCP SDK and Authlib discover, authorize, call priced tools, and are stopped."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import httpx2
import pytest
from aiohttp import ClientResponse
from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]  # it has no types
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp.shared.exceptions import MCPError

from tests.agents import CALLBACK, Agent, mcp_server, query_of, settings_of
from tests.callers import audited, pay, reference_in
from tests.forms import staged
from tests.stories.test_an_agent_is_allowed import allowed


class Kept:
    """What the SDK keeps between runs."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Person:
    """Opens the page that the SDK sends them to; pays there if they must, and allows it so much."""

    def __init__(self, agent: Agent, month: str) -> None:
        self._agent = agent
        self._month = month
        self.asked = 0
        self.paid_at: str | None = None
        self._answer: ClientResponse | None = None

    async def sent_to(self, address: str) -> None:
        self.asked += 1
        page = await self.opened(address)
        text = await page.text()
        if "Pay and continue" in text:
            self._agent.cookies = {name: morsel.value for name, morsel in page.cookies.items()}
            self.paid_at = text.partition('class="button" href="')[2].partition('"')[0].replace("&amp;", "&")
            await self.pays(self.paid_at)
            page = await self.opened(address)
        self._answer = await self._agent.decide(page, month=self._month)

    async def pays(self, payment_url: str) -> None:
        raise AssertionError("this person has a wallet")

    async def opened(self, address: str) -> ClientResponse:
        async with self._agent.session.get(address, cookies=self._agent.cookies, allow_redirects=False) as page:
            await page.read()
            return page

    async def came_back(self) -> AuthorizationCodeResult:
        assert self._answer is not None
        assert self._answer.status == 303, await self._answer.text()
        told = query_of(self._answer)
        return AuthorizationCodeResult(code=told["code"], state=told["state"], iss=told["iss"])


@asynccontextmanager
async def sdk(url: str, person: Person, kept: Kept, mode: str = "auto") -> AsyncIterator[Client]:
    """The SDK's client with its OAuth."""
    metadata = OAuthClientMetadata(client_name="SDK agent", redirect_uris=[CALLBACK])  # type: ignore[list-item]
    auth = OAuthClientProvider(url, metadata, kept, person.sent_to, person.came_back)
    async with (
        httpx2.AsyncClient(auth=auth) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_mcp_sdk_is_allowed_and_calls_until_the_cap(tmp_path: Path, mode: str) -> None:
    async with allowed(tmp_path) as (stage, agent, server):
        person, kept = Person(agent, "0.02"), Kept()
        async with sdk(f"{stage.url}/mcp", person, kept, mode) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == ["search", "lookup", "ping"]
            assert person.asked == 0  # what is free needs nobody's leave
            for _ in range(2):
                result = await client.call_tool("search", {})
                assert result.content[0].text == "search done"  # type: ignore[union-attr]
            with pytest.raises(MCPError) as refused:
                await client.call_tool("search", {})
            assert refused.value.error.code == 403
            assert refused.value.error.data["code"] == "spend_cap_reached"
            assert (await client.call_tool("ping", {})).content
        assert person.asked == 1
        assert server.called == ["search", "search", "ping"]
        assert kept.client is not None
        assert kept.client.issuer is None or str(kept.client.issuer).rstrip("/") == stage.url
        audited(stage)


async def test_the_login_is_a_payment_and_the_wallet_page_ends_it(tmp_path: Path) -> None:
    """The whole way: discover, be sent to pay, allow 5.00 a month, call to the cap, be told how, be revoked."""
    async with mcp_server() as server, staged("relay", tmp_path, **_dear(settings_of(server))) as stage:
        async with Agent(stage, None) as agent:
            person, kept = Person(agent, "5.00"), Kept()

            async def pays(payment_url: str) -> None:
                session = await pay(stage, payment_url)
                address = f"{stage.url}/-/paid?session_id={session['id']}"
                page = await person.opened(address)
                assert "/-/oauth/authorize?" in await page.text()  # they are taken back by themselves
                assert reference_in(payment_url)

            person.pays = pays  # type: ignore[method-assign]
            async with sdk(f"{stage.url}/mcp", person, kept) as client:
                for _ in range(2):
                    assert (await client.call_tool("search", {})).content
                with pytest.raises(MCPError) as refused:
                    await client.call_tool("search", {})
                data = refused.value.error.data
                assert (data["code"], data["left"]["amount"]) == ("spend_cap_reached", "0.00")
                assert data["manage_url"] == f"{stage.url}/-/wallet/tokens"
                assert kept.tokens is not None
                await _revoked(agent, stage.url, "SDK agent")
                answer, said = await agent.call(kept.tokens.access_token, {"id": 1, "method": "tools/call",
                                                                           "params": {"name": "search"}})  # fmt: skip
                assert (answer.status, said["code"]) == (401, "unknown_token")
            assert (person.asked, server.called) == (1, ["search", "search"])
            audited(stage)


def _dear(settings: dict) -> dict:  # type: ignore[type-arg]
    settings["routes"][0]["mcp"]["tools"]["search"] = "2.50 usd"
    return settings


async def _revoked(agent: Agent, url: str, name: str) -> None:
    """The person finds the agent by its name among their tokens, and takes back what they allowed."""
    async with agent.session.get(f"{url}/-/wallet/tokens", cookies=agent.cookies) as page:
        text = await page.text()
    section = text.partition(f"<h2>{name}</h2>")[2]
    assert "At most 5.00 usd a month, 5.00 usd of it spent" in " ".join(section.split()), section[:600]
    fields = {"mark": text.partition('name="mark" value="')[2].partition('"')[0],
              "id": section.partition('name="id" value="')[2].partition('"')[0],
              "action": "revoke", "sure": "1"}  # fmt: skip
    async with agent.session.post(f"{url}/-/wallet/tokens", data=fields, cookies=agent.cookies) as page:
        assert page.status == 200


@pytest.mark.parametrize("way", ["none", "client_secret_basic", "client_secret_post"])
async def test_authlib_is_a_client_too(tmp_path: Path, way: str) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        known = await agent.register(token_endpoint_auth_method=way)
        client = AsyncOAuth2Client(
            known["client_id"],
            known.get("client_secret"),
            token_endpoint_auth_method=way,
            redirect_uri=CALLBACK,
            code_challenge_method="S256",
        )
        async with client:
            verifier = "x" * 60
            address, state = client.create_authorization_url(
                f"{stage.url}/-/oauth/authorize", code_verifier=verifier, resource=f"{stage.url}/mcp"
            )
            person = Person(agent, "1.00")
            await person.sent_to(address)
            answer = person._answer
            assert answer is not None
            token = f"{stage.url}/-/oauth/token"
            tokens = await client.fetch_token(
                token, authorization_response=answer.headers["Location"], code_verifier=verifier, state=state
            )
            call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search"}}
            found: httpx.Response = await client.post(f"{stage.url}/mcp", json=call)
            assert found.json()["result"]
            renewed = await client.refresh_token(token, tokens["refresh_token"])
            assert renewed["access_token"] != tokens["access_token"]
            assert (await client.post(f"{stage.url}/mcp", json=call)).json()["result"]
            told = await client.introspect_token(f"{stage.url}/-/oauth/introspect", token=renewed["access_token"])
            assert told.json()["active"]
            ended = await client.revoke_token(f"{stage.url}/-/oauth/revoke", token=renewed["access_token"])
            assert ended.status_code == 200, ended.text
            assert (await client.post(f"{stage.url}/mcp", json=call)).status_code == 401
