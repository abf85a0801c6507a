"""OAuth for agents: a client discovers, a person allows it so much a month, it calls and is stopped; and thieves."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from gateway.cli.stage import Stage
from tests.agents import Agent, McpServer, called, mcp_server, settings_of
from tests.callers import audited, funded
from tests.forms import staged


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
