"""The import contracts in pyproject.toml hold, and each of them notices the arrow that it forbids."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).with_name("lint-imports")

FORBIDDEN = {
    "an arrow that points up": ("gateway/core/money.py", "import gateway.flows.serve", "Every arrow points down"),
    "a room beside another": ("gateway/web/pages.py", "import gateway.adapters.logs", "Every arrow points down"),
    "input and output in the core": ("gateway/core/routes.py", "import socket", "The core is pure"),
    "a clock in the core": ("gateway/core/tokens.py", "import time", "The core is pure"),
    "the SDK outside its adapter": ("gateway/web/webhooks.py", "import stripe", "Only the Stripe adapter"),
    "the SDK in the stand-in": ("gateway/demo/standin/api.py", "import stripe", "Only the Stripe adapter"),
    "a flow in a flow": ("gateway/flows/serve.py", "import gateway.flows.top_up", "A flow never imports a flow"),
    "a library in a flow": ("gateway/flows/serve.py", "import aiohttp", "Flows and ports know no library"),
    "an adapter in an adapter": (
        "gateway/adapters/logs/writer.py",
        "import gateway.adapters.memory",
        "An adapter never",
    ),
    "the ledger in its audit": (
        "gateway/adapters/sqlite/audit/__init__.py",
        "import gateway.core.ledger",
        "The audit does not",
    ),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT, "--no-logo", "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "gateway", tmp_path / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_contract_notices(copy: Path, what: str) -> None:
    file, line, contract = FORBIDDEN[what]
    path = copy / file
    path.write_text(path.read_text() + f"\n{line}\n")
    result = lint(copy)
    assert result.returncode != 0
    [broken] = [found for found in result.stdout.splitlines() if found.startswith(contract) and "BROKEN" in found]
    assert broken


def test_only_the_stripe_adapter_is_given_its_key() -> None:
    allowed = ("gateway/adapters/stripe/", "gateway/settings/", "gateway/app/")
    for path in sorted((ROOT / "gateway").rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in ("secret_key", "webhook_secrets"):
                assert name.startswith(allowed), f"{name}:{node.lineno} touches {node.attr}"
