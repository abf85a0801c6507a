"""Whoever may not write where the books are is told so, by every command: nobody is sent to a backup, or to a trace."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import programs
from tests.cli import test_erase as erasing
from tests.cli.test_auto_top_up import ACCOUNT

of_saved_card, config = erasing.of_saved_card, erasing.without_books

AS_ANYBODY = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []
"""Root may write everywhere; without its capabilities it may what its files say."""
COMMANDS = (
    "run",
    f"credit {ACCOUNT} 5.00$usd --reason x",
    f"debit {ACCOUNT} 5.00$usd --reason x",
    f"ledger refund req_{'0' * 28} --reason x",
    f"ledger export --account {ACCOUNT}",
    "ledger fold",
    f"erase --account {ACCOUNT}",
    f"account freeze {ACCOUNT} --reason x",
    f"balance {ACCOUNT}",
    "charges waive chg_1 --reason x",
    "reconcile --from 2026-01-01",
    "webhooks replay evt_1",
    "audit log",
    "audit --accept-head",
    "books",
    "db migrate",
    "db backup copy",
    "doctor",
)

pytestmark = pytest.mark.skipif(
    bool(AS_ANYBODY) and shutil.which("setpriv") is None, reason="root may write everywhere, and there is no setpriv"
)


@pytest.fixture
def sealed(config: Path) -> Iterator[Path]:
    """The configuration; the folder of the store may not be written."""
    store = config.parent / "data"
    store.mkdir()
    for file in config.parent.glob("gateway.*db*"):
        file.rename(store / file.name)
    config.write_text(config.read_text().replace(f"sqlite:{config.parent}/gateway.db", f"sqlite:{store}/gateway.db"))
    made = programs.run("credit", ACCOUNT, "1.00 usd", "--reason", "x", "--config", str(config))
    assert made.returncode == 0, made.stderr
    files = [*store.iterdir(), store]
    for one in files:
        one.chmod(one.stat().st_mode & ~0o222)
    yield config
    for one in files:
        one.chmod(0o700)


def test_who_may_not_write_is_told_so_and_which_folder(sealed: Path) -> None:
    for command in COMMANDS:
        words = [word.replace("$", " ") for word in command.split()]
        shown = subprocess.run(
            [*AS_ANYBODY, sys.executable, "-m", "gateway", *words, "--config", str(sealed)],
            capture_output=True, text=True, cwd=sealed.parent, env={**os.environ, "PYTHONPATH": os.getcwd()},
            timeout=60,
        )  # fmt: skip
        said = shown.stdout + shown.stderr
        assert shown.returncode in (1, 3), (command, said)
        assert f"cannot write the folder {sealed.parent}/data" in said, (command, said)
        assert "run this as the gateway's user" in said, (command, said)
        for wrong in ("Traceback", "backup of", "put a backup", "somebody has the books"):
            assert wrong not in said, (command, said)


@pytest.mark.parametrize("command", ["audit --store /", "audit --store .", "db backup .", "db backup /"])
def test_a_folder_without_a_name_is_refused_in_words(config: Path, command: str) -> None:
    shown = programs.run(*command.split(), "--config", str(config))
    assert shown.returncode in (2, 3)
    assert "gateway: " in shown.stderr
    assert "Traceback" not in shown.stderr
