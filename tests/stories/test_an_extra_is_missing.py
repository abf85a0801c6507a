"""A setting of an extra that is not installed is said so at the start, with what to install."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main

NOTICES = "notices: {url: 'https://shop.example/told', secrets: [Zq3TzL8wN5vR2xK7mB4yH9cJ6dF1gS0pq]}\n"
MAIL = NOTICES + "mail: {host: mail.example.com, sender: shop@example.com}\n"


@pytest.mark.parametrize(
    ("library", "adapter", "setting", "extra"),
    [("maxminddb", "geo", "geo: {database: BASE/x.mmdb}\n", "geo"), ("aiosmtplib", "mail", MAIL, "mail")],
)
def test_the_start_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, adapter: str, setting: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"gateway.adapters.{adapter}", raising=False)
    (tmp_path / "x.mmdb").touch()
    config = tmp_path / "gateway.yaml"
    config.write_text("version: 1\nstore: sqlite:BASE/x.db\n".replace("BASE", str(tmp_path)))
    with config.open("a") as file:
        file.write(setting.replace("BASE", str(tmp_path)))
    done = CliRunner().invoke(main, ["run", "--config", str(config)])
    assert done.exit_code != 0
    assert f"the setting {extra} needs more packages: pip install 'farebox[{extra}]'" in done.output
