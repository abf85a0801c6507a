"""What operators and holders do is on the trail, by whichever door; and whoever tampers with it is found."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner

from gateway.app.stores import records_path, trail_head_path
from gateway.cli import main
from gateway.cli.admin import login
from gateway.demo.upstreams import ToyUpstream, weather
from tests.callers import funded
from tests.conftest import StageMaker
from tests.gateway_process import fund, running, write_config
from tests.postgres_server import Server
from tests.stories import test_many_hosts


@pytest.fixture
async def upstream() -> AsyncIterator[ToyUpstream]:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    yield toy
    await toy.stop()


async def types(file: Path, *words: str, code: int = 0) -> Any:
    done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--config", str(file), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


async def acts(file: Path, *words: str) -> list[tuple[str, str, str, str]]:
    """Actor, action, door and reason of each entry."""
    log = await types(file, "audit", "log", *words)
    return [(entry["actor"], entry["action"], entry["origin"], entry["reason"]) for entry in log]


async def test_each_door_writes_down_who_did_what_and_why(tmp_path: Path, upstream: ToyUpstream) -> None:
    settings, file, me = (
        write_config(tmp_path, upstream.url, workers=2),
        tmp_path / "gateway.yaml",
        f"operator:{login()}",
    )
    [caller] = await fund(settings, "9.00 usd", count=1)
    await types(file, "credit", caller.account, "1.00 usd", "--reason", "before the start", "--ref", "a")
    async with running(file):
        await types(file, "credit", caller.account, "2.00 usd", "--reason", "while it runs", "--ref", "b")
        await types(file, "account", "freeze", caller.account, "--reason", "leaked")
        await types(file, "account", "cap", caller.account, "5.00 usd", "--per", "day")
        made = await types(file, "token", "create", caller.account, "--name", "laptop")
        config = json.loads(file.read_text())
        config["routes"][0]["price"] = "0.003 usd"
        file.write_text(json.dumps(config))
        assert (await types(file, "reload"))["changed"] == ["paid"]
        await types(file, "keys", "rotate", "sealing_key")
        assert await acts(file, "--of", caller.account) == [
            (me, "account.credit", "command", "before the start"),
            (me, "account.credit", "admin", "while it runs"),
            (me, "account.freeze", "command", "leaked"),
            (me, "account.cap", "command", ""),
        ]
        assert await acts(file, "--of", made["token"]["id"]) == [(me, "token.create", "command", "")]
        assert [door for _, _, door, _ in await acts(file, "--action", "prices.serve")] == ["start", "reload"]
        [*_, reloaded] = await types(file, "audit", "log", "--action", "prices.serve")
        assert reloaded["facts"]["paid"].startswith("0.002 usd")
        assert "→ 0.003 usd" in reloaded["facts"]["paid"]
        assert (await types(file, "audit", "verify"))["clean"], "one chain, whoever of the processes wrote"
    async with running(file):
        pass
    assert [door for _, _, door, _ in await acts(file, "--action", "prices.serve")] == ["start", "reload"]
    assert made["access_token"] not in json.dumps(await types(file, "audit", "log"))
    verdict = await types(file, "audit", "verify")
    assert (verdict["clean"], verdict["entries"]) == (True, len(await types(file, "audit", "log")))


async def test_calls_of_operators_and_holders_are_written_down_before_they_are_done(make_stage: StageMaker) -> None:
    stage = await make_stage()
    caller, other = await funded(stage, "9.00 usd", count=2)
    token = stage.settings.secrets.operator_token
    assert token is not None
    fields = {"Authorization": f"Bearer {token.reveal()}", "Gateway-Operator": "ann"}
    admin = f"http://{stage.settings.admin[0]}:{stage.settings.admin[1]}"
    async with ClientSession() as session:

        async def orders(path: str, **body: object) -> None:
            async with session.post(admin + path, json=body, headers=fields) as done:
                assert done.status == 200, await done.text()

        async with session.get(stage.url + "/weather/oslo", headers=caller.headers) as answer:
            request = answer.headers["Gateway-Request-Id"]
        account = f"/accounts/{caller.account}"
        await orders(f"{account}/credit", ref="1", amount="1.00 usd", reason="sorry")
        await orders(f"{account}/debit", ref="2", amount="0.10 usd", reason="oops")
        await orders(f"{account}/freeze", reason="leaked")
        await orders(f"{account}/unfreeze", reason="found")
        await orders(f"/requests/{request}/refund", reason="wrong answer")
        await orders("/reload")
        tokens = stage.url + "/-/api/v1/tokens"
        async with session.post(tokens, json={"name": "laptop"}, headers=caller.headers) as done:
            made = (await done.json())["token"]["id"]
        async with session.patch(f"{tokens}/{made}", json={"name": "desk"}, headers=caller.headers) as done:
            assert done.status == 200, await done.text()
        async with session.post(f"{tokens}/{made}/rotate", headers=caller.headers) as done:
            assert done.status in (200, 201), await done.text()
        async with session.delete(f"{tokens}/{made}", headers=caller.headers) as done:
            assert done.status in (200, 204), await done.text()
        await orders(f"{account}/join", into=other.account, reason="one person")
    steps = await stage.gateway.records.trail.steps_after(0, count=99)
    said = [(step.act.role, step.act.action, step.act.origin) for step in steps if step.act.action != "prices.serve"]
    assert said == [
        ("operator", "account.credit", "admin"),
        ("operator", "account.debit", "admin"),
        ("operator", "account.freeze", "admin"),
        ("operator", "account.unfreeze", "admin"),
        ("operator", "request.refund", "admin"),
        ("operator", "configuration.reload", "admin"),
        ("consumer", "token.create", "api"),
        ("consumer", "token.change", "api"),
        ("consumer", "token.rotate", "api"),
        ("consumer", "token.revoke", "api"),
        ("operator", "account.join", "admin"),
    ]
    assert {step.act.actor for step in steps if step.act.role == "operator"} == {"operator:ann"}
    assert {step.act.facts["account"] for step in steps if step.act.role == "consumer"} == {caller.account}


async def test_whoever_tampers_with_it_is_found(tmp_path: Path, upstream: ToyUpstream) -> None:
    settings, file = write_config(tmp_path, upstream.url), tmp_path / "gateway.yaml"
    [caller] = await fund(settings, "9.00 usd", count=1)
    for number in range(5):
        await types(file, "credit", caller.account, "1.00 usd", "--reason", f"for {number}", "--ref", f"{number}")
    path, head = records_path(settings.store_path), trail_head_path(settings)
    whole, kept = path.read_bytes(), head.read_bytes()

    async def verdict_after(change: str) -> Any:
        with closing(sqlite3.connect(path, isolation_level=None)) as sql:
            sql.executescript("DROP TRIGGER trail_stays; DROP TRIGGER trail_grows;" + change)
            sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        verdict = await types(file, "audit", "verify", code=1)
        path.write_bytes(whole)
        assert verdict["clean"] is False
        return verdict

    changed = await verdict_after("UPDATE trail SET content = replace(content, 'for 2', 'for 9') WHERE number = 3;")
    assert changed["first_bad_entry"] == 3
    dropped = await verdict_after("DELETE FROM trail WHERE number = 2;")
    assert dropped["first_bad_entry"] == 2
    cut = await verdict_after("DELETE FROM trail WHERE number > 3;")
    assert (cut["first_bad_entry"], cut["entries"]) == (None, 3)
    assert "cut off" in cut["finding"]
    await types(file, "audit", "verify")
    head.write_bytes(kept.replace(b'"seq": 5', b'"seq": 3'))
    assert "not signed by a key of this gateway" in (await types(file, "audit", "verify", code=1))["finding"]
    head.unlink()
    assert "is not there" in (await types(file, "audit", "verify", code=1))["finding"]


async def test_hosts_write_one_chain(tmp_path: Path, upstream: ToyUpstream, postgres: Server) -> None:
    dsn = await postgres.schema()
    hosts = [test_many_hosts.write(tmp_path, name, dsn, upstream.url) for name in ("one", "two")]
    [caller] = await test_many_hosts.fund(hosts[0][1], "9.00 usd", count=1)
    async with AsyncExitStack() as stack:
        for file, _ in hosts:
            await stack.enter_async_context(running(file))
        verbs = [("freeze", hosts[0][0]), ("unfreeze", hosts[1][0])] * 2
        for verb, file in verbs:
            await types(file, "account", verb, caller.account, "--reason", "why")
    for file, _ in hosts:
        assert [action for _, action, _, _ in await acts(file, "--of", caller.account)] == [
            f"account.{verb}" for verb, _ in verbs
        ]
        assert (await types(file, "audit", "verify"))["clean"]
