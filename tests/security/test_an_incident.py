"""An incident, dealt with while a gateway of several workers runs: what is revoked ends, and evidence is proved."""

import asyncio
import io
import json
import stat
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner

from gateway import settings as configuration
from gateway.cli import main
from gateway.demo.upstreams import ToyUpstream, weather
from gateway.settings.plain import secrets_in
from tests.callers import Funded
from tests.gateway_process import fund, running, write_config
from tests.stories.test_the_trail import types

AUDITOR = "an-auditors-token-0123456789abcdefgh"


@pytest.fixture
async def upstream() -> AsyncIterator[ToyUpstream]:
    toy = ToyUpstream("toy", weather)
    await toy.start()
    yield toy
    await toy.stop()


async def status(session: ClientSession, url: str, caller: Funded) -> int:
    async with session.get(f"{url}/paid/", headers={**caller.headers, "Connection": "close"}) as answer:
        return answer.status


async def ended(session: ClientSession, url: str, caller: Funded) -> None:
    """Refused often enough in a row that no worker still serves it."""
    row = 0
    while row < 12:
        row = row + 1 if await status(session, url, caller) == 401 else 0


async def admin(session: ClientSession, settings: Any, token: str, method: str, path: str) -> int:
    url = f"http://{settings.admin[0]}:{settings.admin[1]}{path}"
    async with session.request(method, url, json={}, headers={"Authorization": f"Bearer {token}"}) as answer:
        return answer.status


def contents(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as archive:
        return {one.name: found.read() for one in archive if (found := archive.extractfile(one)) is not None}


def changed(files: dict[str, bytes]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The same with one thing otherwise."""
    for name in files:
        yield f"without {name}", {one: content for one, content in files.items() if one != name}
        yield f"{name} otherwise", {**files, name: files[name].replace(b"a", b"e", 1) + b" "}
    yield "one more", {**files, "more.txt": b"x"}


def packed(file: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w:gz") as archive:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return file


async def test_it_is_stopped_evidenced_and_closed(tmp_path: Path, upstream: ToyUpstream) -> None:
    settings, file = write_config(tmp_path, upstream.url, workers=2), tmp_path / "gateway.yaml"
    config = json.loads(file.read_text())
    log = tmp_path / "gateway.log"
    config["log"] = {"file": str(log), "format": "json"}
    config["limits"] = {"failed_credentials": "100000/minute"}  # what is ended is asked for often here
    config.setdefault("secrets", {})["auditor_token"] = AUDITOR
    file.write_text(json.dumps(config))
    by_hand = await fund(settings, "9.00 usd", count=3)
    async with running(file, environ={"GATEWAY_LOG__FILE": str(log)}), ClientSession() as session:
        url = settings.public_url
        ann, bob, eve = [
            Funded((await types(file, "token", "create", one.account))["access_token"], one.account) for one in by_hand
        ]
        for caller in (ann, bob, eve, *by_hand):
            assert await status(session, url, caller) == 200
        operator = (settings.secrets_path / "operator_token").read_text().strip()
        balance = f"/accounts/{ann.account}/balance?currency=usd"
        assert await admin(session, settings, AUDITOR, "GET", balance) == 200
        assert await admin(session, settings, AUDITOR, "POST", f"/accounts/{ann.account}/freeze") == 403
        assert await admin(session, settings, AUDITOR, "POST", "/reload") == 403
        assert await admin(session, settings, "nobody", "GET", balance) == 401

        opened = await types(file, "incident", "open", "--kind", "token", "--note", "seen in a forum")
        id = opened["id"]
        one = ("incident", "revoke", "--account", ann.account, "--reason", "seen")
        assert (await types(file, *one, "--dry-run"))["tokens"] == 1
        assert await status(session, url, ann) == 200, "a dry run changes nothing"
        await types(file, *one)
        await asyncio.wait_for(ended(session, url, ann), 10)
        await asyncio.wait_for(ended(session, url, by_hand[0]), 10)  # which is not on record
        for caller in (bob, by_hand[1]):
            assert await status(session, url, caller) == 200
        assert (await types(file, *one))["tokens"] == 0, "there was nothing left"
        await types(file, "incident", "freeze", "--account", bob.account, "--reason", "seen, too")
        await asyncio.wait_for(ended_or_frozen(session, url, bob), 10)
        everyone = await types(file, "incident", "revoke", "--everyone", "--reason", "to be sure")
        assert everyone["tokens"] == 2
        await asyncio.wait_for(ended(session, url, eve), 10)
        await asyncio.wait_for(ended(session, url, by_hand[2]), 10)
        explained = await types(file, "token", "create", eve.account)
        assert await status(session, url, Funded(explained["access_token"], eve.account)) == 200, "one made since"

        rotation = ["incident", "rotate", "--all", "--json", "--config", str(file)]
        shown = await asyncio.to_thread(CliRunner().invoke, main, rotation)
        rotated = json.loads(shown.stdout)
        assert "trail" not in shown.stderr, "the gateway signs the trail's end with another key by now"
        assert {key["kind"] for key in rotated["keys"]} == {"sealing_key", "pepper", "jwt", "operator_token"}
        assert all(key["reloaded"] for key in rotated["keys"])
        assert await admin(session, settings, operator, "GET", balance) == 401, "the old one is good for nothing"
        assert (await types(file, "reload"))["reloaded"] is True

        bundle = tmp_path / "evidence.tar.gz"
        made = await types(file, "incident", "bundle", "--out", str(bundle))
        assert made["custody"][0]["incident"] == id
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    files = contents(bundle)
    story = files["timeline.txt"].decode()
    for act in ("incident.open", "incident.revoke", "account.freeze", "key.rotate"):
        assert act in story, act
    assert json.loads(files["audit.json"])["clean"] is True
    assert json.loads(files["trail.json"])["problem"] is None
    assert [step for step in files["log.jsonl"].decode().splitlines() if ann.account in step]
    whole = b"".join(files.values()).decode()
    known = [*secrets_in(settings), *secrets_in(configuration.load(file, {}, make_secrets=False))]
    assert len({secret.reveal() for _, secret in known}) > len(list(secrets_in(settings))), "those from before, too"
    found = [path for path, secret in known if secret.reveal() in whole]
    assert not found, "no secret is in it"
    assert not [caller for caller in (ann, bob, eve) if caller.token in whole]
    assert AUDITOR not in whole
    assert (await types(file, "incident", "verify", str(bundle)))["clean"] is True

    for what, others in changed(files):
        other = packed(tmp_path / "other.tar.gz", others)
        if what == "without manifest.json":
            continue  # said in words: there is none
        assert (await types(file, "incident", "verify", str(other), code=1))["wrong"], what
    looked = (await types(file, "incident", "verify", str(bundle)))["hands"]
    assert [hand["did"] for hand in looked][:2] == ["incident.bundle", "incident.verify"]

    await types(file, "incident", "note", id, "--note", "it was a copied shell history")
    await types(file, "incident", "close", id, "--note", "tokens were exchanged")
    [closed] = await types(file, "incident", "list")
    assert closed["conclusion"] == "tokens were exchanged"
    assert (await types(file, "audit", "verify"))["clean"] is True


async def ended_or_frozen(session: ClientSession, url: str, caller: Funded) -> None:
    row = 0
    while row < 12:
        row = row + 1 if await status(session, url, caller) == 403 else 0
