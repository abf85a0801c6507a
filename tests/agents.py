"""Agents for tests: an MCP server to stand behind a gateway, a client of OAuth in raw requests, a browser."""

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import ClientResponse, ClientSession, DummyCookieJar, web

from gateway.cli.stage import Stage
from tests.callers import Funded

VERIFIER = "v" * 50
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
CALLBACK = "http://127.0.0.1:5555/callback"
_TOOLS = ("search", "lookup", "ping")


@dataclass
class McpServer:
    """An MCP server with three tools, as plain as can be. It remembers what it was sent."""

    url: str = ""
    seen: list[tuple[dict[str, str], dict[str, Any]]] = field(default_factory=list)

    @property
    def called(self) -> list[str]:
        """The tools that were called."""
        return [said["params"]["name"] for _, said in self.seen if said.get("method") == "tools/call"]

    async def answer(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            return web.Response(status=405)
        said = await request.json()
        self.seen.append(({name.lower(): value for name, value in request.headers.items()}, said))
        if "id" not in said:
            return web.Response(status=202)
        result: dict[str, Any] | None = None
        if said["method"] == "initialize":
            result = {
                "protocolVersion": said["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "toy", "version": "1"},
            }
        elif said["method"] == "tools/list":
            result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in _TOOLS]}
        elif said["method"] == "tools/call":
            result = {"content": [{"type": "text", "text": f"{said['params']['name']} done"}]}
        if result is None:
            error = {"code": -32601, "message": "no such method"}
            return web.json_response({"jsonrpc": "2.0", "id": said["id"], "error": error}, status=404)
        return web.json_response({"jsonrpc": "2.0", "id": said["id"], "result": result})


@asynccontextmanager
async def mcp_server() -> AsyncIterator[McpServer]:
    server, app = McpServer(), web.Application()
    app.router.add_route("*", "/{rest:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def settings_of(server: McpServer, **oauth: Any) -> dict[str, Any]:
    """What is laid over a stage's configuration: two resources, of which the first has prices of tools."""
    return {
        "upstreams": {"tools": {"url": server.url}},
        "routes": [
            {
                "name": "tools", "match": "/mcp", "upstream": "tools", "price": "0.001 usd",
                "mcp": {"tools": {"search": "0.01 usd", "ping": "free"}},
            },
            {"name": "other", "match": "/other/", "upstream": "tools", "price": "0.001 usd"},
            {"name": "closed", "match": "/closed", "upstream": "tools", "price": "0.001 usd"},
        ],
        "oauth": {"routes": ["tools", "other"], **oauth},
    }  # fmt: skip


def called(tool: str, id: int | str = 1) -> dict[str, Any]:
    """A call of a tool."""
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {}}}


class Agent:
    """A client of OAuth in raw requests, and the browser of the person whom it asks."""

    def __init__(self, stage: Stage, person: Funded | None) -> None:
        self.url = stage.url
        self.cookie = stage.gateway.identity.cookies.name
        self.cookies = {self.cookie: person.token} if person else {}
        self.session = ClientSession(cookie_jar=DummyCookieJar())
        self.client: dict[str, Any] = {}

    async def __aenter__(self) -> "Agent":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def register(self, **said: Any) -> dict[str, Any]:
        wanted = {
            "client_name": "Research agent",
            "redirect_uris": [CALLBACK],
            "token_endpoint_auth_method": "none",
            **said,
        }
        async with self.session.post(f"{self.url}/-/oauth/register", json=wanted) as answer:
            assert answer.status == 201, await answer.text()
            self.client = await answer.json()
            return self.client

    def asks(self, **changes: str | None) -> dict[str, str]:
        """The parameters of a request for leave; None takes one out."""
        said: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.client.get("client_id"),
            "redirect_uri": CALLBACK,
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            "resource": f"{self.url}/mcp",
            "state": "st",
            **changes,
        }
        return {name: value for name, value in said.items() if value is not None}

    async def page(self, asks: dict[str, str]) -> ClientResponse:
        """What the person's browser gets, read."""
        address = f"{self.url}/-/oauth/authorize"
        async with self.session.get(address, params=asks, cookies=self.cookies, allow_redirects=False) as answer:
            await answer.read()
            return answer

    async def decide(
        self, page: ClientResponse, *, headers: dict[str, str] | None = None, **typed: str
    ) -> ClientResponse:
        """The form of that page, sent."""
        fields = hidden(await page.text()) | {"month": "5.00", "decision": "allow"} | typed
        address = f"{self.url}/-/oauth/authorize"
        async with self.session.post(
            address, data=fields, cookies=self.cookies, headers=headers, allow_redirects=False
        ) as answer:
            await answer.read()
            return answer

    async def code(self, *, month: str = "5.00", **changes: str | None) -> str:
        """The person says yes: the code."""
        answer = await self.decide(await self.page(self.asks(**changes)), month=month)
        assert answer.status == 303, await answer.text()
        return query_of(answer)["code"]

    async def post(self, path: str, said: dict[str, str], **rest: Any) -> tuple[int, dict[str, Any]]:
        async with self.session.post(f"{self.url}/-/oauth/{path}", data=said, **rest) as answer:
            return answer.status, await answer.json()

    async def redeem(self, code: str, **changes: str) -> tuple[int, dict[str, Any]]:
        said = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK,
                "client_id": self.client["client_id"], "code_verifier": VERIFIER, **changes}  # fmt: skip
        return await self.post("token", said)

    async def refresh(self, token: str, **changes: str) -> tuple[int, dict[str, Any]]:
        said = {"grant_type": "refresh_token", "refresh_token": token, "client_id": self.client["client_id"]}
        return await self.post("token", said | changes)

    async def tokens(self, *, month: str = "5.00", **changes: str | None) -> dict[str, Any]:
        status, tokens = await self.redeem(await self.code(month=month, **changes))
        assert status == 200, tokens
        return tokens

    async def call(
        self, token: str | None, said: Any, *, path: str = "/mcp", headers: dict[str, str] | None = None
    ) -> tuple[ClientResponse, Any]:
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        fields = {"Content-Type": "application/json", **shown, **(headers or {})}
        async with self.session.post(f"{self.url}{path}", data=body, headers=fields) as answer:
            return answer, await answer.json()


def query_of(answer: ClientResponse) -> dict[str, str]:
    """The query of a redirect."""
    return {name: value for name, [value] in parse_qs(urlsplit(answer.headers["Location"]).query).items()}


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page's form."""
    found = re.findall(r'<input type="hidden" name="([a-z]+)" value="([^"]*)">', page)
    return {name: unescape(value) for name, value in found}
