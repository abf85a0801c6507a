"""What the documents say is so: refusals have words, commands and settings exist, nothing names where it was made."""

import re
import subprocess
from pathlib import Path

from gateway.core import refusals
from gateway.core.refusals import Refusal
from gateway.web.refusals import WORDS

ROOT = Path(__file__).parents[2]


def test_every_refusal_has_words_and_a_code_of_its_own() -> None:
    kinds = [kind for kind in vars(refusals).values() if isinstance(kind, type) and issubclass(kind, Refusal)]
    kinds.remove(Refusal)
    assert set(kinds) == set(WORDS)
    assert len({kind.code for kind in kinds}) == len(kinds)


def test_the_readme_names_every_error_code() -> None:
    readme = (ROOT / "README.md").read_text()
    for kind in WORDS:
        assert f"| {kind.status} | `{kind.code}` |" in readme, f"{kind.status} {kind.code}"


def test_the_readmes_pictures_and_files_exist() -> None:
    for document in ("README.md", "SECURITY.md", "CHANGELOG.md"):
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", (ROOT / document).read_text()):
            assert (ROOT / target).exists(), f"{document} points at {target}"


def test_the_lock_files_name_no_host_and_pin_every_hash() -> None:
    for name in ("run", "dev"):
        lock = (ROOT / f".requirements/{name}.lock").read_text()
        assert "://" not in lock
        for requirement in re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", lock, re.MULTILINE | re.DOTALL):
            assert "--hash=sha256:" in requirement, requirement.splitlines()[0]


def test_the_top_level_holds_what_it_may() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    ).stdout.splitlines()
    top = {name.split("/")[0] for name in listed if not name.startswith(".")}
    allowed = "CHANGELOG.md LICENSE Makefile README.md SECURITY.md config docker gateway pyproject.toml tests"
    assert top <= set(allowed.split())
