"""Key pairs of a gateway that runs: published for everybody, rotated without a gap, retired when nothing needs them."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession
from click.testing import CliRunner

from gateway.cli import main
from gateway.core.jwt_keys import LIFE_DAYS, JwtKeys
from gateway.settings import Settings, load
from tests.gateway_process import running, write_config

CLAIMS = {"sub": "cus_1", "exp": 4_000_000_000}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_config(tmp_path, "http://127.0.0.1:9", workers=2)
    return tmp_path / "gateway.yaml"


async def types(file: Path, *words: str, code: int = 0) -> Any:
    done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--config", str(file), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def settings(file: Path) -> Settings:
    return load(file, {}, make_secrets=False)


def signed(file: Path) -> str:
    return JwtKeys(settings(file).secrets.jwt_keys).sign(CLAIMS, kind="JWT")


async def published(file: Path) -> jwt.PyJWKSet:
    """On a connection of its own, so at whichever worker."""
    url, alone = settings(file).public_url + "/.well-known/jwks.json", {"Connection": "close"}
    async with ClientSession() as session, session.get(url, headers=alone) as answer:
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "public, max-age=300"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        text = await answer.text()
    assert not [key for key in json.loads(text)["keys"] if {"d", "p", "q"} & key.keys()]
    return jwt.PyJWKSet.from_dict(json.loads(text))


def says(token: str, keys: jwt.PyJWKSet) -> Any:
    """What an outsider makes of it, who knows no more than what is published."""
    return jwt.decode(token, keys[jwt.get_unverified_header(token)["kid"]], algorithms=["RS256"])


async def test_a_key_pair_is_rotated_and_old_tokens_stay_good_until_it_is_retired(file: Path) -> None:
    async with running(file):
        early = signed(file)
        assert says(early, await published(file)) == CLAIMS
        assert (await types(file, "keys", "rotate", "jwt"))["activated"]
        late = signed(file)
        for _ in range(4):
            keys = await published(file)
            assert says(early, keys) == says(late, keys) == CLAIMS
        old, new = (jwt.get_unverified_header(token)["kid"] for token in (early, late))
        lines = [line for line in (await types(file, "keys", "list"))["keys"] if line["kind"] == "jwt"]
        assert [(line["id"], line["seals"]) for line in lines] == [(new, True), (old, False)]
        why = "; ".join((await types(file, "keys", "retire", "jwt", old, "--yes", code=1))["needed"])
        assert "licences and sessions that it signed may still be shown until" in why
        with closing(sqlite3.connect(settings(file).store_path.with_name("gateway.records.db"))) as sql, sql:
            sql.execute("UPDATE key_use SET sealed = sealed - ? WHERE id = ?", ((LIFE_DAYS + 1) * 86_400_000, old))
        assert (await types(file, "keys", "retire", "jwt", old, "--yes"))["retired"]
        for _ in range(4):
            keys = await published(file)
            assert says(late, keys) == CLAIMS
            assert [key.key_id for key in keys.keys] == [new]
    assert (settings(file).secrets_path / "jwt.pem").stat().st_mode & 0o777 == 0o600


async def test_a_prepared_key_pair_is_published_before_it_signs(file: Path) -> None:
    async with running(file):
        before = signed(file)
        made = await types(file, "keys", "rotate", "jwt", "--prepare")
        assert jwt.get_unverified_header(signed(file))["kid"] == jwt.get_unverified_header(before)["kid"] != made["id"]
        assert made["id"] in [key.key_id for key in (await published(file)).keys]
        assert (await types(file, "keys", "rotate", "jwt", "--activate", made["id"]))["activated"]
        assert jwt.get_unverified_header(signed(file))["kid"] == made["id"]
