"""`gateway notices list|replay`, on records that no gateway has open."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.adapters.system import SystemRandomness
from gateway.app.stores import records
from gateway.cli import main
from gateway.core.keyring import Keyring
from gateway.settings import load
from tests.gateway_process import write_config


@pytest.fixture
def config(tmp_path: Path) -> str:
    write_config(tmp_path, "http://127.0.0.1:1")
    path = tmp_path / "gateway.yaml"
    settings = load(path, {}, make_secrets=True)
    settings.store_path.parent.mkdir(parents=True, exist_ok=True)
    settings.store_path.touch()

    async def fill() -> None:
        kept = records(settings, Keyring(settings.secrets.sealing_keys), SystemRandomness())
        await kept.open()
        for account in ("acct_1", "acct_2"):
            await kept.freezes.add_freeze(account, frozen=True, reason="a test", now_ms=1)
        first = await kept.outbox.take(now_ms=2, lease_ms=1)
        assert first is not None
        await kept.outbox.put_off(first.id, due_ms=None, error="it answered 500")
        await kept.close()

    asyncio.run(fill())
    return str(path)


def notices(*arguments: str) -> Result:
    return CliRunner().invoke(main, ("notices", *arguments))


def test_messages_are_listed_newest_first_with_what_is_wrong(config: str) -> None:
    shown = notices("list", "--config", config)
    assert shown.exit_code == 0, shown.output
    assert [line.split()[3] for line in shown.stdout.splitlines()] == ["acct_2", "acct_1"]
    assert "failed, 1 tries: it answered 500" in shown.stdout
    [failed] = json.loads(notices("list", "--state", "failed", "--json", "--config", config).stdout)
    assert (failed["account"], failed["type"], failed["data"]) == ("acct_1", "account.frozen", {"reason": "a test"})
    assert notices("list", "--state", "delivered", "--config", config).stdout == "there are none\n"
    assert len(json.loads(notices("list", "--limit", "1", "--json", "--config", config).stdout)) == 1


def test_what_was_given_up_is_sent_again_and_a_dry_run_changes_nothing(config: str) -> None:
    for arguments, state in ((("--failed", "--dry-run"), "failed"), (("--failed",), "waiting")):
        [one] = json.loads(notices("replay", *arguments, "--json", "--config", config).stdout)
        assert (one["account"], one["state"]) == ("acct_1", state)
    assert notices("replay", "--failed", "--config", config).stdout == "there are none\n"
    shown = notices("replay", one["id"], "--config", config)
    assert (shown.exit_code, "waiting, 0 tries" in shown.stdout) == (0, True)


@pytest.mark.parametrize(("arguments", "code"), [((), 2), (("ntc_1", "--failed"), 2), (("ntc_1",), 3)])
def test_what_cannot_be_done_is_said(config: str, arguments: tuple[str, ...], code: int) -> None:
    shown = notices("replay", *arguments, "--config", config)
    assert shown.exit_code == code
    assert "gateway: " in shown.stderr
