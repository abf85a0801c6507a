"""Whoever gets at the files, and not at the keys, reads nobody's name, address, card, token or secret out of them."""

import asyncio
import json
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.adapters.people import TOKENS
from gateway.app.stores import records_path
from gateway.core.keyring import Keyring, NotOurs
from gateway.core.sign_ins import PROFILE_PURPOSE
from gateway.settings.plain import secrets_in
from tests.callers import audited
from tests.security.company import Company, company
from tests.stories.test_subscriptions import SUBSCRIPTIONS, heard
from tests.stories.test_the_trail import types


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Company]:
    async with company(tmp_path, provider={"sync": True}, idempotency={}) as made:
        yield made


async def lived(here: Company) -> list[str]:
    """A rich story: somebody signs in, subscribes and spends; words that are theirs or secret."""
    stage, member = here.here.stage, here.browsers["member"]
    async with member.session.post(f"{stage.url}{SUBSCRIPTIONS}", json={"plan": "monthly"}) as answer:
        stage.stand_in.pay((await answer.json())["payment_url"], email="payer@link.example")
    await heard(stage)
    fields = {**here.fields["holder"], "Idempotency-Key": "once-and-only-once"}
    async with here.session.post(f"{stage.url}/echo/said", data=b"what was said in secret", headers=fields) as answer:
        assert answer.status == 200, await answer.text()
    people = ["ann@example.com", "bea@example.com", "payer@link.example", "amzn1.account"]
    tokens = [one["Authorization"].removeprefix("Bearer ") for one in here.fields.values()]
    secrets = [secret.reveal() for _, secret in secrets_in(stage.settings)]
    return [*people, *tokens, *secrets, "what was said in secret", "client_reference_id", "once-and-only-once"]


def files_of(stage: Any) -> dict[str, bytes]:
    """The databases and their logs."""
    folder = stage.settings.store_path.parent
    return {path.name: path.read_bytes() for path in folder.glob("*.db*")}


async def test_databases_logs_and_backups_hold_nothing_that_can_be_read(here: Company, tmp_path: Path) -> None:
    stage = here.here.stage
    words = await lived(here)
    file = here.written(tmp_path)
    await types(file, "db", "backup", str(tmp_path / "backup"))
    kept = files_of(stage)
    for path in [one for one in (tmp_path / "backup").rglob("*") if one.is_file()]:
        if "secrets" not in path.parts:
            kept[f"backup/{path.name}"] = path.read_bytes()
    assert {"gateway.db", "gateway.records.db"} <= kept.keys()
    assert any(name.startswith("backup/") for name in kept)
    found = [(name, word) for name, content in kept.items() for word in words if word.encode() in content]
    assert not found
    assert any(b"acct_" in content for content in kept.values()), "or this test could not fail"


async def test_what_is_sealed_for_one_row_opens_for_no_other(here: Company) -> None:
    stage = here.here.stage
    rows = await stage.gateway.records.ask("SELECT id, key_id, profile FROM users ORDER BY id")
    ring = Keyring(stage.settings.secrets.sealing_keys)
    (one, key_id, sealed), (other, _, _) = rows[:2]
    assert b"email" in ring.open(PROFILE_PURPOSE, key_id, sealed, about=one)
    for about, purpose in ((other, PROFILE_PURPOSE), (one, TOKENS), ("", PROFILE_PURPOSE)):
        with pytest.raises(NotOurs):
            ring.open(purpose, key_id, sealed, about=about)
    with pytest.raises(NotOurs):
        ring.open(PROFILE_PURPOSE, key_id, sealed[:-1] + bytes([sealed[-1] ^ 1]), about=one)


async def test_files_of_the_store_are_their_owners_alone(here: Company) -> None:
    folder = here.here.stage.settings.store_path.parent
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.glob("*.db*")}
    assert modes
    assert {name: mode for name, mode in modes.items() if mode & 0o077} == {}


async def test_after_an_erasure_files_hold_nothing_of_them_and_the_books_are_right(
    here: Company, tmp_path: Path
) -> None:
    """With what is in clear, too: names of tokens, what a card is called. Stripe is asked to forget them."""
    stage, member = here.here.stage, here.browsers["member"]
    await lived(here)
    account = await member.account()
    assert account is not None
    async with member.session.post(f"{stage.url}/-/api/v1/tokens", json={"name": "laptop of Ann"}) as answer:
        assert answer.status == 201
    file = here.written(tmp_path)
    assert b"laptop of Ann" in b"".join(files_of(stage).values())
    customers = await customers_at(stage)
    did = await types(file, "erase", "--account", account, "--at-stripe")
    assert did["customers_at_stripe"], did
    assert did["events_redacted"] > 0
    assert b"laptop of Ann" not in b"".join(files_of(stage).values())
    async with asyncio.timeout(10):
        while "erase_customer" not in {job["kind"] for job in await types(file, "jobs", "list", "--state", "done")}:
            pass
    assert await customers_at(stage) == customers - set(did["customers_at_stripe"])
    status, _, _ = await member.get("/-/me")
    assert status == 401, "their session is over"
    await heard(stage)
    again = await types(file, "erase", "--account", account)
    assert again["events_redacted"] > 0, "what Stripe said of it afterwards names them once more"
    export = await types(file, "account", "export", account)
    assert not re_found(export, "ann@example.com", "payer@link.example", "laptop")
    audited(stage)


async def customers_at(stage: Any) -> set[str]:
    """Whom Stripe knows."""
    key = {"Authorization": f"Bearer {stage.settings.stripe.secret_key.reveal()}"}
    async with ClientSession() as session, session.get(f"{stage.stand_in.url}/v1/customers", headers=key) as answer:
        return {one["id"] for one in (await answer.json())["data"]}


def re_found(told: Any, *words: str) -> list[str]:
    written = json.dumps(told)
    return [word for word in words if word in written]


async def test_the_trail_cannot_be_changed_in_its_table(here: Company) -> None:
    """By whoever writes the records; that a file is edited behind it is found by `gateway audit verify`."""
    path = records_path(here.here.stage.settings.store_path)
    with closing(sqlite3.connect(path)) as sql:
        for statement in ("UPDATE trail SET content = '{}'", "DELETE FROM trail"):
            with pytest.raises(sqlite3.Error, match="only ever added to"):
                sql.execute(statement)
