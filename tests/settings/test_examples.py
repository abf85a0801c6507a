"""The examples beside the configuration are right, every line of them."""

from pathlib import Path

import pytest

from gateway.settings import load

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "config" / "examples").glob("*.yaml"))
ENVIRON = {
    "MODELS_KEY": "sk-models-0123456789abcdef",
    "ARCHIVE_KEY": "archive-0123456789abcdef",
    "CONTEXT_KEY": "c0ntext-Key-of-32-characters-at-least",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_right(example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tls").mkdir()
    for name in ("fullchain.pem", "privkey.pem"):
        (tmp_path / "tls" / name).write_text("stands for a certificate")
    found = load(example, ENVIRON, make_secrets=False)
    assert found.routes.routes


def test_there_are_examples() -> None:
    assert [example.stem for example in EXAMPLES] == ["behind-a-front", "https", "servers-and-fields"]
