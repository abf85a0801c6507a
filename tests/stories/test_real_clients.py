"""The clients that people have: each does what it always does, through the gateway, and pays for it to the last micro.

None of them knows of the gateway but for its address and a token. What is not installed is skipped, and says so.
"""

import asyncio
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
import requests
from aiohttp import web
from websockets.asyncio.client import connect

from gateway.cli.stage import Stage
from gateway.demo.upstreams import ToyUpstream
from tests.browser import needs_chromium, opened
from tests.callers import Funded, audited, funded
from tests.conftest import StageMaker

PRICE_MICROS = 2_000
CURL, GIT = shutil.which("curl"), shutil.which("git")
needs_curl = pytest.mark.skipif(CURL is None, reason="no curl is installed")
needs_git = pytest.mark.skipif(GIT is None, reason="no git is installed")
LARGE = os.urandom(3_000_000)
WORDS = ["Rain", " is", " likely", " é."]


# --- what they talk to ------------------------------------------------------------------------------------------------


class Toys:
    """One upstream for all of them."""

    def __init__(self) -> None:
        self.server = ToyUpstream("toys", self._answer)
        self.seen: list[web.Request] = []
        self.repositories = Path()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        kind = request.path.split("/")[1]
        answer: web.StreamResponse = await getattr(self, kind)(request)
        return answer

    async def echo(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        answer = web.json_response(
            {"method": request.method, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()},
        )
        answer.headers["X-Framing"] = request.headers.get("Transfer-Encoding", "length")
        return answer

    async def zipped(self, request: web.Request) -> web.StreamResponse:
        assert "gzip" in request.headers["Accept-Encoding"]
        return web.Response(body=gzip.compress(LARGE), headers={"Content-Encoding": "gzip"})

    async def large(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=LARGE)

    async def streamed(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for at in range(0, len(LARGE), 100_000):
            await answer.write(LARGE[at : at + 100_000])
        return answer

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """The shape of OpenAI's chat completions."""
        assert request.headers["Authorization"] == "Bearer sk-of-the-operator"
        asked = await request.json()
        about: dict[str, Any] = {"id": "chat_1", "created": 1, "model": asked["model"]}
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": "".join(WORDS)}
            choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
            return web.json_response({**about, "object": "chat.completion", "choices": choices, "usage": usage})
        chunks = [
            {**about, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word}}]}
            for word in WORDS
        ]
        return await _events(request, [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"])

    async def claude(self, request: web.Request) -> web.StreamResponse:
        """The shape of Anthropic's messages."""
        assert request.headers["X-Api-Key"] == "sk-of-the-operator"
        asked = await request.json()
        about: dict[str, Any] = {
            "id": "msg_1", "type": "message", "role": "assistant", "model": asked["model"], "stop_reason": None,
            "stop_sequence": None, "usage": {"input_tokens": 9, "output_tokens": 4},
        }  # fmt: skip
        if not asked.get("stream"):
            return web.json_response({**about, "content": [{"type": "text", "text": "".join(WORDS)}]})
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**about, "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
                for word in WORDS
            ),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
            {"type": "message_stop"},
        ]
        return await _events(request, [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events])

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=["shout"])
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    async def git(self, request: web.Request) -> web.StreamResponse:
        """The smart protocol, by git's own CGI program."""
        assert GIT is not None
        environ = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.repositories), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.path.removeprefix("/git"), "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method, "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""), "REMOTE_USER": "caller",
        }  # fmt: skip
        body = await request.read()
        environ["CONTENT_LENGTH"] = str(len(body))
        said = await run(GIT, "http-backend", stdin=body, environ=environ)
        head, _, rest = said.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(fields.pop("Status", "200").split(" ")[0])
        return web.Response(status=status, headers=fields, body=rest)

    async def simple(self, request: web.Request) -> web.StreamResponse:
        """A package index with one package."""
        if request.path.endswith(".whl"):
            return web.Response(body=wheel(), content_type="application/octet-stream")
        digest = hashlib.sha256(wheel()).hexdigest()
        link = f'<a href="tiny-1.0-py3-none-any.whl#sha256={digest}">tiny-1.0-py3-none-any.whl</a>'
        return web.Response(text=f"<!DOCTYPE html><html><body>{link}</body></html>", content_type="text/html")

    async def page(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text=PAGE, content_type="text/html")

    async def events(self, request: web.Request) -> web.StreamResponse:
        return await _events(request, [f"data: {word}\n\n" for word in WORDS] + ["event: done\ndata: x\n\n"])


async def _events(request: web.Request, events: list[str]) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    for event in events:
        await answer.write(event.encode())
        await asyncio.sleep(0.005)
    return answer


def wheel() -> bytes:
    """The smallest that pip takes."""
    content = {
        "tiny.py": "x = 1\n",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.0.dist-info/RECORD": "tiny.py,,\n",
    }
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in content.items():
            archive.writestr(zipfile.ZipInfo(name), text)
    return made.getvalue()


PAGE = """<!DOCTYPE html><html><body><p id="fetched"></p><p id="heard"></p><script>
fetch("/echo/x", {method: "POST", body: "é".repeat(1000)}).then(answer => answer.json()).then(
  said => { document.getElementById("fetched").textContent = said.bytes; });
const source = new EventSource("/events/x");
source.onmessage = event => { document.getElementById("heard").textContent += event.data; };
source.addEventListener("done", () => { source.close(); document.getElementById("heard").textContent += "|"; });
</script></body></html>"""


@pytest.fixture(autouse=True)
def _no_detours(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them look for proxies in the environment."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
async def toys() -> AsyncIterator[Toys]:
    toys = Toys()
    await toys.server.start()
    yield toys
    await toys.server.stop()


@pytest.fixture
async def stage(make_stage: StageMaker, toys: Toys) -> Stage:
    """Everything costs, but for the package index: pip can send no token."""
    bearer = {"header": {"name": "Authorization", "value": "Bearer sk-of-the-operator"}}
    key = {"header": {"name": "X-Api-Key", "value": "sk-of-the-operator"}}
    return await make_stage(
        stripe=None,
        tokens={"header": "X-Api-Key"},
        upstreams={
            "toys": {"url": toys.server.url},
            "chat": {"url": toys.server.url, "credential": bearer},
            "claude": {"url": toys.server.url, "credential": key},
        },
        routes=[
            {"name": "all", "match": "/", "upstream": "toys", "price": "0.002 usd"},
            {"name": "chat", "match": "/chat/", "upstream": "chat", "price": "0.002 usd"},
            {"name": "claude", "match": "/claude/", "upstream": "claude", "price": "0.002 usd"},
            {"name": "simple", "match": "/simple/", "upstream": "toys", "price": "free"},
        ],
    )


@pytest.fixture
async def caller(stage: Stage) -> Funded:
    [caller] = await funded(stage, "1.00 usd")
    return caller


async def paid_for(stage: Stage, caller: Funded, toys: Toys, count: int) -> None:
    """Exactly so many requests reached the upstream, and were paid for, in the books too; no token was among them."""
    for _ in range(100):
        found = await stage.gateway.ledger.balance(caller.account, "usd")
        if not found.held.micros:
            break
        await asyncio.sleep(0.02)
    assert (found.available.micros, found.held.micros) == (1_000_000 - count * PRICE_MICROS, 0)
    assert len(toys.seen) == count
    for request in toys.seen:
        assert not any(caller.token.encode() in value for _, value in request.raw_headers)
    await stage.stop_gateway()
    assert audited(stage).totals["usd"].spent == count * PRICE_MICROS


async def run(*command: str, stdin: bytes = b"", environ: dict[str, str] | None = None) -> bytes:
    """What a program says, once it has ended well."""
    process = await asyncio.create_subprocess_exec(
        *command, env=environ,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            said, complained = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complained.decode()
    return said


# --- curl -------------------------------------------------------------------------------------------------------------


@needs_curl
async def test_curl(stage: Stage, caller: Funded, toys: Toys, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(LARGE)

    async def curl(path: str, *options: str, stdin: bytes = b"") -> bytes:
        assert CURL is not None
        given = ("-q", "-s", "-S", "-f", "--noproxy", "*", "-H", f"Authorization: Bearer {caller.token}")
        return await run(CURL, *given, *options, stage.url + path, stdin=stdin)

    digest = hashlib.sha256(LARGE).hexdigest()
    assert json.loads(await curl("/echo/x"))["method"] == "GET"
    assert json.loads(await curl("/echo/x", "--data-binary", f"@{file}"))["sha256"] == digest
    said = await curl("/echo/x", "-i", "-T", "-", stdin=LARGE)  # a length nobody knows
    assert b"X-Framing: chunked" in said
    assert digest.encode() in said
    expecting = await curl("/echo/x", "-i", "-H", "Expect: 100-continue", "--data-binary", f"@{file}")
    assert expecting.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert json.loads(await curl("/echo/x", "--http1.0", "-d", "abc"))["bytes"] == 3
    assert await curl("/streamed/x", "--http1.0") == LARGE
    assert await curl("/streamed/x") == LARGE
    assert b"Content-Length: 3000000" in await curl("/large/x", "-I")
    assert await curl("/zipped/x", "--compressed") == LARGE
    assert gzip.decompress(await curl("/zipped/x", "-H", "Accept-Encoding: gzip")) == LARGE
    await paid_for(stage, caller, toys, 10)


# --- Python's clients -------------------------------------------------------------------------------------------------


async def test_requests(stage: Stage, caller: Funded, toys: Toys) -> None:
    def pieces() -> Iterator[bytes]:
        for at in range(0, len(LARGE), 250_000):
            yield LARGE[at : at + 250_000]

    def talk() -> None:
        digest = hashlib.sha256(LARGE).hexdigest()
        with requests.Session() as session:
            session.trust_env = False
            session.headers.update(caller.headers)
            answer = session.post(stage.url + "/echo/x", data=pieces(), timeout=10)
            assert (answer.json()["sha256"], answer.headers["X-Framing"]) == (digest, "chunked")
            assert session.put(stage.url + "/echo/x", data=LARGE, timeout=10).json()["sha256"] == digest
            assert session.get(stage.url + "/zipped/x", timeout=10).content == LARGE
            with session.get(stage.url + "/streamed/x", stream=True, timeout=10) as streamed:
                assert b"".join(streamed.iter_content(70_001)) == LARGE
            assert session.head(stage.url + "/large/x", timeout=10).headers["Content-Length"] == str(len(LARGE))

    await asyncio.to_thread(talk)
    await paid_for(stage, caller, toys, 5)


async def test_httpx(stage: Stage, caller: Funded, toys: Toys) -> None:
    digest = hashlib.sha256(LARGE).hexdigest()

    def talk() -> None:
        with httpx.Client(base_url=stage.url, headers=caller.headers, trust_env=False) as client:
            assert client.post("/echo/x", content=LARGE).json()["sha256"] == digest
            assert client.get("/zipped/x").content == LARGE

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(LARGE), 250_000):
            yield LARGE[at : at + 250_000]

    await asyncio.to_thread(talk)
    async with httpx.AsyncClient(base_url=stage.url, headers=caller.headers, trust_env=False) as client:
        assert (await client.post("/echo/x", content=pieces())).json()["sha256"] == digest
        async with client.stream("GET", "/streamed/x") as answer:
            assert b"".join([piece async for piece in answer.aiter_bytes()]) == LARGE
        lines = []
        async with client.stream("GET", "/events/x") as answer:
            async for line in answer.aiter_lines():
                lines.append(line)
        assert [line for line in lines if line][:4] == [f"data: {word}" for word in WORDS]
    await paid_for(stage, caller, toys, 5)


async def test_the_openai_sdk(stage: Stage, caller: Funded, toys: Toys) -> None:
    client = openai.AsyncOpenAI(base_url=stage.url + "/chat", api_key=caller.token, max_retries=0, timeout=10)
    messages: Any = [{"role": "user", "content": "Will it rain?"}]
    async with client:
        whole = await client.chat.completions.create(model="toy", messages=messages)
        assert whole.choices[0].message.content == "".join(WORDS)
        stream = await client.chat.completions.create(model="toy", messages=messages, stream=True)
        words = [chunk.choices[0].delta.content async for chunk in stream]
        assert words == WORDS
        raw = await client.chat.completions.with_raw_response.create(model="toy", messages=messages)
        assert raw.headers["Gateway-Cost"] == "0.002 usd"
        assert raw.headers["Gateway-Balance"] == "0.994 usd"
    await paid_for(stage, caller, toys, 3)


async def test_the_openai_sdk_sees_a_402_as_an_error_with_a_price(stage: Stage, toys: Toys) -> None:
    async with openai.AsyncOpenAI(base_url=stage.url + "/chat", api_key="none", max_retries=0, timeout=10) as client:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await client.chat.completions.create(model="toy", messages=[])
    assert unknown.value.response.json()["code"] == "unknown_token"
    [poor] = await funded(stage, "0.001 usd")
    async with openai.AsyncOpenAI(base_url=stage.url + "/chat", api_key=poor.token, max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as unpaid:
            await client.chat.completions.create(model="toy", messages=[])
    assert unpaid.value.status_code == 402
    assert unpaid.value.response.json()["price"] == {"amount": "0.002", "currency": "usd"}
    assert toys.seen == []


async def test_the_anthropic_sdk(stage: Stage, caller: Funded, toys: Toys) -> None:
    """It sends its key in `X-Api-Key`, which is where this gateway looks."""
    client = anthropic.AsyncAnthropic(base_url=stage.url + "/claude", api_key=caller.token, max_retries=0, timeout=10)
    asked: Any = {"model": "toy", "max_tokens": 9, "messages": [{"role": "user", "content": "Will it rain?"}]}
    async with client:
        whole = await client.messages.create(**asked)
        assert [block.text for block in whole.content if block.type == "text"] == ["".join(WORDS)]
        async with client.messages.stream(**asked) as stream:
            assert [text async for text in stream.text_stream] == WORDS
            assert (await stream.get_final_message()).stop_reason == "end_turn"
    await paid_for(stage, caller, toys, 2)


async def test_websockets(stage: Stage, caller: Funded, toys: Toys) -> None:
    address = stage.url.replace("http:", "ws:") + "/socket/x"
    async with connect(address, additional_headers=caller.headers, subprotocols=["shout"], proxy=None) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "shout"
        for number in range(3):
            await socket.send(f"é{number}")
            assert await socket.recv() == f"É{number}"
    await paid_for(stage, caller, toys, 1)


# --- git, pip, a browser ----------------------------------------------------------------------------------------------


@needs_git
async def test_git_clones_fetches_and_pushes(stage: Stage, caller: Funded, toys: Toys, tmp_path: Path) -> None:
    toys.repositories = tmp_path / "repositories"
    quiet = {
        **os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@x", "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@x",
    }  # fmt: skip

    async def git(*arguments: str) -> str:
        assert GIT is not None
        return (await run(GIT, *arguments, environ=quiet)).decode().strip()

    bare, work, clone = toys.repositories / "toy.git", tmp_path / "work", tmp_path / "clone"
    await git("init", "-q", "--bare", str(bare))
    await git("-C", str(bare), "config", "http.receivepack", "true")
    await git("init", "-q", str(work))
    (work / "large").write_bytes(LARGE)
    await git("-C", str(work), "add", ".")
    await git("-C", str(work), "commit", "-q", "-m", "one")
    await git("-C", str(work), "push", "-q", str(bare), "HEAD:refs/heads/main")
    await git("-C", str(bare), "symbolic-ref", "HEAD", "refs/heads/main")

    header = f"http.extraHeader=Authorization: Bearer {caller.token}"
    await git("-c", header, "clone", "-q", f"{stage.url}/git/toy.git", str(clone))
    assert (clone / "large").read_bytes() == LARGE
    (clone / "more").write_bytes(LARGE[::-1])  # more than a megabyte: git sends it in chunks
    await git("-C", str(clone), "add", ".")
    await git("-C", str(clone), "commit", "-q", "-m", "two")
    await git("-C", str(clone), "-c", header, "push", "-q", "origin", "HEAD:refs/heads/main")
    assert await git("-C", str(bare), "rev-parse", "main") == await git("-C", str(clone), "rev-parse", "HEAD")
    assert "chunked" in [request.headers.get("Transfer-Encoding") for request in toys.seen]
    await paid_for(stage, caller, toys, len(toys.seen))


async def test_pip_downloads_from_an_index(stage: Stage, toys: Toys, tmp_path: Path) -> None:
    pip = await _pip()
    if pip is None:
        pytest.skip("no pip can be run here")
    await run(
        *pip, "download", "-q", "--isolated", "--no-cache-dir", "--disable-pip-version-check", "--no-input",
        "--index-url", f"{stage.url}/simple/", "--dest", str(tmp_path), "tiny==1.0",
        environ=dict(os.environ),
    )  # fmt: skip
    assert (tmp_path / "tiny-1.0-py3-none-any.whl").read_bytes() == wheel()
    assert [request.path for request in toys.seen] == ["/simple/tiny/", "/simple/tiny/tiny-1.0-py3-none-any.whl"]


async def _pip() -> list[str] | None:
    """A pip that runs: the environment's own, or the system's (a shim may exist and fail)."""
    for command in ([sys.executable, "-m", "pip"], ["pip3"], ["pip"]):
        if shutil.which(command[0]) is None:
            continue
        try:
            await run(*command, "--version")
        except AssertionError:
            continue
        return command
    return None


class TestInABrowser:
    pytestmark = needs_chromium

    async def test_a_page_fetches_and_listens(self, stage: Stage, caller: Funded, toys: Toys) -> None:
        async with opened() as page:
            cookie: Any = {"name": stage.settings.tokens.cookie, "value": caller.token, "url": stage.url}
            await page.context.add_cookies([cookie])
            await page.route("**/favicon.ico", lambda route: route.abort())
            await page.goto(stage.url + "/page/x")
            await page.wait_for_function("document.getElementById('heard').textContent.endsWith('|')", timeout=10_000)
            await page.wait_for_function("document.getElementById('fetched').textContent", timeout=10_000)
            assert await page.text_content("#heard") == "".join(WORDS) + "|"
            assert await page.text_content("#fetched") == "2000"
        await paid_for(stage, caller, toys, 3)
