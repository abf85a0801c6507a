"""Keys of hosts that share a database: the new one travels to all of them before anybody seals with it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.adapters.postgres.records import PostgresRecords
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.app import stores
from gateway.app.stores import database
from gateway.cli import main
from gateway.cli.hosts import visiting_keeper
from gateway.cli.stage import free_port
from gateway.core.keyring import Keyring
from gateway.core.payments import Event
from gateway.core.rotation import LINK_DAYS
from gateway.ports import KeysDiffer, StoreDamaged
from gateway.settings import Settings, load
from tests.postgres_server import Server

Types = Callable[..., Any]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Server) -> Settings:
    """One host, whose secrets are files; its gateway has run, and does not now."""
    monkeypatch.chdir(tmp_path)
    config = {
        "listen": f"127.0.0.1:{free_port(0)}",
        "admin": f"127.0.0.1:{free_port(0)}",
        "store": asyncio.run(postgres.schema()),
        "host_name": "here",
    }
    Path("gateway.yaml").write_text(json.dumps(config))
    made = load(Path("gateway.yaml"), {}, make_secrets=True)

    async def run_once() -> None:
        keeper = visiting_keeper(made)
        await keeper.open()
        await keeper.close()

    asyncio.run(run_once())
    return made


def types(*words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(main, [*words, "--config", "gateway.yaml", "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code in (0, 1) else done.output


def elsewhere(settings: Settings, *ids: str) -> None:
    """Another host says which keys it has."""

    async def call_in(records: PostgresRecords) -> None:
        await records.key_roll.call_in("there 0", "sealing_key", ids, now_ms=SystemClock().now_ms())

    with_records(settings, call_in)


def with_records(settings: Settings, work: Callable[[PostgresRecords], Any]) -> None:
    async def do() -> None:
        ring = Keyring(settings.secrets.sealing_keys)
        records = PostgresRecords(database(settings), keyring=ring, randomness=SystemRandomness())
        await records.open()
        await work(records)
        await records.close()

    asyncio.run(do())


def test_a_key_seals_on_many_hosts_when_all_of_them_have_it_and_goes_when_none_needs_it(settings: Settings) -> None:
    file = settings.secrets_path / "sealing_key"
    [old] = file.read_text().split()
    was = Keyring(settings.secrets.sealing_keys).newest.id
    with_records(settings, lambda records: records.claim(Event("evt_1", "x", False, 1, {"a": 1}), now_ms=1))
    elsewhere(settings, was)

    assert "many hosts" in types("keys", "rotate", "sealing_key", code=2)
    prepared = types("keys", "rotate", "sealing_key", "--prepare")
    assert (prepared["activated"], prepared["reloaded"]) == (False, False)
    lines, id = file.read_text().split(), prepared["id"]
    assert (lines[0], len(lines)) == (old, 2)
    [first, second, *_] = types("keys", "list")["keys"]
    assert (first["id"], first["seals"], first["events"]) == (was, True, 1)
    assert (second["id"], second["missing_at"]) == (id, ["there 0"])
    assert "there 0 cannot open with" in types("keys", "rotate", "sealing_key", "--activate", id, code=3)
    assert file.read_text().split() == lines

    elsewhere(settings, was, id)
    assert types("keys", "rotate", "sealing_key", "--activate", id)["activated"]
    assert file.read_text().split() == [lines[1], old]
    assert types("keys", "rotate", "sealing_key", "--activate", id)["activated"], "twice is once"

    why = "; ".join(types("keys", "retire", "sealing_key", was, "--yes", code=1)["needed"])
    assert "there 0 still use it as the newest" in why
    elsewhere(settings, id, was)
    back = (LINK_DAYS + 1) * 86_400_000
    with_records(settings, lambda records: records._do("UPDATE key_use SET sealed = sealed - $1", back))
    assert types("keys", "retire", "sealing_key", was, "--yes")["retired"]
    assert file.read_text().split() == [lines[1]]

    async def is_readable(records: PostgresRecords) -> None:
        entry = await records.find_entry("evt_1")
        assert entry is not None
        assert (entry.readable, entry.event.object) == (True, {"a": 1})

    with_records(load(Path("gateway.yaml"), {}, make_secrets=False), is_readable)
    with pytest.raises(StoreDamaged, match="other keys"):
        with_records(settings, is_readable)  # a host that has the old one only


@pytest.mark.parametrize(("name", "kind"), [("pepper", "peppers"), ("jwt.pem", "key pairs")])
def test_a_host_that_made_secrets_of_its_own_is_turned_away_and_the_doctor_says_why(
    settings: Settings, name: str, kind: str
) -> None:
    assert types("keys", "list")["keys"]
    (settings.secrets_path / name).unlink()
    other = load(Path("gateway.yaml"), {}, make_secrets=True)

    async def open_them() -> None:
        await stores.records(other, Keyring(other.secrets.sealing_keys), SystemRandomness()).open()

    with pytest.raises(KeysDiffer, match=rf"other keys \({kind}\)"):
        asyncio.run(open_them())
    said = types("doctor", code=1)
    [found] = [one for one in said["findings"] if one["part"] == "keys"]
    assert f"other keys ({kind})" in found["what"]
    assert found["mend"] == "copy the folder `secrets` of a host that serves"


def test_keys_that_a_setting_gives_are_changed_by_hand(settings: Settings) -> None:
    config = json.loads(Path("gateway.yaml").read_text())
    config["secrets"] = {"sealing_keys": ["8yq2Zt0vR5mLw3Xk9BnPc6Df1GhJs4Ua", *file_lines(settings)]}
    Path("gateway.yaml").write_text(json.dumps(config))
    assert "done by hand: put the new key second in `secrets.sealing_keys`" in types(
        "keys", "rotate", "sealing_key", "--prepare", code=2
    )
    assert "expire the old one at Stripe" in types("keys", "rotate", "stripe_key", code=2)
    assert types("keys", "list")["by_hand"].keys() == {"sealing_key", "webhook_secret", "stripe_key"}


def file_lines(settings: Settings) -> list[str]:
    return (settings.secrets_path / "sealing_key").read_text().split()


def test_a_file_that_is_a_link_is_not_replaced(settings: Settings) -> None:
    file = settings.secrets_path / "sealing_key"
    file.rename(file.with_name("elsewhere"))
    file.symlink_to(file.with_name("elsewhere"))
    assert "is a link" in types("keys", "rotate", "sealing_key", "--prepare", code=3)
    assert len(file_lines(settings)) == 1


def test_a_dry_run_changes_nothing(settings: Settings) -> None:
    before = file_lines(settings)
    assert types("keys", "rotate", "sealing_key", "--prepare", "--dry-run")["done"] is False
    assert file_lines(settings) == before
