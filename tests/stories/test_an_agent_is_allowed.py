"""OAuth for agents: a client discovers, a person allows it so much a month, it calls and is stopped; and thieves."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.cli.stage import Stage
from tests.agents import CALLBACK, Agent, McpServer, called, mcp_server, query_of, settings_of
from tests.callers import audited, funded
from tests.forms import FORMS, staged


@asynccontextmanager
async def allowed(
    folder: Path, *, balance: str = "10.00 usd", **oauth: Any
) -> AsyncIterator[tuple[Stage, Agent, McpServer]]:
    """A gateway before an MCP server, a person with money, and a client that has registered."""
    async with AsyncExitStack() as opened:
        server = await opened.enter_async_context(mcp_server())
        stage = await opened.enter_async_context(staged("relay", folder, **settings_of(server, **oauth)))
        [person] = await funded(stage, balance)
        agent = await opened.enter_async_context(Agent(stage, person))
        await agent.register()
        yield stage, agent, server


async def test_what_is_published_leads_from_the_refusal_to_the_server(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        answer, said = await agent.call(None, called("search"))
        assert (answer.status, said["code"]) == (401, "authorization_required")
        at = f"{stage.url}/.well-known/oauth-protected-resource/mcp"
        assert answer.headers["WWW-Authenticate"] == f'Bearer resource_metadata="{at}", scope="tools"'
        async with agent.session.get(at) as found:
            told = await found.json()
        assert (told["resource"], told["authorization_servers"]) == (f"{stage.url}/mcp", [stage.url])
        for path in ("", "/mcp"):
            async with agent.session.get(f"{stage.url}/.well-known/oauth-authorization-server{path}") as found:
                told = await found.json()
            assert told["issuer"] == stage.url
            assert told["code_challenge_methods_supported"] == ["S256"]
        async with agent.session.get(f"{stage.url}/.well-known/oauth-protected-resource/closed") as found:
            assert found.status == 404


async def test_the_page_and_the_price_list_say_what_each_tool_costs(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        page = await (await agent.page(agent.asks())).text()
        assert "<strong>tools</strong>, 0.001 USD; tool search 0.01 USD; tool ping free" in page
        async with agent.session.get(f"{stage.url}/-/pricing") as found:
            prices = await found.text()
        assert ("tool search: 0.01 USD" in prices, "tool ping: free" in prices) == (True, True)
        [step] = await stage.gateway.records.trail.steps_before(9, count=1, action="prices.serve")
        assert "→ 0.01 usd (tool search)" in step.act.facts["tools tool search"]


async def test_a_person_allows_so_much_a_month_and_the_token_is_of_their_wallet(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, server):
        tokens = await agent.tokens(month="0.02")
        assert tokens["scope"] == "tools"
        for _ in range(2):
            answer, said = await agent.call(tokens["access_token"], called("search"))
            assert said["result"]["content"][0]["text"] == "search done"
            assert answer.headers["Gateway-Cost"] == "0.01 usd"
        answer, said = await agent.call(tokens["access_token"], called("search", id="x7"))
        assert (answer.status, said["id"], said["error"]["code"]) == (200, "x7", 403)
        assert said["error"]["data"]["code"] == "spend_cap_reached"
        assert server.called == ["search", "search"]
        assert all("authorization" not in headers for headers, _ in server.seen)
        audited(stage)


@pytest.mark.parametrize("form", FORMS)
async def test_calls_of_tools_have_prices_for_the_token_of_a_wallet_too(form: str, tmp_path: Path) -> None:
    async with mcp_server() as server:
        settings = settings_of(server)
        del settings["oauth"]
        async with staged(form, tmp_path, **settings) as stage:
            [person] = await funded(stage, "0.011 usd")
            async with Agent(stage, person) as agent:
                _, said = await agent.call(None, called("search"))
                data = said["error"]["data"]
                assert (said["id"], said["error"]["code"], data["code"]) == (1, 402, "payment_required")
                assert data["payment_url"] in said["error"]["message"]
                for tool, cost in (("search", "0.01 usd"), ("lookup", "0.001 usd"), ("ping", None)):
                    answer, said = await agent.call(person.token, called(tool))
                    assert (answer.headers.get("Gateway-Cost"), "result" in said) == (cost, True)
                assert (await agent.call(person.token, called("lookup", id="b")))[1]["error"]["code"] == 402
                named = {"Mcp-Method": "tools/call", "Mcp-Name": "ping"}
                answer, said = await agent.call(person.token, called("search"), headers=named)
                assert (answer.status, said["code"]) == (400, "bad_request")
                assert (await agent.call(person.token, [called("ping")]))[0].status == 400
                assert server.called == ["search", "lookup", "ping"]
                audited(stage)


@asynccontextmanager
async def document(said: dict[str, Any], *, moved: bool = False) -> AsyncIterator[str]:
    """The address of a client's document, or one that sends elsewhere."""

    async def tell(request: web.Request) -> web.Response:
        if moved and request.path == "/client.json":
            return web.Response(status=302, headers={"Location": "/moved.json"})
        return web.json_response({"client_id": address, **said})

    app = web.Application()
    app.router.add_get("/{name}", tell)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/client.json"
    yield address
    await runner.cleanup()


async def test_a_client_is_known_by_its_own_document_and_by_nothing_else(tmp_path: Path) -> None:
    good = {"client_name": "Documented", "redirect_uris": [CALLBACK], "token_endpoint_auth_method": "none"}
    async with allowed(tmp_path, private_addresses=True) as (_, agent, _server):
        async with document(good) as address:
            agent.client = {"client_id": address}
            page = await agent.page(agent.asks())
            assert "Documented" in await page.text()
            assert address in await page.text()
            tokens = await agent.tokens()
            assert (await agent.call(tokens["access_token"], called("search")))[0].status == 200
        for bad, moved in (
            ({**good, "client_id": "http://127.0.0.1/other"}, False),
            ({**good, "pad": "x" * 5_200}, False),
            ({**good, "token_endpoint_auth_method": "client_secret_post"}, False),
            (good, True),
        ):
            async with document(bad, moved=moved) as address:
                answer = await agent.page(agent.asks(client_id=address))
                assert (answer.status, "Location" in answer.headers) == (400, False)


async def test_a_person_may_say_no_and_another_amount_that_is_none_is_asked_for_again(tmp_path: Path) -> None:
    async with allowed(tmp_path) as (stage, agent, _):
        page = await agent.page(agent.asks())
        told = query_of(await agent.decide(page, decision="deny"))
        assert told == {"error": "access_denied", "state": "st", "iss": stage.url}
        for month in ("", "0", "-1", "lots"):
            again = await agent.decide(page, month=month)
            assert (again.status, "Location" in again.headers) == (400, False)
        assert (await agent.decide(page, month="1.50 usd")).status == 303
