"""What the documents say is so: refusals have words, commands and settings exist, nothing names where it was made."""

import re
import subprocess
from pathlib import Path

import click
import pytest

from gateway.cli import main
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


@pytest.mark.parametrize("document", ["README.md", "SECURITY.md", "CHANGELOG.md", "gateway"])
def test_every_command_that_is_named_exists_with_its_options(document: str) -> None:
    """Whoever is woken by an alert types what the page says. `gateway` is the program's own words."""
    place = ROOT / document
    texts = [file.read_text() for file in ([place] if place.is_file() else place.rglob("*.py"))]
    named = {words for text in texts for words in re.findall(r"`(gateway [a-z][^`\n]*)`", text)}
    assert named
    assert [words for words in sorted(named) if not exists(words.split()[1:])] == []


def exists(words: list[str]) -> bool:
    """Whether there is such a command, and it has all options that are named. What is left out (`…`) is not missed."""
    command: click.Command = main
    while words and isinstance(command, click.Group) and words[0] in command.commands:
        command = command.commands[words.pop(0)]
    if words[:1] == ["…"]:
        return True
    if isinstance(command, click.Group) and words and not words[0].startswith("-"):
        return set(words[0].split("|")) <= command.commands.keys()  # several of them, or a typing error
    has = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return {word.partition("=")[0].rstrip(",;") for word in words if word.startswith("--")} <= has | {"--help"}


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
