"""Whoever types a command under another name than the gateway's is told so, and not only that a head is missing."""

import asyncio
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway import settings as configuration
from gateway.cli import main
from tests.postgres_server import Server

CONFIG = """store: "{}"
upstreams: {{a: {{url: http://127.0.0.1:9}}}}
routes: [{{name: a, match: /a/, upstream: a, price: free}}]
"""
FROZEN = ["account", "freeze", "acct_0000000000000000000000000000000a", "--reason", "leaked"]


def test_a_head_of_another_name_is_named(tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gateway.yaml").write_text(CONFIG.format(asyncio.run(postgres.schema())))
    configuration.load(tmp_path / "gateway.yaml", {}, make_secrets=True)
    types = CliRunner().invoke
    of = ["--config", "gateway.yaml"]
    frozen = types(main, [*FROZEN, *of], env={"GATEWAY_HOST_NAME": "north"})
    assert frozen.exit_code == 0, frozen.output
    assert types(main, ["audit", "verify", *of], env={"GATEWAY_HOST_NAME": "north"}).exit_code == 0
    shown = types(main, ["audit", "verify", *of], env={"GATEWAY_HOST_NAME": "south"})
    assert shown.exit_code == 1
    assert "south.trail.head is not there" in shown.output
    assert "That of north is: set host_name (GATEWAY_HOST_NAME)" in shown.output
    (tmp_path / "data/north.trail.head").unlink()
    shown = types(main, ["audit", "verify", *of], env={"GATEWAY_HOST_NAME": "south"})
    assert (shown.exit_code, "set host_name" in shown.output) == (1, False)
