"""A holder makes, narrows, rotates and revokes tokens; every worker and host hears of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner

from gateway.cli import main
from gateway.cli.stage import Stage
from gateway.demo.upstreams import ToyUpstream, weather
from tests.callers import Funded, funded, pay, unpaid
from tests.conftest import StageMaker
from tests.gateway_process import fund, running, write_config
from tests.postgres_server import Server
from tests.stories import test_many_hosts
from tests.stories.test_an_account_is_frozen import Asking, types

API = "/-/api/v1/tokens"


class Program:
    """A program with a token, at one stage."""

    def __init__(self, stage: Stage, session: ClientSession, token: str) -> None:
        self._stage = stage
        self._session = session
        self.token = token

    async def says(self, method: str, path: str, status: int, content: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        url = self._stage.url + path
        async with self._session.request(method, url, headers=headers, json=content) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json(content_type=None) if "json" in answer.content_type else await answer.text()

    async def asks(self, status: int, path: str = "/weather/oslo", method: str = "GET") -> Any:
        return await self.says(method, path, status)

    async def makes(self, **wish: Any) -> "tuple[Program, dict[str, Any]]":
        made = await self.says("POST", API, 201, wish)
        return Program(self._stage, self._session, made["access_token"]), made["token"]

    async def sees(self) -> list[str]:
        return [one["id"] for one in (await self.says("GET", API, 200))["tokens"]]


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def paid(stage: Stage, session: ClientSession) -> Program:
    refused = await unpaid(stage, session)
    await pay(stage, refused["payment_url"])
    return Program(stage, session, refused["access_token"])


async def test_an_account_has_many_tokens_each_with_its_name_and_end(stage: Stage, session: ClientSession) -> None:
    ann = await paid(stage, session)
    await ann.asks(200)
    agent, made = await ann.makes(name="agent", expires="30d", limit=["50/minute"], caps={"day": "1.50 usd"})
    await agent.asks(200)
    await stage.gateway.ledger.durable()
    first, second = (await ann.says("GET", API, 200))["tokens"]
    assert (first["last"], first["current"], first["state"]) == (ann.token[-4:], True, "good")
    assert second == {**made, "spent": {"day": "0.002 usd"}}
    assert (made["name"], made["last"], made["limit"], made["caps"], made["current"]) == (
        "agent",
        agent.token[-4:],
        ["50/minute"],
        {"day": "1.50 usd"},
        False,
    )
    assert agent.token not in str(second)
    assert await ann.says("GET", f"{API}/{made['id']}", 200) == second
    me, its_own = await ann.says("GET", "/-/me", 200), await agent.says("GET", "/-/me", 200)
    assert (me["account"], me["currency"], len(me["tokens"])) == (its_own["account"], "usd", 2)
    assert me["balance"] == its_own["balance"] == "4.996 usd"
    assert me["payment_url"].startswith("http")
    assert [one["id"] for one in its_own["tokens"]] == [made["id"]]


async def test_a_token_is_for_its_routes_and_methods(stage: Stage, session: ClientSession) -> None:
    ann = await paid(stage, session)
    only, _ = await ann.makes(routes=["weather"], methods=["GET"])
    await only.asks(200)
    assert (await only.asks(403, "/echo/x"))["code"] == "token_out_of_scope"
    assert (await only.asks(403, "/weather/oslo", "POST"))["code"] == "token_out_of_scope"
    await only.asks(200, "/status/oslo")
    for path in ("/-/wallet/receipt", "/-/wallet"):
        assert (await only.asks(403, path))["code"] == "token_out_of_scope"


async def test_a_limit_of_a_token_counts_it_and_what_came_of_it(stage: Stage, session: ClientSession) -> None:
    ann = await paid(stage, session)
    parent, _ = await ann.makes(limit=["3/hour"])
    child, _ = await parent.makes(name="child")
    await parent.asks(200)
    await child.asks(200)
    await child.asks(200, "/echo/x")
    for one in (parent, child):
        assert (await one.asks(429))["code"] == "rate_limited"
    await ann.asks(200)


async def test_a_narrowed_token_sees_itself_and_what_came_of_it(stage: Stage, session: ClientSession) -> None:
    ann = await paid(stage, session)
    one, its = await ann.makes(routes=["weather", "echo"])
    other, others = await ann.makes(routes=["weather"])
    child, childs = await one.makes(routes=["weather"], parent=its["id"])
    assert childs["parent"] == its["id"]
    assert sorted(await one.sees()) == sorted([its["id"], childs["id"]])
    assert await child.sees() == [childs["id"]]
    mine = await ann.sees()
    assert len(mine) == 4
    [first] = {*mine} - {its["id"], others["id"], childs["id"]}
    for hidden in (others["id"], first):
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
            assert (await one.says(method, f"{API}/{hidden}{path}", 404))["code"] == "no_such_token"
        assert (await one.says("PATCH", f"{API}/{hidden}", 404, {"name": "mine"}))["code"] == "no_such_token"
        assert (await one.says("POST", API, 404, {"parent": hidden}))["code"] == "no_such_token"
    await other.asks(200)


@pytest.mark.parametrize(
    "wider",
    [
        {"routes": ["weather", "echo"]},
        {"methods": ["GET", "POST"]},
        {"expires": "40d"},
        {"caps": {"day": "2.01 usd"}},
    ],
)
async def test_nothing_becomes_wider_than_it_was(stage: Stage, session: ClientSession, wider: dict[str, Any]) -> None:
    ann = await paid(stage, session)
    bound = {"routes": ["weather"], "methods": ["GET"], "expires": "30d", "caps": {"day": "2.00 usd"}}
    token, made = await ann.makes(**bound)
    for one, path in ((token, API), (ann, API)):
        assert (await one.says("POST", path, 400, {**wider, "parent": made["id"]}))["code"] == "bad_request"
    for one in (token, ann):
        assert (await one.says("PATCH", f"{API}/{made['id']}", 400, wider))["code"] == "bad_request"
    child, _ = await token.makes(name="inherits")
    await child.asks(200)
    await child.asks(403, "/echo/x")


async def test_a_line_has_an_end(stage: Stage, session: ClientSession) -> None:
    ann = await paid(stage, session)
    at, made = await ann.makes(expires="9d")
    for _ in range(3):
        at, made = await at.makes()
    assert made["parent"] is not None
    assert "in a line" in (await at.says("POST", API, 400, {}))["detail"]


async def test_a_token_is_narrowed_while_it_is_used(stage: Stage, session: ClientSession) -> None:
    ann = await paid(stage, session)
    token, made = await ann.makes(name="wide")
    child, _ = await ann.makes(parent=made["id"])
    for one in (token, child):
        await one.asks(200, "/echo/x")
    changed = await ann.says("PATCH", f"{API}/{made['id']}", 200, {"name": "narrow", "routes": ["weather"]})
    assert (changed["name"], changed["routes"]) == ("narrow", ["weather"])
    for one in (token, child):
        await one.asks(403, "/echo/x")
        await one.asks(200)


async def test_a_parent_that_is_revoked_ends_its_children(stage: Stage, session: ClientSession) -> None:
    ann = await paid(stage, session)
    parent, its = await ann.makes(name="parent", routes=["weather"])
    child, childs = await parent.makes()
    grandchild, _ = await child.makes()
    for one in (parent, child, grandchild):
        await one.asks(200)
    assert (await ann.says("DELETE", f"{API}/{its['id']}", 200))["state"] == "revoked"
    for one in (parent, child, grandchild):
        assert (await one.asks(401))["code"] == "unknown_token"
        await one.says("GET", API, 401)
    assert (await ann.says("GET", f"{API}/{childs['id']}", 200))["state"] == "revoked"
    assert (await ann.says("POST", API, 409, {"parent": childs["id"]}))["code"] == "token_conflict"
    await ann.asks(200)


async def test_a_parent_that_ends_ends_its_children(stage: Stage, session: ClientSession) -> None:
    ann = await paid(stage, session)
    parent, its = await ann.makes(expires="2m")
    child, childs = await parent.makes()
    await child.asks(200)
    stage.gateway.clock.now_ms = later(stage, 180_000)  # type: ignore[method-assign]
    for one in (parent, child):
        await one.asks(401)
    assert (await ann.says("GET", f"{API}/{its['id']}", 200))["state"] == "expired"
    assert (await ann.says("GET", f"{API}/{childs['id']}", 200))["state"] == "parent is over"
    await ann.asks(200)


async def test_what_is_over_takes_no_place(make_stage: StageMaker, session: ClientSession) -> None:
    stage = await make_stage(tokens={"per_account_max": 3})
    ann = await paid(stage, session)
    _, its = await ann.makes()
    await ann.makes(parent=its["id"])
    assert (await ann.says("POST", API, 409, {}))["code"] == "token_conflict"
    await ann.says("DELETE", f"{API}/{its['id']}", 200)
    await ann.makes()
    await ann.makes()


async def test_another_accounts_token_is_not_there(stage: Stage, session: ClientSession) -> None:
    ann, bob = await paid(stage, session), await paid(stage, session)
    _, hers = await ann.makes(name="hers")
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        assert (await bob.says(method, f"{API}/{hers['id']}{path}", 404))["code"] == "no_such_token"
    await bob.says("PATCH", f"{API}/{hers['id']}", 404, {"name": "his"})
    await bob.says("POST", API, 404, {"parent": hers["id"]})
    assert (await ann.says("GET", f"{API}/{hers['id']}", 200)) == {**hers, "spent": {}}


async def test_who_never_paid_has_no_tokens_made(stage: Stage, session: ClientSession) -> None:
    stranger = Program(stage, session, (await unpaid(stage, session))["access_token"])
    for path in (API, "/-/rotate-token"):
        assert (await stranger.says("POST", path, 400, {}))["code"] == "bad_request"
    assert await stranger.sees() == []
    assert (await Program(stage, session, "fb_test_nonsense").says("GET", API, 401))["code"] == "unknown_token"


# --- rotation ---------------------------------------------------------------------------------------------------------


async def test_five_rotations_at_once_are_one(make_stage: StageMaker, session: ClientSession) -> None:
    stage = await make_stage(tokens={"rotation_grace": "1h"})
    [ann] = await funded(stage, "5.00 usd")
    old = Program(stage, session, ann.token)
    child, _ = await old.makes(parent=None, routes=["weather"])
    answers = await asyncio.gather(*(old.says("POST", "/-/rotate-token", 200, {}) for _ in range(5)))
    [token] = {answer["access_token"] for answer in answers}
    assert {answer["token"]["last"] for answer in answers} == {token[-4:]}
    new = Program(stage, session, token)
    assert token != old.token
    for one in (old, new, child):
        await one.asks(200)
    assert await new.sees() == await old.sees()
    assert (await new.says("GET", "/-/me", 200))["account"] == ann.account
    assert [one["last"] for one in (await new.says("GET", API, 200))["tokens"] if one["current"]] == [token[-4:]]
    stage.gateway.clock.now_ms = later(stage, 20_000)  # type: ignore[method-assign]
    assert (await old.says("POST", "/-/rotate-token", 409, {}))["code"] == "token_conflict"
    again = (await new.says("POST", "/-/rotate-token", 200, {}))["access_token"]
    assert again not in (token, old.token)
    stage.gateway.clock.now_ms = later(stage, 3_600_000)  # type: ignore[method-assign]
    await old.asks(401)
    await Program(stage, session, again).asks(200)


def later(stage: Stage, ms: int) -> Any:
    now = stage.gateway.clock.now_ms
    return lambda: now() + ms


async def test_a_rotated_token_whose_answer_was_lost_is_told_again(stage: Stage, session: ClientSession) -> None:
    [ann] = await funded(stage, "5.00 usd")
    old = Program(stage, session, ann.token)
    first = (await old.says("POST", "/-/rotate-token", 200, {}))["access_token"]
    stage.gateway.clock.now_ms = later(stage, 60_000)  # type: ignore[method-assign]
    assert (await old.says("POST", "/-/rotate-token", 200, {}))["access_token"] == first


async def test_a_token_is_rotated_by_its_id_and_keeps_its_bounds(stage: Stage, session: ClientSession) -> None:
    ann = await paid(stage, session)
    old, made = await ann.makes(routes=["weather"], limit=["2/hour"])
    await old.asks(200)
    rotated = await ann.says("POST", f"{API}/{made['id']}/rotate", 200, {})
    assert rotated["token"]["id"] == made["id"]
    assert "previous_valid_until" in rotated
    new = Program(stage, session, rotated["access_token"])
    await new.asks(403, "/echo/x")
    await new.asks(200)
    for one in (old, new):
        await one.asks(429)
    await ann.says("DELETE", f"{API}/{made['id']}", 200)
    for one in (old, new):
        await one.asks(401)


async def test_a_cookie_that_is_rotated_is_set_anew(stage: Stage, session: ClientSession) -> None:
    [ann] = await funded(stage, "5.00 usd")
    cookie = {"Cookie": f"{stage.gateway.identity.cookies.name}={ann.token}"}
    async with session.post(f"{stage.url}/-/rotate-token", headers=cookie) as answer:
        assert answer.status == 200, await answer.text()
        token = (await answer.json())["access_token"]
        assert answer.cookies[stage.gateway.identity.cookies.name].value == token


# --- every worker and host --------------------------------------------------------------------------------------------


@pytest.fixture
async def upstream() -> AsyncIterator[ToyUpstream]:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    yield toy
    await toy.stop()


async def everywhere(file: Path, hosts: list[Any], caller: Funded) -> None:
    """Made, derived, rotated and revoked by commands, while it asks at every worker of every host."""
    made = await types(file, "token", "create", caller.account, "--name", "bot", "--cap", "day=5.00 usd")
    child = await types(file, "token", "derive", caller.account, made["token"]["id"], "--route", "paid")
    bot, its = Funded(made["access_token"], caller.account), Funded(child["access_token"], caller.account)
    async with Asking(hosts, bot) as asking, Asking(hosts, its) as below:
        await asking.only(200)
        await below.only(200)
        would = await types(file, "token", "revoke", caller.account, made["token"]["id"])
        assert would == {
            "account": caller.account,
            "revoked": False,
            "tokens": [made["token"]["id"], child["token"]["id"]],
        }
        rotated = await types(file, "token", "rotate", caller.account, made["token"]["id"])
        await asking.only(200)
        await types(file, "token", "revoke", caller.account, made["token"]["id"], "--yes")
        await asking.only(401)
        await below.only(401)
    async with Asking(hosts, Funded(rotated["access_token"], caller.account)) as asking:
        await asking.only(401)
    listed = await types(file, "token", "list", caller.account)
    assert [one["state"] for one in listed] == ["revoked", "revoked"]
    assert [one["caps"] for one in listed] == [{"day": "5.00 usd"}, {}]
    for words, code in (
        (("rotate", caller.account, "tok_none"), 1),
        (("create", caller.account, "--route", "none"), 2),
        (("create", "acct_none"), 2),
    ):
        done = await asyncio.to_thread(CliRunner().invoke, main, ["token", *words, "--config", str(file)])
        assert (done.exit_code, done.stdout) == (code, ""), done.output


def uncounted(file: Path) -> None:
    """A load that goes on asking with what was revoked is not what is counted here."""
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "limits": {"failed_credentials": "1000000/second"}}))


async def test_every_worker_hears_of_a_revoked_token(tmp_path: Path, upstream: ToyUpstream) -> None:
    settings = write_config(tmp_path, upstream.url, workers=2)
    [caller] = await fund(settings, "900.00 usd", count=1)
    uncounted(tmp_path / "gateway.yaml")
    async with running(tmp_path / "gateway.yaml"):
        await everywhere(tmp_path / "gateway.yaml", [settings], caller)


async def test_every_host_hears_of_a_revoked_token(tmp_path: Path, upstream: ToyUpstream, postgres: Server) -> None:
    dsn = await postgres.schema()
    hosts = [test_many_hosts.write(tmp_path, name, dsn, upstream.url) for name in ("one", "two")]
    [caller] = await test_many_hosts.fund(hosts[0][1], "900.00 usd", count=1)
    async with AsyncExitStack() as stack:
        for file, _ in hosts:
            uncounted(file)
            await stack.enter_async_context(running(file))
        await everywhere(hosts[0][0], [settings for _, settings in hosts], caller)
